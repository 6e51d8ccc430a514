import { ADDRESS_MAX, type AddressRange, type Gpa } from "@giommu/core";
import type { RebuiltMachine, RebuiltTable } from "@giommu/qemu-trace";

/** Where a page points to in one of two states. */
export interface DiffAnswer {
  /** The page. */
  readonly target: Gpa;
  /** What a device may do: 1 read, 2 write, 3 both. */
  readonly perm: number;
}

/** Neighbouring pages that differ in the same way. */
export interface DiffRange {
  /** The table. */
  readonly liobn: bigint;
  /** Mapped on one side only, or on both and differently. */
  readonly kind: "only-a" | "only-b" | "changed";
  /** The bus addresses, both ends included. */
  readonly iova: AddressRange;
  /** How many pages. */
  readonly pages: number;
  /** Where the first page points to in A; `null` if it is not mapped there. */
  readonly a: DiffAnswer | null;
  /** The same in B. */
  readonly b: DiffAnswer | null;
}

/** Where a table lies and how large it is. */
export interface DiffGeometry {
  /** The bus address of entry 0. */
  readonly busOffset: bigint;
  /** The page size as a power of two. */
  readonly pageShift: number;
  /** How many entries it has. */
  readonly entries: number;
}

/** How one table compares, in pages; where page sizes differ, in the smaller ones. */
export interface TableDiff extends DiffGeometry {
  /** The table. */
  readonly liobn: bigint;
  /** Which of the two states has it. */
  readonly in: "both" | "a" | "b";
  /** Mapped alike in both. */
  readonly agreed: number;
  /** Mapped in A only. */
  readonly onlyA: number;
  /** Mapped in B only. */
  readonly onlyB: number;
  /** Mapped in both, to different pages or with different permission. */
  readonly changed: number;
  /** Pages that one of the two does not tell. */
  readonly unknown: number;
  /** How many ranges differ. */
  readonly ranges: number;
  /** The geometry in B where it is another than in A, and neither is only assumed. */
  readonly geometryB?: DiffGeometry;
}

/** How two states compare. */
export interface StateDiff {
  /** Each table that one of them has, by ascending LIOBN. */
  readonly tables: readonly TableDiff[];
  /** How many ranges differ. */
  readonly ranges: number;
  /** They, by table and address; at most {@linkcode RANGES_KEPT}. */
  readonly differences: readonly DiffRange[];
}

/** How many ranges are kept of a comparison; more are counted. */
export const RANGES_KEPT = 100_000;

/** Neighbouring addresses of one state that are mapped, or whose content is not known. */
interface Segment extends AddressRange {
  /** Where the first one points to; absent where it is not known. */
  readonly answer?: DiffAnswer;
}

/** A stretch in which neither side changes. A side without a segment maps nothing there. */
interface Stretch extends AddressRange {
  readonly a: Segment | undefined;
  readonly b: Segment | undefined;
}

/**
 * Compares two states entry by entry, by bus address: where it leads and what a device may do there.
 *
 * What costs is what is mapped or unknown, not how large the tables are.
 *
 * @param a The one state. Borrowed.
 * @param b The other. Borrowed.
 * @returns What differs.
 */
export function diffStates(a: RebuiltMachine, b: RebuiltMachine): StateDiff {
  const inA = new Map(a.tables.map((table) => [table.liobn, table]));
  const inB = new Map(b.tables.map((table) => [table.liobn, table]));
  const liobns = [...new Set([...inA.keys(), ...inB.keys()])].sort((one, other) => one - other);
  const differences: DiffRange[] = [];
  let ranges = 0;
  const tables = liobns.map((liobn) => {
    const sides = { a: inA.get(liobn), b: inB.get(liobn) };
    const counts = { agreed: 0, onlyA: 0, onlyB: 0, changed: 0, unknown: 0 };
    const shift = BigInt(Math.min(sides.a?.pageShift ?? 63, sides.b?.pageShift ?? 63));
    const before = ranges;
    const found = new Ranges(BigInt(liobn), shift, (range) => {
      if (ranges++ < RANGES_KEPT) differences.push(range);
    });
    for (const stretch of stretches(segments(a, sides.a), segments(b, sides.b))) {
      const kind = kindOf(stretch);
      counts[kind] += Number((stretch.last - stretch.start + 1n) >> shift);
      if (kind === "onlyA" || kind === "onlyB" || kind === "changed") found.add(stretch);
    }
    found.end();
    return { liobn: BigInt(liobn), ...placeOf(sides.a, sides.b), ...counts, ranges: ranges - before };
  });
  return { tables, ranges, differences };
}

/** Whether two states differ in anything that was compared. */
export function differs({ tables, ranges }: StateDiff): boolean {
  return ranges > 0 || tables.some(({ geometryB }) => geometryB !== undefined);
}

