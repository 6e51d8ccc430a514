/** How a row is measured: everything of it in turn, several rounds, the least of each. */

/** Something whose time is told, in the row's unit, smaller is better (a rate is told by `rate`). */
export type Sample = () => number | Promise<number>;

/** A goal: a ratio of what was measured, which must be at least so large. */
export interface Goal {
  /** The metric, as the table shows it. */
  readonly metric: string;
  /** What is compared, in words: `>= 4x C`. */
  readonly text: string;
  /** The ratio; `undefined` if what it needs was not measured. */
  ratio(figures: Figures): number | undefined;
  /** The least that meets it. */
  readonly least: number;
  /** Below this the gate fails: half of `least`; where that is not met, half of what was measured last. */
  readonly floor?: number;
}

/** A goal that is not met: the gate fails below half of what was measured, not of the goal. */
export function missed(goal: Goal, measured: number): Goal {
  return { ...goal, floor: measured / 2 };
}

/** The least of each column over all rounds. */
export interface Figures {
  readonly ours: number;
  readonly peer?: number;
  readonly tuned?: number;
  readonly limit?: number;
}

/** One row of the table. */
export interface Row {
  /** Which part of the table it is in. */
  readonly group: string;
  /** The unit of all its columns. */
  readonly unit: "ns" | "µs" | "ms" | "KiB" | "KB" | "bytes" | "MB/s";
  /** Whether more is better. */
  readonly rate?: boolean;
  readonly goals: readonly Goal[];
  /** How often at most, where a round takes long or nothing varies. */
  readonly rounds?: number;
  /** How often each column is measured in a round: more than once where the one before leaves the caches to the next. */
  readonly repeats?: number;
  /** How many times as often ours is measured, where it takes microseconds and the peer milliseconds. */
  readonly often?: number;
  /** Prepares the round that follows: not measured. */
  before?(): void | Promise<void>;
  readonly ours: Sample;
  readonly peer?: Sample;
  readonly tuned?: Sample;
  /** What the machine allows. */
  readonly limit?: Sample;
}

/** What became of a row. */
export interface Measured {
  readonly row: Row;
  readonly figures: Figures;
  /** Ours in the first round, before the engine has compiled it well. */
  readonly cold: number;
  /** The median of ours over its best: how much the machine varied. */
  readonly spread: number;
}

const COLUMNS = ["peer", "tuned", "limit", "ours"] as const;

/** One row, measured in one piece or in several. */
export class Measurement {
  readonly #row: Row;
  readonly #samples: Record<(typeof COLUMNS)[number], number[]> = { peer: [], tuned: [], limit: [], ours: [] };
  #rounds = 0;

  /** Of nothing yet. */
  constructor(row: Row) {
    this.#row = row;
  }

  /** Measures so many rounds more, or those that are left. */
  async measure(rounds: number): Promise<void> {
    const row = this.#row;
    const last = Math.min(this.#rounds + rounds, row.rounds ?? Infinity);
    for (; this.#rounds < last; this.#rounds++) {
      await row.before?.();
      for (const column of COLUMNS) {
        const sample = row[column];
        if (sample === undefined) continue;
        const repeats = (row.repeats ?? 1) * (column === "ours" ? row.often ?? 1 : 1);
        for (let repeat = 0; repeat < repeats; repeat++) this.#samples[column].push(await sample());
      }
    }
  }

  /** What became of it so far. */
  get result(): Measured {
    const [row, samples] = [this.#row, this.#samples];
    const best = (list: number[]) => (row.rate ? Math.max : Math.min)(...list);
    const ours = best(samples.ours);
    const median = samples.ours.toSorted((a, b) => a - b)[samples.ours.length >> 1] ?? ours;
    return {
      row,
      figures: {
        ours,
        ...(samples.peer.length > 0 && { peer: best(samples.peer) }),
        ...(samples.tuned.length > 0 && { tuned: best(samples.tuned) }),
        ...(samples.limit.length > 0 && { limit: best(samples.limit) }),
      },
      cold: samples.ours[0] ?? ours,
      spread: ours === 0 ? 1 : row.rate ? ours / median : median / ours,
    };
  }
}

/** At least so many times as fast as the C peer. */
export function timesPeer(metric: string, least: number): Goal {
  return { metric, text: `≥ ${least}x C`, ratio: ({ ours, peer }) => peer && peer / ours, least };
}

/** At most so many times the C peer's time. */
export function withinPeer(metric: string, most: number): Goal {
  return { metric, text: `≤ ${most}x C's time`, ratio: ({ ours, peer }) => peer && peer / ours, least: 1 / most };
}

/** At most so many times the tuned peer's time. */
export function withinTuned(metric: string, most: number): Goal {
  return {
    metric,
    text: `≤ ${most}x tuned C's time`,
    ratio: ({ ours, tuned }) => tuned && tuned / ours,
    least: 1 / most,
  };
}

/** At least such a part of what the machine allows. */
export function partOfLimit(metric: string, least: number, what: string, rate = false): Goal {
  return {
    metric,
    text: `≥ ${least}x ${what}`,
    ratio: ({ ours, limit }) => limit && (rate ? ours / limit : limit / ours),
    least,
  };
}

/** At most so much. The ratio is the goal over what was measured. */
export function atMost(metric: string, most: number, unit: string): Goal {
  return { metric, text: `≤ ${most} ${unit}`, ratio: ({ ours }) => most / ours, least: 1 };
}

/** No goal: a figure for who wants to know it, as so many times the C peer. */
export function published(metric: string): Goal {
  return { metric, text: "published", ratio: ({ ours, peer }) => peer && peer / ours, least: 0 };
}

/** The nanoseconds that something takes. */
export function nanoseconds(work: () => void): number {
  const start = performance.now();
  work();
  return (performance.now() - start) * 1e6;
}
