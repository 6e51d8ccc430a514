import { AddressSpace, MemoryRegion, RamRegion } from "@giommu/memory-api";
import { assertEquals } from "@std/assert";
import { GuestTable } from "./_guest_table_test.ts";
import { countMaps } from "./count_maps.ts";

Deno.test("countMaps() counts what attach() would map under each policy, and only what is RAM", () => {
  const low = new MemoryRegion({ name: "memory", size: 2n ** 64n });
  low.addSubregion(0n, new RamRegion({ name: "low", size: 0x4000n }));
  low.addSubregion(0x4000n, new RamRegion({ name: "high", size: 0x4000n }));
  using memory = new AddressSpace({ name: "memory", root: low });
  const table = new GuestTable({ pages: 32 });
  table.map(0, 2, 0x8000n); // no RAM
  table.map(4, 6, 0x1000n); // across the border of two RAMs
  const root = new MemoryRegion({ name: "bus", size: 2n ** 64n });
  root.addSubregion(0n, table.region);
  root.addSubregion(0x4000_0000n, new RamRegion({ name: "ram", size: 0x4000n }));
  using bus = new AddressSpace({ name: "bus", root, memory });
  assertEquals(countMaps(bus), { none: 7, call: 7, full: 3 });
  using all = new AddressSpace({ name: "everything is RAM", root });
  assertEquals(countMaps(all), { none: 9, call: 9, full: 3 });
});
