/** What the core's table costs, each loop inside WebAssembly, beside the same loop in C. */

import { RawBench } from "../_wasm/bench.js";
import {
  atMost,
  type Goal,
  missed,
  nanoseconds,
  partOfLimit,
  published,
  type Row,
  timesPeer,
  withinPeer,
  withinTuned,
} from "../measure.ts";
import type { Peer, PeerAnswer } from "../peer.ts";

/** Operations per call into WebAssembly: a millisecond or less. */
const CALL = 1 << 14;

/** Entries in runs of `length`, each run there with a probability of `threshold` / 2^32; length 0: one run of all. */
export interface Filling {
  readonly shift: number;
  readonly length: number;
  readonly threshold: number;
  /** Whether ours is filled in random order, so that its memory lies in that order. The peer's is one piece always. */
  readonly random?: boolean;
}

/** A table of ours and one of the peer's, with the same entries. */
export class Tables {
  readonly #peer: Peer | undefined;
  #ours: RawBench | undefined;
  #filled = "";

  constructor(peer: Peer | undefined) {
    this.#peer = peer;
  }

  /** Our table. */
  get ours(): RawBench {
    if (this.#ours === undefined) throw new Error("no table was filled");
    return this.#ours;
  }

  /** Fills both, unless they are so already. Ours is made anew for it. */
  async fill({ shift, length, threshold, random = false }: Filling, again = false): Promise<void> {
    const wanted = `fill ${shift} ${length} ${threshold}`;
    if (`${wanted} ${random}` === this.#filled && !again) return;
    this.free();
    this.#ours = random ? new RawBench(shift, 1, 0) : new RawBench(shift, length, threshold);
    if (random) this.#ours.fill(true, length, threshold);
    await this.#peer?.ask(wanted);
    this.#filled = `${wanted} ${random}`;
  }

  /** Fills the peer's table again. */
  async refillPeer({ shift, length, threshold }: Filling): Promise<void> {
    await this.#peer?.ask(`fill ${shift} ${length} ${threshold}`);
  }

  /** Has the peer do something; fails unless it delivered what ours did, if anything was delivered. */
  async ask(command: string, delivered: Delivered): Promise<number> {
    if (this.#peer === undefined) throw new Error("there is no peer");
    const answer: PeerAnswer = await this.#peer.ask(command);
    if (delivered.peer !== undefined && !same(delivered.peer, answer)) {
      throw new Error(`The peer is not the same in every round: ${command}`);
    }
    delivered.peer = answer;
    return answer.nanoseconds;
  }

  /** Does something of ours, and holds what was delivered against the peer. */
  time(work: (ours: RawBench) => void, delivered: Delivered): number {
    const ours = this.ours;
    ours.restart();
    const time = nanoseconds(() => work(ours));
    const told = { sum: ours.sum, pages: ours.pages };
    if (delivered.peer !== undefined && !same(delivered.peer, told)) {
      throw new Error(
        `The run is void: ours delivered ${told.pages} pages with the sum ${told.sum}, ` +
          `the peer ${delivered.peer.pages} with ${delivered.peer.sum}`,
      );
    }
    return time;
  }

  /** Frees our table. */
  free(): void {
    this.#ours?.free();
    this.#ours = undefined;
    this.#filled = "";
  }
}

/** What the peer delivered in the round. */
interface Delivered {
  peer?: { readonly sum: bigint; readonly pages: bigint };
}

function same(a: { sum: bigint; pages: bigint }, b: { sum: bigint; pages: bigint }): boolean {
  return a.sum === b.sum && a.pages === b.pages;
}

/** Calls `work` for pieces of `count`. */
function pieces(count: number, work: (first: number, count: number) => number | void): void {
  let failed = 0;
  for (let first = 0; first < count; first += CALL) failed += work(first, Math.min(CALL, count - first)) ?? 0;
  if (failed > 0) throw new Error(`${failed} calls failed`);
}

/** Replays all of a table. */
export function replayAll(ours: RawBench): void {
  for (let from: number | undefined = 0; from !== undefined;) from = ours.replay(from, 4 * CALL);
}

/** One operation in both forms of the peer. */
interface Operation {
  readonly group: string;
  readonly goals: readonly Goal[];
  readonly filling: Filling;
  /** Operations per round, for times per operation. */
  readonly count: number;
  /** Filled anew before each time, as the operation changes the entries. */
  readonly refill?: boolean;
  /** Two if an operation is done and then undone by its like: the better one counts. */
  readonly turns?: 2;
  readonly rounds?: number;
  readonly repeats?: number;
  readonly often?: number;
  command(form: "value" | "tuned", turn: number): string;
  readonly untuned?: boolean;
  ours(bench: RawBench, turn: number): void;
}

function rowOf(tables: Tables, has: boolean, operation: Operation): Row {
  const { filling, count, refill, turns = 1, group, goals, rounds, repeats, often } = operation;
  let delivered: Delivered[] = [];
  let round = 0;
  // Of each turn nanoseconds per operation; the least counts.
  const least = async (time: (turn: number, delivered: Delivered) => number | Promise<number>) => {
    let best = Infinity;
    for (const [turn, told] of delivered.entries()) best = Math.min(best, await time(turn, told) / count);
    return best;
  };
  const ask = (form: "value" | "tuned") => () =>
    least(async (turn, told) => {
      if (refill) await tables.refillPeer(filling);
      return await tables.ask(operation.command(form, turn), told);
    });
  return {
    group,
    unit: "ns",
    goals,
    ...(rounds !== undefined && { rounds }),
    ...(repeats !== undefined && { repeats }),
    ...(often !== undefined && { often }),
    async before() {
      delivered = Array.from({ length: turns }, () => ({}));
      await tables.fill(filling, round++ === 0);
    },
    ours: () =>
      least((turn, told) => {
        // Filled again just before, as it was for the peer: the caches hold what fits into them.
        if (refill) tables.ours.fill(false, filling.length, filling.threshold);
        return tables.time((bench) => operation.ours(bench, turn), told);
      }),
    ...(has && { peer: ask("value"), ...(!operation.untuned && { tuned: ask("tuned") }) }),
  };
}

/** Replays of 2^24 entries: the shapes, how long their runs are, how many there are, and the goals. */
const SHAPES: readonly [name: string, length: number, percent: number, least: number][] = [
  ["one run", 0, 100, 500],
  ["empty", 1, 0, 500],
  ["scattered .01 %", 1, .01, 500],
  ["scattered 1 %", 1, 1, 4],
  ["scattered 10 %", 1, 10, 3.5],
  ["scattered 100 %", 1, 100, 1.4],
  ["runs of 64 at 10 %", 64, 10, 15],
  ["runs of 16 at 100 %", 16, 100, 4],
];

/** What is replayed also from a table whose memory lies in no order, as after years of guests that come and go. */
const AGED: readonly [name: string, length: number, percent: number][] = [
  ["scattered 1 %", 1, 1],
  ["scattered 10 %", 1, 10],
  ["scattered 100 %", 1, 100],
  ["runs of 16 at 100 %", 16, 100],
];

/** A probability as the tables take it. */
export function threshold(percent: number): number {
  return Math.round(percent / 100 * 2 ** 32);
}

/** About how many runs a table has. */
function runs({ shift, length, threshold }: Filling): number {
  return length === 0 ? 1 : 2 ** shift * threshold / 2 ** 32 / length;
}

function replays(tables: Tables, has: boolean, shift: number): Row[] {
  const row = (goal: Goal, filling: Filling): Row =>
    rowOf(tables, has, {
      group: `replay, per entry of 2^${shift}`,
      goals: [goal],
      filling,
      count: 2 ** shift,
      // Each finds the caches as it left them itself, not as the other did.
      repeats: 3,
      ...(runs(filling) < 2 ** 18 && { often: 8 }),
      command: (form) => `replay ${form}`,
      ours: replayAll,
    });
  const rows = SHAPES.map(([name, length, percent, least]) =>
    row(timesPeer(`replay, ${name}`, least), { shift, length, threshold: threshold(percent) })
  );
  return [
    ...rows,
    ...AGED.map(([name, length, percent]) =>
      row(published(`replay, ${name}, filled in random order`), {
        shift,
        length,
        threshold: threshold(percent),
        random: true,
      })
    ),
  ];
}

function writes(tables: Tables, has: boolean, large: number): Row[] {
  const empty = (shift: number): Filling => ({ shift, length: 1, threshold: 0 });
  const map = (turn: number) => turn === 0;
  const put = (shift: number, random: boolean, count: number, goals: Goal[]): Row =>
    rowOf(tables, has, {
      group: "H_PUT_TCE with one notifier, per call",
      goals,
      filling: empty(shift),
      count,
      turns: 2,
      repeats: shift === large ? 1 : 4,
      command: (form, turn) => `put ${form} ${random ? "random" : "sequential"} ${count} ${Number(map(turn))}`,
      ours: (bench, turn) => pieces(count, (first, some) => bench.put(random, first, some, map(turn))),
    });
  const indirect = (shift: number, least: number): Row =>
    rowOf(tables, has, {
      group: "H_PUT_TCE_INDIRECT of 512, an event per entry, per entry",
      goals: [timesPeer(`indirect, 2^${shift}`, least)],
      filling: empty(shift),
      count: 2 ** shift,
      turns: 2,
      repeats: shift === large ? 1 : 4,
      command: (form, turn) => `indirect ${form} ${2 ** shift} ${Number(map(turn))}`,
      ours: (bench, turn) => pieces(2 ** shift, (first, some) => bench.indirect(first, some, map(turn))),
    });
  return [
    put(19, false, 2 ** 19, [
      timesPeer("put, sequential", 1.3),
      missed(withinTuned("put, sequential, beside tuned C", 2), .37),
    ]),
    put(19, true, 2 ** 19, [withinPeer("put, random over 2^19", 2)]),
    put(large, true, 2 ** 20, [missed(withinPeer(`put, random over 2^${large}`, 2), .3)]),
    indirect(19, 2),
    indirect(large, 1.4),
    rowOf(tables, has, {
      group: "H_STUFF_TCE that clears one run, per entry",
      goals: [missed(timesPeer("stuff, calls of 512", 60), 36)],
      filling: { shift: 19, length: 0, threshold: 0 },
      refill: true,
      repeats: 4,
      count: 2 ** 19,
      command: (form) => `stuff ${form} ${2 ** 19} 0`,
      ours: (bench) => pieces(2 ** 19, (first, some) => bench.clear(first, some, 512)),
    }),
    rowOf(tables, has, {
      group: "H_STUFF_TCE that clears one run, per entry",
      goals: [timesPeer(`stuff, the whole table of 2^${large}`, 35)],
      filling: { shift: large, length: 0, threshold: 0 },
      refill: true,
      rounds: 5,
      count: 2 ** large,
      command: (form) => `stuff ${form} ${2 ** large} 1`,
      ours: (bench) => bench.clear(0, 2 ** large, 2 ** large),
    }),
    rowOf(tables, has, {
      group: "translate, per address",
      goals: [withinPeer("translate, a batch", 2)],
      filling: { shift: 19, length: 1, threshold: threshold(100) },
      count: 2 ** 19,
      untuned: true,
      command: () => `translate sequential ${2 ** 19}`,
      ours: (bench) => pieces(2 ** 19, (first, some) => bench.translate(false, first, some)),
    }),
  ];
}

/** Memory, and what costs nothing. */
function sizes(tables: Tables, has: boolean, large: number, peer: Peer | undefined): Row[] {
  let kept: RawBench | undefined;
  const words = 2 ** large;
  return [
    {
      group: "a table of its own",
      unit: "ms",
      goals: [atMost(`create an empty table of 2^${large}`, 1, "ms")],
      ours: () => nanoseconds(() => RawBench.create(large)) / 1e6,
      ...(peer !== undefined && { peer: async () => (await peer.ask(`create ${large}`)).nanoseconds / 1e6 }),
    },
    {
      group: "a table of its own",
      unit: "KiB",
      rounds: 1,
      goals: [atMost(`memory of an empty table of 2^${large}`, 160, "KiB")],
      ours: () => RawBench.create(large) / 1024,
      ...(has && { peer: () => words * 8 / 1024 }),
    },
    {
      group: "a table of its own",
      unit: "bytes",
      rounds: 1,
      goals: [atMost("memory per entry of a full table", 8.3, "bytes")],
      before: () => tables.fill({ shift: large, length: 1, threshold: threshold(100) }),
      ours: () => tables.ours.table().memoryBytes / words,
      ...(has && { peer: () => 8 }),
    },
    {
      group: "what must read all of a table",
      unit: "ms",
      rounds: 5,
      goals: [partOfLimit(`compare two full tables of 2^${large - 1}`, .7, "WASM's sum of the same memory")],
      async before() {
        await tables.fill({ shift: large - 1, length: 1, threshold: threshold(100) });
        kept ??= new RawBench(large - 1, 1, threshold(100));
        // As many words as the two tables have.
        kept.holdWords(words);
      },
      ours: () => {
        const other = kept;
        if (other === undefined) throw new Error("no other table");
        return nanoseconds(() => {
          if (!tables.ours.equals(other)) throw new Error("the tables differ");
        }) / 1e6;
      },
      limit: () =>
        nanoseconds(() => {
          for (let first = 0; first < words; first += 1 << 20) kept?.sumWords(first, 1 << 20);
        }) / 1e6,
    },
  ];
}

/** All rows of the core's tables. `large` is the size of what does not fit into a cache, as a power of two. */
export function tableRows(tables: Tables, peer: Peer | undefined, large: number): Row[] {
  const has = peer !== undefined;
  return [...replays(tables, has, large), ...writes(tables, has, large), ...sizes(tables, has, large, peer)];
}
