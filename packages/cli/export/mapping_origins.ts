import type { Gpa, Iova } from "@giommu/core";
import type { IommuPerm } from "@giommu/notifiers";
import type { MappedRange, RebuiltMachine } from "@giommu/qemu-trace";

/** Pages that one line mapped as one run. */
export interface Origin<From> {
  /** The first page's number in its table. */
  readonly first: number;
  /** Where it points to. */
  readonly target: Gpa;
  /** What a device may do. */
  readonly perm: IommuPerm;
  /** What mapped them. */
  readonly from: From;
}

/** Neighbouring pages of one origin. */
export interface OriginRun<From> {
  /** The table. */
  readonly liobn: number;
  /** The first bus address. */
  readonly iova: Iova;
  /** The last one, included. */
  readonly last: Iova;
  /** How many pages. */
  readonly pages: number;
  /** Where the first one points to. */
  readonly target: Gpa;
  /** What mapped them, and as what. */
  readonly origin: Origin<From>;
}

/** A table, and for each mapped page of it where that comes from. */
interface Followed<From> {
  readonly serial: number;
  readonly busOffset: bigint;
  readonly pageShift: number;
  readonly pages: Map<number, Origin<From>>;
}

/** Knows of each page that is mapped since when it is: memory for the pages that are. */
export class MappingOrigins<From> {
  readonly #tables = new Map<number, Followed<From>>();

  /** Pages that are no longer mapped, as runs of what mapped them. */
  *remove(liobn: number, { iova, pages }: MappedRange): Generator<OriginRun<From>, void, void> {
    const table = this.#tables.get(liobn);
    if (table === undefined) return;
    const first = indexOf(table, iova.start);
    yield* runsOf(liobn, table, numbers(first, first + pages));
    for (let page = first; page < first + pages; page++) table.pages.delete(page);
  }

  /** Pages that are mapped now. */
  add(liobn: number, range: MappedRange, from: From): void {
    const table = this.#tables.get(liobn);
    if (table !== undefined) put(table, range, from);
  }

  /**
   * Takes the tables as they are.
   *
   * @param machine The machine.
   * @param from What is said to have mapped pages that were not.
   * @returns Pages that are no longer mapped as they were: of tables that went or were replaced by others.
   */
  *replace(machine: RebuiltMachine, from: From): Generator<OriginRun<From>, void, void> {
    const tables = new Map(machine.tables.map((table) => [table.liobn, table]));
    for (const [liobn, old] of [...this.#tables]) {
      if (tables.has(liobn)) continue;
      yield* runsOf(liobn, old, sorted(old.pages));
      this.#tables.delete(liobn);
    }
    for (const [liobn, { serial, busOffset, pageShift }] of tables) {
      const old = this.#tables.get(liobn);
      if (old?.serial === serial) continue;
      const next: Followed<From> = { serial, busOffset, pageShift, pages: new Map() };
      for (const range of machine.mappedRuns(liobn)) put(next, range, from);
      if (old !== undefined) yield* this.#succeed(liobn, old, next);
      this.#tables.set(liobn, next);
    }
  }

  /** All pages that are mapped, by table and address. */
  *all(): Generator<OriginRun<From>, void, void> {
    const byLiobn = [...this.#tables].sort(([one], [other]) => one - other);
    for (const [liobn, table] of byLiobn) yield* runsOf(liobn, table, sorted(table.pages));
  }

  /** A table was replaced: what is mapped in both alike goes on. */
  *#succeed(liobn: number, old: Followed<From>, next: Followed<From>): Generator<OriginRun<From>, void, void> {
    const isSamePlace = old.busOffset === next.busOffset && old.pageShift === next.pageShift;
    const ended: number[] = [];
    for (const page of sorted(old.pages)) {
      const [before, after] = [old.pages.get(page), isSamePlace ? next.pages.get(page) : undefined];
      if (before === undefined) continue;
      const goesOn = after !== undefined && after.perm === before.perm &&
        targetOf(next, after, page) === targetOf(old, before, page);
      if (goesOn) next.pages.set(page, before);
      else ended.push(page);
    }
    yield* runsOf(liobn, old, ended);
  }
}

function indexOf({ busOffset, pageShift }: Followed<unknown>, iova: Iova): number {
  return Number((iova - busOffset) >> BigInt(pageShift));
}

function targetOf({ pageShift }: Followed<unknown>, { first, target }: Origin<unknown>, page: number): Gpa {
  return target + (BigInt(page - first) << BigInt(pageShift));
}

function put<From>(table: Followed<From>, { iova, pages, target, perm }: MappedRange, from: From): void {
  const first = indexOf(table, iova.start);
  const origin = { first, target, perm, from };
  for (let page = first; page < first + pages; page++) table.pages.set(page, origin);
}

/** The runs that some ascending pages of a table make; those that are not mapped are passed over. */
function* runsOf<From>(
  liobn: number,
  table: Followed<From>,
  pages: Iterable<number>,
): Generator<OriginRun<From>, void, void> {
  const shift = BigInt(table.pageShift);
  const run = (origin: Origin<From>, first: number, count: number): OriginRun<From> => {
    const iova = table.busOffset + (BigInt(first) << shift);
    const last = iova + (BigInt(count) << shift) - 1n;
    return { liobn, iova, last, pages: count, target: targetOf(table, origin, first), origin };
  };
  let [origin, first, count]: [Origin<From> | undefined, number, number] = [undefined, 0, 0];
  for (const page of pages) {
    const found = table.pages.get(page);
    if (found === origin && page === first + count) {
      count++;
      continue;
    }
    if (origin !== undefined) yield run(origin, first, count);
    [origin, first, count] = [found, page, 1];
  }
  if (origin !== undefined) yield run(origin, first, count);
}

function* numbers(first: number, end: number): Generator<number, void, void> {
  for (let number = first; number < end; number++) yield number;
}

function sorted(pages: ReadonlyMap<number, unknown>): Float64Array {
  return Float64Array.from(pages.keys()).sort();
}
