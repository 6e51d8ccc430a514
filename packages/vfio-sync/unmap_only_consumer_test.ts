import { AddressSpace, IommuMemoryRegion, IoRegion, MemoryRegion, RamRegion } from "@giommu/memory-api";
import { IommuNotifierFlag } from "@giommu/notifiers";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { GuestTable } from "./_guest_table_test.ts";
import { UnmapOnlyConsumer } from "./unmap_only_consumer.ts";

function setUp() {
  const memory = new AddressSpace({ name: "memory", root: new RamRegion({ name: "ram", size: 0x10_0000n }) });
  const table = new GuestTable({ pages: 16, space: memory });
  table.map(0, 8, 0x8000n, 1);
  const root = new MemoryRegion({ name: "bus", size: 2n ** 64n });
  root.addSubregion(0x4000n, table.region);
  return { table, root, bus: new AddressSpace({ name: "bus", root }) };
}

Deno.test("UnmapOnlyConsumer listens to UNMAP alone and fills its cache by misses", () => {
  const { table, bus } = setUp();
  const gone: [bigint, bigint][] = [];
  using device = new UnmapOnlyConsumer(bus, { invalidated: ({ start, last }) => gone.push([start, last]) });
  assertEquals(table.region.notifiers.flags, IommuNotifierFlag.UNMAP);
  assertEquals(device.translate(0x5123n, 1), { gpa: 0x9123n, perm: 1 });
  assertEquals(device.translate(0x5123n, 2), undefined); // read-only: the space says no
  assertEquals(device.translate(0x5fffn, 1), { gpa: 0x9fffn, perm: 1 });
  assertEquals([device.hits, device.misses, device.size], [1, 2, 1]);

  // A change in place: the cache is emptied before the new mapping can be asked for. New mappings alone tell it nothing.
  table.map(1, 1, 0x70000n);
  assertEquals(gone, [[0x5000n, 0x5fffn]]);
  assertEquals(device.translate(0x5123n, 2), { gpa: 0x70123n, perm: 3 });
  table.map(9, 1, 0x70000n);
  assertEquals([gone.length, device.invalidations], [1, 1]);
});

Deno.test("UnmapOnlyConsumer never answers with what the guest has unmapped", () => {
  const { table, root, bus } = setUp();
  using device = new UnmapOnlyConsumer(bus);
  for (let i = 0n; i < 8n; i++) device.translate(0x4000n + (i << 12n), 1);
  table.unmap(2, 3);
  for (let i = 0n; i < 8n; i++) {
    assertEquals(device.translate(0x4000n + (i << 12n), 1) === undefined, i >= 2n && i < 5n);
  }
  // A part of the window is hidden: what was cached there goes, the rest is still listened to.
  const over = new RamRegion({ name: "over", size: 0x2000n });
  root.addSubregion(0x8000n, over, { priority: 1 });
  assertEquals(device.translate(0x9000n, 1)?.gpa, 0x9000n);
  assertEquals(table.region.notifiers.size, 2);
  table.unmap(0, 16);
  assertEquals(device.translate(0x4000n, 1), undefined);
  assertEquals(device.translate(0xb000n, 1), undefined);
  root.removeSubregion(over);
  assertEquals(device.translate(0x9000n, 1), undefined);
});

Deno.test("UnmapOnlyConsumer keeps as many translations as it was told to, the newest", () => {
  const { bus } = setUp();
  using device = new UnmapOnlyConsumer(bus, { capacity: 3 });
  for (let i = 0n; i < 6n; i++) device.translate(0x4000n + (i << 12n), 1);
  assertEquals(device.size, 3);
  device.translate(0x9000n, 1);
  device.translate(0x4000n, 1);
  assertEquals([device.hits, device.misses], [1, 7]);
  assertThrows(() => new UnmapOnlyConsumer(bus, { capacity: 0 }), RangeError, "capacity");
});

Deno.test("UnmapOnlyConsumer with a device IOTLB hears DEVIOTLB_UNMAP alone; disposed, nothing", () => {
  const { table, bus } = setUp();
  const device = new UnmapOnlyConsumer(bus, { deviceIotlb: true });
  assertEquals(table.region.notifiers.flags, IommuNotifierFlag.DEVIOTLB_UNMAP);
  device.translate(0x4000n, 1);
  table.unmap(0);
  assertEquals(device.size, 1);
  table.region.notify({
    type: IommuNotifierFlag.DEVIOTLB_UNMAP,
    iova: { start: 0n, last: 0xffffn },
    target: 0n,
    perm: 0,
    pageSize: 0x1000n,
  });
  assertEquals(device.size, 0);
  device.dispose();
  device.dispose();
  assertEquals([table.region.notifiers.size, bus.listeners.length], [0, 0]);
});

Deno.test("UnmapOnlyConsumer can listen to an IOMMU that cannot tell of MAPs", () => {
  const iommu = new IommuMemoryRegion({
    name: "no caching mode",
    size: 0x1000n,
    translate: () => undefined,
    flagsChanged: (_, next) => {
      if (next & IommuNotifierFlag.MAP) throw new Error("no caching mode");
    },
  });
  using bus = new AddressSpace({ name: "bus", root: iommu });
  using device = new UnmapOnlyConsumer(bus);
  assert(device.translate(0n, 1) === undefined);
});

Deno.test("UnmapOnlyConsumer refuses an access that is none", () => {
  using space = new AddressSpace({ name: "bus", root: new RamRegion({ name: "ram", size: 0x1000n }) });
  using device = new UnmapOnlyConsumer(space);
  assertThrows(() => device.translate(0n, 7 as 3), RangeError, "access");
  assertThrows(() => device.translate(0n, "r" as unknown as 3), TypeError, "access");
  assertEquals([device.hits, device.misses], [0, 0]);
  device.translate(0n, 1);
  assertThrows(() => device.translate(0n, 8 as 3), RangeError, "access");
});

Deno.test("UnmapOnlyConsumer tells of no invalidation where nothing could be cached, nor when it is disposed", () => {
  const { root, bus } = setUp();
  const msi = new IoRegion({ name: "msi", size: 0x1000n });
  root.addSubregion(0x10_0000n, msi);
  const gone: bigint[] = [];
  const device = new UnmapOnlyConsumer(bus, { invalidated: ({ start }) => gone.push(start) });
  root.removeSubregion(msi);
  assertEquals(gone, []);
  device[Symbol.dispose]();
  assertEquals(gone, []);
});

Deno.test("UnmapOnlyConsumer says what it expected instead of a region", () => {
  const { table } = setUp();
  const misuse = () => new UnmapOnlyConsumer(table.region as unknown as AddressSpace);
  assertThrows(misuse, TypeError, "Cannot use space: expected an AddressSpace, got an IommuMemoryRegion");
});
