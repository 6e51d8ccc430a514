import { IommuError } from "@giommu/core";
import { AddressSpace, MemoryRegion, RamRegion } from "@giommu/memory-api";
import { assertEquals, assertThrows } from "@std/assert";
import { GuestTable } from "./_guest_table_test.ts";
import { SimulatedHost } from "./simulated_host.ts";
import { verify } from "./verify.ts";
import { VfioContainer } from "./vfio_container.ts";

/** Sixteen pages of 64 KiB, of which eight are mapped, and some RAM. */
function setUp() {
  const table = new GuestTable({ pages: 16, pageSize: 0x10000n });
  table.map(0, 8, 0x100_0000n);
  const root = new MemoryRegion({ name: "bus", size: 2n ** 64n });
  root.addSubregion(0n, table.region);
  root.addSubregion(0x4000_0000n, new RamRegion({ name: "ram", size: 0x4000n }));
  const space = new AddressSpace({ name: "pci0", root });
  const host = new SimulatedHost();
  const container = new VfioContainer({ host });
  container.attach(space);
  return { table, host, container };
}

Deno.test("verify() counts pages of each region's own size, and RAM in the host's", () => {
  const { container } = setUp();
  assertEquals(verify(container), {
    agrees: true,
    guestPages: 12n,
    hostPages: 12n,
    missing: 0n,
    stale: 0n,
    differing: 0n,
    notRam: 0n,
    ranges: [],
  });
  container.dispose();
});

Deno.test("verify() names what somebody else did to the host, in each of the three ways", () => {
  const { container, host } = setUp();
  host.unmap({ start: 0x2_1000n, last: 0x2_2fffn }); // two small pages of one large one
  host.map({ iova: { start: 0x9_0000n, last: 0x9_ffffn }, gpa: 0n, perm: 1 });
  host.unmap({ start: 0x5_0000n, last: 0x5_ffffn });
  host.map({ iova: { start: 0x5_0000n, last: 0x5_ffffn }, gpa: 0x105_0000n, perm: 1 }); // right page, wrong permission
  host.unmap({ start: 0x4000_1000n, last: 0x4000_1fffn });
  host.map({ iova: { start: 0x4000_1000n, last: 0x4000_1fffn }, gpa: 0n, perm: 3 }); // wrong page
  const { agrees, missing, stale, differing, ranges } = verify(container);
  assertEquals([agrees, missing, stale, differing], [false, 1n, 1n, 2n]);
  assertEquals(ranges, [
    { kind: "missing", iova: { start: 0x2_1000n, last: 0x2_2fffn }, guest: { gpa: 0x102_1000n, perm: 3 } },
    {
      kind: "differing",
      iova: { start: 0x5_0000n, last: 0x5_ffffn },
      guest: { gpa: 0x105_0000n, perm: 3 },
      host: { gpa: 0x105_0000n, perm: 1 },
    },
    { kind: "stale", iova: { start: 0x9_0000n, last: 0x9_ffffn }, host: { gpa: 0n, perm: 1 } },
    {
      kind: "differing",
      iova: { start: 0x4000_1000n, last: 0x4000_1fffn },
      guest: { gpa: 0x4000_1000n, perm: 3 },
      host: { gpa: 0n, perm: 3 },
    },
  ]);
  container.dispose();
});

Deno.test("verify() lists the first ten ranges of each kind and counts all", () => {
  const { container, host, table } = setUp();
  table.unmap(0, 16);
  for (let i = 0n; i < 15n; i++) host.map({ iova: { start: i << 17n, last: (i << 17n) + 0xfffn }, gpa: 0n, perm: 1 });
  const { stale, ranges } = verify(container);
  assertEquals([stale, ranges.length], [15n, 10]);
  container.dispose();
});

Deno.test("verify() asks the guest's IOMMU and the host, not the container", () => {
  const { container, table } = setUp();
  // The guest's table is changed behind everybody's back.
  table.pages.delete(3n);
  table.pages.set(12n, { target: 0n, perm: 1 });
  const { missing, stale } = verify(container);
  assertEquals([missing, stale], [1n, 1n]);
  container.dispose();
});

Deno.test("verify() needs an attached container and a host that tells", () => {
  const mute = new VfioContainer({ host: { info: new SimulatedHost().info, map() {}, unmap: () => 0n } });
  assertEquals(assertThrows(() => verify(mute), IommuError, "attached to nothing").code, "not-attached");
  using space = new AddressSpace({ name: "empty", root: new MemoryRegion({ name: "empty", size: 1n }) });
  mute.attach(space);
  assertEquals(assertThrows(() => verify(mute), IommuError).code, "backend-unavailable");
  mute.dispose();
});
