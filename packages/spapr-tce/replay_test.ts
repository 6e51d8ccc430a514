import { registerNotifier, replay, replaySteps } from "@giommu/memory-api";
import type { IotlbEvent } from "@giommu/notifiers";
import { IommuNotifier, IommuNotifierFlag } from "@giommu/notifiers";
import { assertEquals, assertLess } from "@std/assert";
import { TceTable } from "./tce_table.ts";

const LIOBN = 0x8000_0001;

/** A notifier for mappings, and what it hears: first page, last page, first target page. */
function listener(init: { range?: { start: bigint; last: bigint }; runs?: "full" | "call" } = {}): {
  notifier: IommuNotifier;
  heard: [number, number, number][];
} {
  const heard: [number, number, number][] = [];
  const page = (address: bigint): number => Number(address >> 12n);
  const notify = ({ iova, target }: IotlbEvent): void => {
    heard.push([page(iova.start), page(iova.last), page(target)]);
  };
  return { heard, notifier: new IommuNotifier({ flags: IommuNotifierFlag.IOTLB_EVENTS, ...init, notify }) };
}

/** Maps pages in a row, each by a call of its own. */
function map(table: TceTable, first: number, count: number, target: number): void {
  for (let i = 0; i < count; i++) table.putTce(BigInt(first + i) << 12n, (BigInt(target + i) << 12n) | 3n);
}

Deno.test("replay() of a table tells runs, and costs what is mapped", () => {
  using table = new TceTable({ liobn: LIOBN, entries: 2 ** 31 });
  map(table, 5, 3, 100);
  map(table, 2 ** 31 - 1, 1, 7);
  map(table, 2 ** 19 - 1, 2, 50);
  const { notifier, heard } = listener();
  const start = performance.now();
  const { pages, extents } = replay(table.region, notifier);
  assertLess(performance.now() - start, 100);
  assertEquals([pages, extents], [6n, 3]);
  assertEquals(heard, [[5, 7, 100], [2 ** 19 - 1, 2 ** 19, 50], [2 ** 31 - 1, 2 ** 31 - 1, 7]]);
});

Deno.test("replay() crops to the notifier's range and advances the target", () => {
  using table = new TceTable({ liobn: LIOBN, entries: 64 });
  map(table, 10, 20, 100);
  const { notifier, heard } = listener({ range: { start: 0xc000n, last: 0xffffn } });
  assertEquals(replay(table.region, notifier).pages, 4n);
  assertEquals(heard, [[12, 15, 102]]);
});

Deno.test("replay() cuts where guest calls began for a notifier that asks for that", () => {
  using table = new TceTable({ liobn: LIOBN, entries: 64 });
  map(table, 10, 3, 100);
  const { notifier, heard } = listener({ runs: "call" });
  replay(table.region, notifier);
  assertEquals(heard, [[10, 10, 100], [11, 11, 101], [12, 12, 102]]);
});

Deno.test("replay() tells all of more extents than one batch holds", () => {
  using table = new TceTable({ liobn: LIOBN, entries: 2 ** 16 });
  table.stuffTce(0n, 0x5003n, 2n ** 16n);
  const { notifier, heard } = listener();
  assertEquals(replay(table.region, notifier), { pages: 2n ** 16n, extents: 2 ** 16, steps: 2n ** 16n });
  assertEquals(heard.map(([first]) => first), Array.from({ length: 2 ** 16 }, (_, i) => i));
});

Deno.test("a stepwise replay tells what is mapped when it gets there, never twice", () => {
  using table = new TceTable({ liobn: LIOBN, entries: 1024 });
  for (let i = 0; i < 400; i += 2) map(table, i, 1, 1000 + i);
  const { notifier, heard } = listener();
  const stepper = replaySteps(table.region, notifier, { register: true });
  for (let i = 0; i < 10; i++) stepper.step(1);
  const told = heard.length;
  map(table, 1, 1, 5000); // behind the walk: told live
  assertEquals(heard.length, told + 1);
  map(table, 901, 1, 6000); // ahead of it: told by the walk
  table.putTce(398n << 12n, 0n); // ahead of it, and gone before the walk gets there
  assertEquals(heard.length, told + 1);
  while (!stepper.step(7).done);
  assertEquals(heard.filter(([first]) => first === 901), [[901, 901, 6000]]);
  assertEquals(heard.filter(([first]) => first === 398), []);
  assertEquals(heard.length, 199 + 2);
});

Deno.test("a notifier that joins with a replay hears of what follows", () => {
  using table = new TceTable({ liobn: LIOBN, entries: 64, busOffset: 1n << 59n });
  table.putTce((1n << 59n) + 0x2000n, 0x7003n);
  const { notifier, heard } = listener();
  registerNotifier(table.region, notifier, { replay: true });
  table.putTce((1n << 59n) + 0x3000n, 0x8003n);
  assertEquals(heard, [[2, 2, 7], [3, 3, 8]]);
});