/** Which side has a table, and where it lies. */
function placeOf(
  a: RebuiltTable | undefined,
  b: RebuiltTable | undefined,
): DiffGeometry & Pick<TableDiff, "in" | "geometryB"> {
  const geometry = ({ busOffset, pageShift, entries }: RebuiltTable): DiffGeometry => ({
    busOffset,
    pageShift,
    entries,
  });
  if (a === undefined || b === undefined) {
    const there = a ?? b;
    if (there === undefined) throw new Error("a table is in neither state");
    return { in: a === undefined ? "b" : "a", ...geometry(there) };
  }
  const isSame = a.busOffset === b.busOffset && a.pageShift === b.pageShift && a.entries === b.entries;
  const isTold = a.geometry !== "assumed" && b.geometry !== "assumed";
  return { in: "both", ...geometry(a), ...(!isSame && isTold && { geometryB: geometry(b) }) };
}

/** What a state tells of a table, ascending. */
function* segments(machine: RebuiltMachine, table: RebuiltTable | undefined): Generator<Segment, void, void> {
  if (table === undefined) return;
  const shift = BigInt(table.pageShift);
  const address = (index: number): bigint => table.busOffset + (BigInt(index) << shift);
  const unknown = machine.unknownRuns(table.liobn);
  let next = unknown.next();
  for (const { first, iova, target, perm } of machine.mappedRuns(table.liobn)) {
    for (; next.done !== true && next.value.first < first; next = unknown.next()) {
      yield { start: address(next.value.first), last: address(next.value.first + next.value.pages) - 1n };
    }
    yield { ...iova, answer: { target, perm } };
  }
  for (; next.done !== true; next = unknown.next()) {
    yield { start: address(next.value.first), last: address(next.value.first + next.value.pages) - 1n };
  }
}

/** Goes through both sides at once. */
function* stretches(a: Generator<Segment>, b: Generator<Segment>): Generator<Stretch, void, void> {
  let [left, right] = [take(a), take(b)];
  for (let start = first(left, right); start !== undefined; start = first(left, right)) {
    const here = { a: left?.start === start ? left : undefined, b: right?.start === start ? right : undefined };
    const last = least(here.a?.last, here.b?.last, edge(left, start), edge(right, start));
    yield { start, last, ...here };
    if (here.a !== undefined) left = after(here.a, last) ?? take(a);
    if (here.b !== undefined) right = after(here.b, last) ?? take(b);
  }
}

/** Where the next of both begins. */
function first(left: Segment | undefined, right: Segment | undefined): bigint | undefined {
  return left === undefined || right === undefined ? (left ?? right)?.start : least(left.start, right.start);
}

/** The least of some addresses; those that are absent do not count. */
function least(...addresses: readonly (bigint | undefined)[]): bigint {
  return addresses.reduce<bigint>((one, other) => other !== undefined && other < one ? other : one, ADDRESS_MAX);
}

function take(segments: Generator<Segment>): Segment | undefined {
  const { value, done } = segments.next();
  return done === true ? undefined : value;
}

/** The last address before a segment that begins beyond another. */
function edge(segment: Segment | undefined, start: bigint): bigint | undefined {
  return segment !== undefined && segment.start > start ? segment.start - 1n : undefined;
}

/** What is left of a segment beyond an address. */
function after({ start, last, answer }: Segment, done: bigint): Segment | undefined {
  if (done >= last) return undefined;
  return { start: done + 1n, last, ...(answer && { answer: moved(answer, done + 1n - start) }) };
}

/** Where an address leads that is so many bytes further. */
function moved({ target, perm }: DiffAnswer, bytes: bigint): DiffAnswer {
  return { target: target + bytes, perm };
}

function kindOf({ a, b }: Stretch): "agreed" | "onlyA" | "onlyB" | "changed" | "unknown" {
  if (a !== undefined && a.answer === undefined || b !== undefined && b.answer === undefined) return "unknown";
  if (b === undefined) return "onlyA";
  if (a === undefined) return "onlyB";
  return isSame(a.answer, b.answer) ? "agreed" : "changed";
}

function isSame(one: DiffAnswer | null | undefined, other: DiffAnswer | null | undefined): boolean {
  return one?.target === other?.target && one?.perm === other?.perm;
}

/** Joins stretches that differ in the same way. */
class Ranges {
  readonly #liobn: bigint;
  readonly #shift: bigint;
  readonly #emit: (range: DiffRange) => void;
  #open: (AddressRange & Pick<DiffRange, "a" | "b">) | undefined;

  constructor(liobn: bigint, shift: bigint, emit: (range: DiffRange) => void) {
    this.#liobn = liobn;
    this.#shift = shift;
    this.#emit = emit;
  }

  add({ start, last, a, b }: Stretch): void {
    const [answerA, answerB] = [a?.answer ?? null, b?.answer ?? null];
    const open = this.#open;
    if (open !== undefined && open.last + 1n === start) {
      const further = start - open.start;
      if (isSame(open.a && moved(open.a, further), answerA) && isSame(open.b && moved(open.b, further), answerB)) {
        this.#open = { ...open, last };
        return;
      }
    }
    this.end();
    this.#open = { start, last, a: answerA, b: answerB };
  }

  end(): void {
    const open = this.#open;
    this.#open = undefined;
    if (open === undefined) return;
    const { start, last, a, b } = open;
    const kind = a === null ? "only-b" : b === null ? "only-a" : "changed";
    const pages = Number((last - start + 1n) >> this.#shift);
    this.#emit({ liobn: this.#liobn, kind, iova: { start, last }, pages, a, b });
  }
}
