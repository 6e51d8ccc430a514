// The largest windows and tables there can be: what they cost is what is stored in them.
import { memory } from "@giommu/core/wasm/spapr";
import { registerNotifier } from "@giommu/memory-api";
import { IommuNotifier, IommuNotifierFlag } from "@giommu/notifiers";
import { SpaprMachine, TceTable } from "@giommu/spapr-tce";
import { assert, assertEquals, assertLess } from "@std/assert";

const HIGH = 0x8000_0001;
const FAR = 1n << 59n;

/** The ranges that a newcomer is told of. */
function replayed(table: TceTable): [bigint, bigint][] {
  const ranges: [bigint, bigint][] = [];
  const notifier = new IommuNotifier({
    flags: IommuNotifierFlag.IOTLB_EVENTS,
    notify: ({ iova }) => ranges.push([iova.start, iova.last]),
  });
  registerNotifier(table.region, notifier, { replay: true });
  table.region.notifiers.unregister(notifier);
  return ranges;
}

for (
  const [what, pageShift, windowShift] of [["2^31 entries", 12, 43], ["2^63 bytes", 34, 63], [
    "2^31 entries and 2^59 bytes",
    28,
    59,
  ]] as const
) {
  Deno.test(`a window of ${what} is created, filled at both ends, replayed, saved, restored and removed`, () => {
    using machine = new SpaprMachine({ ram: 0x10_0000n, phbs: [{ index: 0, pgsz: 1n << BigInt(pageShift) }] });
    const empty = machine.save().length;
    const pages = memory().buffer.byteLength;
    const { rets } = machine.rtas(
      "ibm,create-pe-dma-window",
      [0, ...machine.phb(0)!.buidCells, pageShift, windowShift],
      4,
    );
    assertEquals(rets, [0, HIGH, Number(FAR >> 32n), 0]);
    const table = machine.table(HIGH)!;
    const last = FAR + (1n << BigInt(windowShift)) - 1n;
    assertEquals(machine.putTce(HIGH, FAR, 3n).ret, 0);
    assertEquals(machine.putTce(HIGH, last, 1n).ret, 0);
    assertEquals(machine.putTce(HIGH, last + 1n, 3n).ret, -4, "just beyond");
    const page = 1n << BigInt(pageShift);
    const size = 1n << BigInt(windowShift);
    assertEquals(replayed(table), [[0n, page - 1n], [size - page, size - 1n]]);
    const saved = machine.save();
    assertLess(saved.length - empty, 100, "two entries and a window");
    assertEquals(machine.stuffTce(HIGH, FAR, 0n, size / page).ret, 0);
    assertEquals([table.stored, replayed(table)], [0, []]);
    machine.restore(saved);
    assertEquals(machine.getTce(HIGH, last).value, 1n);
    assertEquals(machine.rtas("ibm,remove-pe-dma-window", [HIGH], 1).status, 0);
    assertEquals(machine.save().length, empty);
    assertLess(memory().buffer.byteLength - pages, 1 << 20, "the core did not grow by more than this in all");
  });
}

Deno.test("a table of 2^64 bytes has a first and a last page, and no end beyond which to loop", () => {
  for (const [entries, pageShift] of [[2 ** 31, 33], [2, 63]] as const) {
    using table = new TceTable({ liobn: 1, entries, pageShift });
    assertEquals(table.region.size, 1n << 64n);
    assertEquals(table.putTce(0n, 3n).ret, 0);
    assertEquals(table.putTce(2n ** 64n - 1n, 1n).ret, 0);
    const page = 1n << BigInt(pageShift);
    assertEquals(replayed(table), [[0n, page - 1n], [(1n << 64n) - page, (1n << 64n) - 1n]]);
    assertEquals(table.stuffTce(0n, 0n, BigInt(entries)).ret, 0);
    assertEquals(table.mapped, 0);
  }
});

Deno.test("a window that would pass the top of the space is a hardware error", () => {
  using machine = new SpaprMachine({ ram: 0x1000n, phbs: [{ index: 0, pgsz: 1n << 40n, dma64WinAddr: 1n << 63n }] });
  const create = (shift: number) =>
    machine.rtas("ibm,create-pe-dma-window", [0, ...machine.phb(0)!.buidCells, 40, shift], 4);
  assertEquals(create(63).rets, [0, HIGH, 0x8000_0000, 0], "up to the very top");
  machine.rtas("ibm,remove-pe-dma-window", [HIGH], 1);
  using higher = new SpaprMachine({ ram: 0x1000n, phbs: [{ index: 0, pgsz: 1n << 40n, dma64WinAddr: 3n << 62n }] });
  const { status } = higher.rtas("ibm,create-pe-dma-window", [0, ...higher.phb(0)!.buidCells, 40, 63], 4);
  assert(status === -1 && higher.tables.length === 1);
});
