// Seed: "memory: introduce IOMMUNotifier and its caps".
import { IommuMemoryRegion, registerNotifier, unregisterNotifier } from "@giommu/memory-api";
import { IommuNotifier, IommuNotifierFlag } from "@giommu/notifiers";
import { TceTable } from "@giommu/spapr-tce";
import { assertEquals, assertThrows } from "@std/assert";

type Heard = [type: "map" | "unmap", iova: bigint, target: bigint][];

function listen(table: TceTable, flags: IommuNotifierFlag, heard: Heard): IommuNotifier {
  const notifier = new IommuNotifier({
    flags,
    notify: ({ type, iova, target }) =>
      void heard.push([type === IommuNotifierFlag.MAP ? "map" : "unmap", iova.start, target]),
  });
  registerNotifier(table.region, notifier);
  return notifier;
}

Deno.test("A notifier is told only of the kind of change that it listens to", () => {
  using table = new TceTable({ liobn: 1, entries: 16 });
  const maps: Heard = [], unmaps: Heard = [], both: Heard = [];
  listen(table, IommuNotifierFlag.MAP, maps);
  listen(table, IommuNotifierFlag.UNMAP, unmaps);
  listen(table, IommuNotifierFlag.IOTLB_EVENTS, both);
  table.putTce(0x2000n, 0x10_0003n);
  table.putTce(0x2000n, 0n);
  assertEquals(maps, [["map", 0x2000n, 0x10_0000n]]);
  assertEquals(unmaps, [["unmap", 0x2000n, 0n]]);
  assertEquals(both, [["map", 0x2000n, 0x10_0000n], ["unmap", 0x2000n, 0n]]);
});

Deno.test("A change in place is an UNMAP, then a MAP: of another page, and of another permission", () => {
  using table = new TceTable({ liobn: 1, entries: 16 });
  const heard: Heard = [];
  table.putTce(0x2000n, 0x10_0003n);
  listen(table, IommuNotifierFlag.IOTLB_EVENTS, heard);
  table.putTce(0x2000n, 0x20_0003n);
  table.putTce(0x2000n, 0x20_0001n);
  assertEquals(heard, [
    ["unmap", 0x2000n, 0n],
    ["map", 0x2000n, 0x20_0000n],
    ["unmap", 0x2000n, 0n],
    ["map", 0x2000n, 0x20_0000n],
  ]);
});

Deno.test("Storing the same again, other ignored bits, or zero over nothing tells nobody", () => {
  using table = new TceTable({ liobn: 1, entries: 16 });
  const heard: Heard = [];
  table.putTce(0x2000n, 0x10_0003n);
  listen(table, IommuNotifierFlag.IOTLB_EVENTS, heard);
  table.putTce(0x2000n, 0x10_0003n);
  table.putTce(0x2000n, 0x10_0abfn);
  table.putTce(0x7000n, 0n);
  assertEquals(heard, []);
  assertEquals(table.getTce(0x2000n).value, 0x10_0abfn);
});

Deno.test("All UNMAPs of one call reach every notifier before the first MAP reaches any", () => {
  using table = new TceTable({ liobn: 1, entries: 16 });
  table.stuffTce(0n, 0x10_0003n, 4n);
  const order: string[] = [];
  for (const name of ["older", "newer"]) {
    registerNotifier(
      table.region,
      new IommuNotifier({
        flags: IommuNotifierFlag.IOTLB_EVENTS,
        notify: ({ type }) => void order.push(`${name} ${type === IommuNotifierFlag.MAP ? "map" : "unmap"}`),
      }),
    );
  }
  table.stuffTce(0n, 0x20_0003n, 2n);
  assertEquals(order, ["newer unmap", "older unmap", "newer map", "newer map", "older map", "older map"]);
});

Deno.test("An IOMMU hears the union of the flags, and may refuse a notifier with a reason", () => {
  const unions: [number, number][] = [];
  const iommu = new IommuMemoryRegion({
    name: "no caching mode",
    size: 0x1000n,
    translate: () => undefined,
    flagsChanged(old, next) {
      if ((next & IommuNotifierFlag.MAP) !== 0) throw new Error("MAP needs caching mode");
      unions.push([old, next]);
    },
  });
  const unmap = new IommuNotifier({ flags: IommuNotifierFlag.UNMAP, notify: () => {} });
  const same = new IommuNotifier({ flags: IommuNotifierFlag.UNMAP, notify: () => {} });
  const map = new IommuNotifier({ flags: IommuNotifierFlag.MAP, notify: () => {} });
  registerNotifier(iommu, unmap);
  registerNotifier(iommu, same);
  assertThrows(() => registerNotifier(iommu, map), Error, "MAP needs caching mode");
  assertEquals(map.registered, false);
  unregisterNotifier(iommu, unmap);
  unregisterNotifier(iommu, same);
  assertEquals(unions, [[0, 1], [1, 0]]);
});

Deno.test("sPAPR's tables refuse device-IOTLB notifiers, as QEMU's do", () => {
  using table = new TceTable({ liobn: 1, entries: 16 });
  const ats = new IommuNotifier({ flags: IommuNotifierFlag.DEVIOTLB_UNMAP, notify: () => {} });
  assertThrows(() => registerNotifier(table.region, ats), Error, "IOTLB");
  assertEquals(table.region.notifiers.size, 0);
});
