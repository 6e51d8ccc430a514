import { IommuError } from "@giommu/core";
import { replay } from "@giommu/memory-api";
import { IommuNotifier, IommuNotifierFlag } from "@giommu/notifiers";
import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import type { ExtentCursor, ExtentCursorOptions } from "./mod.ts";
import { SpaprMachine, TceTable } from "./mod.ts";

const ENTRIES = 1100;

function fields(extents: ExtentCursor) {
  const { index, pages, perm, target, targetLow, targetHigh, iova, last } = extents;
  assertEquals(BigInt(targetHigh) << 32n | BigInt(targetLow), target);
  return { index, pages, perm, target, iova, last };
}

function read(table: TceTable, options?: ExtentCursorOptions) {
  using extents = table.extentCursor(options);
  const list = [];
  while (extents.next()) list.push(fields(extents));
  assertEquals([extents.next(), extents.index, extents.pages, extents.target], [false, 0, 0, 0n]);
  return list;
}

/** The same by a replay. */
function replayed(table: TceTable, runs: "full" | "call") {
  const list: ReturnType<typeof read> = [];
  const notify: ConstructorParameters<typeof IommuNotifier>[0]["notify"] = ({ iova, target, perm, pageSize }) => {
    const pages = Number((iova.last - iova.start + 1n) / pageSize);
    list.push({ index: Number(iova.start / pageSize), pages, perm, target, iova: iova.start, last: iova.last });
  };
  replay(table.region, new IommuNotifier({ flags: IommuNotifierFlag.MAP, runs, notify }));
  return list;
}

const stores = fc.array(
  fc.record({
    first: fc.nat(ENTRIES - 1),
    count: fc.bigInt(1n, 40n),
    tce: fc.oneof(fc.constant(0n), fc.bigInt(0n, 2n ** 64n - 1n)),
  }),
  { maxLength: 30 },
);

Deno.test("property: a cursor reads what a replay tells, and every page is found where the table has it", () => {
  fc.assert(
    fc.property(stores, fc.constantFrom(12, 16), fc.constantFrom("full", "call"), (stores, pageShift, runs) => {
      using table = new TceTable({ liobn: 1, entries: ENTRIES, busOffset: 1n << 59n, pageShift });
      const address = (index: number) => table.busOffset + (BigInt(index) << BigInt(pageShift));
      for (const { first, count, tce } of stores) {
        table.stuffTce(address(first), tce, count);
        table.putTce(address((first * 7) % ENTRIES), tce + 0n);
      }
      assertEquals(read(table, { runs }), replayed(table, runs));
      const pages = read(table, { runs: "page" });
      assertEquals(pages.length, table.mapped);
      using extents = table.extentCursor();
      for (let index = 0; index < ENTRIES; index++) {
        const page = pages.find((page) => page.index === index);
        const iova = (BigInt(index) << BigInt(pageShift)) + 0x123n;
        assertEquals(extents.find(iova), page !== undefined);
        assertEquals(extents.pages === 0 ? undefined : fields(extents), page);
      }
    }),
    { numRuns: 60 },
  );
});

Deno.test("property: a cursor tells what is mapped when it gets there", () => {
  const change = fc.record({ at: fc.nat(60), index: fc.nat(199), tce: fc.constantFrom(0n, 0x9_0003n, 0x77_7001n) });
  fc.assert(
    fc.property(fc.array(change, { maxLength: 12 }), (changes) => {
      using table = new TceTable({ liobn: 1, entries: 200 });
      for (let i = 0; i < 200; i += 2) table.putTce(BigInt(i) << 12n, BigInt(i) << 13n | 3n);
      using extents = table.extentCursor();
      const position = () => extents.index + extents.pages;
      for (let step = 0, behind = 0;; step++) {
        for (const { at, index, tce } of changes) if (at === step) table.putTce(BigInt(index) << 12n, tce);
        const [expected] = read(table, { first: behind });
        assertEquals(extents.next(), expected !== undefined);
        if (expected === undefined) return;
        assertEquals(fields(extents), expected);
        behind = position();
      }
    }),
    { numRuns: 200 },
  );
});

Deno.test("a cursor's fields stay as they were, whatever becomes of the table and of the core's memory", () => {
  using table = new TceTable({ liobn: 1, entries: 2 ** 20 });
  for (const page of [5n, 9n]) table.putTce(page << 12n, page << 40n | 3n);
  using extents = table.extentCursor();
  assertEquals(extents.next(), true);
  table.stuffTce(0n, 0x1003n, 2n ** 20n); // the memory grows by some MiB
  assertEquals(fields(extents), { index: 5, pages: 1, perm: 3, target: 5n << 40n, iova: 0x5000n, last: 0x5fffn });
  assertEquals([extents.next(), extents.index], [true, 6]);
  assertEquals([extents.find(0x1_2345n), extents.index, extents.target], [true, 0x12, 0x1000n]);
});

Deno.test("a walk after find() beyond everything finds nothing more, whatever the page", () => {
  for (const pageShift of [0, 12, 63]) {
    using table = new TceTable({ liobn: 1, entries: 2, pageShift });
    table.putTce(0n, 3n | 1n << 63n);
    using extents = table.extentCursor();
    assertEquals([extents.find(2n ** 64n - 1n), extents.next()], [false, false]);
  }
});

Deno.test("what find() found stays, too, and so does that nothing is there", () => {
  using table = new TceTable({ liobn: 1, entries: 2 ** 20 });
  table.putTce(0x5000n, 5n << 40n | 3n);
  using extents = table.extentCursor();
  using other = table.extentCursor();
  assertEquals([extents.find(0x5678n), other.find(0x6000n)], [true, false]);
  table.stuffTce(0n, 0x1003n, 2n ** 20n); // the memory grows by some MiB
  assertEquals(fields(extents), { index: 5, pages: 1, perm: 3, target: 5n << 40n, iova: 0x5000n, last: 0x5fffn });
  assertEquals(fields(other), { index: 0, pages: 0, perm: 0, target: 0n, iova: 0n, last: -1n });
  assertEquals([extents.next(), extents.index, other.next(), other.index], [true, 6, true, 7]);
});

Deno.test("find() tells what lies behind it where nothing is mapped, and beyond the window nothing", () => {
  using table = new TceTable({ liobn: 1, entries: 64 });
  table.stuffTce(0x8000n, 0x5003n, 2n);
  using extents = table.extentCursor({ last: 8 });
  assertEquals([extents.find(0x3000n), extents.index, extents.target], [false, 0, 0n]);
  assertEquals([extents.next(), extents.index, extents.next()], [true, 8, false]);
  assertEquals([extents.find(2n ** 64n - 1n), extents.next()], [false, false]);
  assertEquals([extents.find(0x9fffn), extents.index, extents.next()], [true, 9, false]);
  assertThrows(() => extents.find(2n ** 64n), RangeError, "iova");
  assertThrows(() => extents.find(5 as unknown as bigint), TypeError, "iova");
});

Deno.test("a cursor ends with its table, and with itself", () => {
  const table = new TceTable({ liobn: 1, entries: 64 });
  table.stuffTce(0n, 0x5003n, 9n);
  const extents = table.extentCursor();
  const other = table.extentCursor();
  assertEquals([extents.next(), other.next()], [true, true]);
  other[Symbol.dispose]();
  other[Symbol.dispose]();
  assertEquals(other.pages, 0);
  for (const act of [() => other.next(), () => other.find(0n)]) {
    assertEquals(assertThrows(act, IommuError, "the cursor was disposed").code, "disposed");
  }
  table[Symbol.dispose]();
  for (const act of [() => extents.next(), () => extents.find(0n), () => table.extentCursor()]) {
    assertEquals(assertThrows(act, IommuError, "the table was disposed").code, "disposed");
  }
  extents[Symbol.dispose]();
});

Deno.test("a cursor refuses what it does not know", () => {
  using table = new TceTable({ liobn: 1, entries: 64 });
  assertThrows(() => table.extentCursor({ runs: "none" as "full" }), RangeError, "runs is none");
  assertThrows(() => table.extentCursor({ first: -1 }), RangeError, "first");
  assertThrows(() => table.extentCursor({ last: 0.5 }), RangeError, "last");
  assertEquals(read(table, { first: 64 }), []);
});

Deno.test("a cursor sees what a machine's own calls do to its table", () => {
  using machine = new SpaprMachine({ ram: 0x10000n, phbs: [{ index: 0 }] });
  for (let page = 0n; page < 9n; page++) machine.putTce(0x8000_0000, page << 12n, page << 13n | 3n);
  using extents = machine.table(0x8000_0000)!.extentCursor();
  assertEquals([extents.next(), extents.next(), extents.index], [true, true, 1]);
  machine.reset();
  assertEquals(extents.next(), false);
});
