import { IommuError } from "@giommu/core";
import { AddressSpace, MemoryRegion, RamRegion, transaction } from "@giommu/memory-api";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { GuestTable } from "./_guest_table_test.ts";
import type { VfioContainerInit } from "./container_options.ts";
import type { SimulatedHostOptions } from "./simulated_host.ts";
import { SimulatedHost } from "./simulated_host.ts";
import { verify } from "./verify.ts";
import { VfioContainer } from "./vfio_container.ts";

/** A bus with sixteen pages of RAM at 0 and a table at 1 MiB, attached; and every call on the host. */
function setUp(hostOptions: SimulatedHostOptions = {}, options: Omit<VfioContainerInit, "host"> = {}) {
  const table = new GuestTable({ pages: 16 });
  table.map(0, 16, 0x40000n);
  const root = new MemoryRegion({ name: "bus", size: 2n ** 64n });
  root.addSubregion(0n, new RamRegion({ name: "ram", size: 0x10000n }));
  root.addSubregion(0x10_0000n, table.region);
  const space = new AddressSpace({ name: "pci0", root });
  const calls: string[] = [];
  const host = new SimulatedHost({
    ...hostOptions,
    observe: ({ call, range }) => calls.push(`${call} ${range.start.toString(16)}-${range.last.toString(16)}`),
  });
  const container = new VfioContainer({ host, ...options });
  container.attach(space);
  calls.length = 0;
  return { table, root, space, host, container, calls };
}

const overlay = (size = 0x2000n) => new RamRegion({ name: "overlay", size, readonly: true });

Deno.test("a section that shrinks keeps the mappings of what is left", () => {
  const { root, container, calls, table } = setUp();
  const hole = overlay();
  root.addSubregion(0x4000n, hole, { priority: 1 });
  root.addSubregion(0x10_8000n, overlay(), { priority: 1 });
  assertEquals(calls, ["UNMAP 4000-5fff", "MAP 4000-5fff", "UNMAP 108000-109fff", "MAP 108000-109fff"]);
  assert(verify(container).agrees);
  // The window is two pieces now, and hidden entries stay hidden.
  assertEquals(table.region.notifiers.size, 2);
  calls.length = 0;
  assertEquals(table.map(6, 6, 0x90000n).status, "done");
  assert(verify(container).agrees);
  assertEquals(calls, [
    "UNMAP 10a000-10bfff",
    "UNMAP 106000-107fff",
    "MAP 10a000-10bfff",
    "MAP 106000-107fff",
  ]);
  calls.length = 0;
  root.removeSubregion(hole);
  assertEquals(calls, ["UNMAP 4000-5fff", "MAP 4000-5fff"]);
  assert(verify(container).agrees);
  container.dispose();
});

Deno.test("a window that is hidden for a while gets the mappings that the guest made meanwhile", () => {
  const { root, container, table, host } = setUp();
  const cover = overlay(0x10000n);
  root.addSubregion(0x10_0000n, cover, { priority: 1 });
  assertEquals([table.region.notifiers.size, host.size], [0, 2]);
  table.map(3, 2, 0x90000n);
  root.removeSubregion(cover);
  assertEquals(host.translate(0x10_3000n)?.gpa, 0x90000n);
  assert(verify(container).agrees);
  container.dispose();
});

Deno.test("a window seen at two places is mirrored at both", () => {
  const { root, container, table, host } = setUp();
  const twin = new GuestTable({ pages: 1 });
  root.addSubregion(0x20_0000n, twin.region);
  assertEquals(table.region.notifiers.size + twin.region.notifiers.size, 2);
  root.removeSubregion(twin.region);
  assertEquals([twin.region.notifiers.size, host.size], [0, 2]);
  container.dispose();
});

Deno.test("a host that does not split refuses a part of RAM to go, before anything is touched", () => {
  for (const rules of ["type1", "iommufd"] as const) {
    const { root, container, calls, host } = setUp({ rules });
    const error = assertThrows(() => root.addSubregion(0x4000n, overlay(), { priority: 1 }), IommuError);
    assertEquals([error.code, error.range], ["dma-holes-not-allowed", { start: 0x4000n, last: 0x5fffn }]);
    assert(error.remedy?.includes("quiesce"));
    assertEquals([calls, root.subregions.length, container.failed], [[], 2, undefined]);
    assert(verify(container).agrees);
    // What goes as a whole may go, also many pages of a window.
    root.addSubregion(0x10_8000n, overlay(), { priority: 1 });
    assert(verify(container).agrees);
    container.detach();
    assertEquals(host.size, 0);
    container.dispose();
  }
});

Deno.test("a host that does not split makes a hole in RAM where that is allowed", () => {
  const { root, container, calls } = setUp({ rules: "type1" }, { allowDmaHoles: true });
  root.addSubregion(0x4000n, overlay(), { priority: 1 });
  assertEquals(calls, ["UNMAP 0-ffff", "MAP 0-3fff", "MAP 6000-ffff", "MAP 4000-5fff"]);
  assertEquals([container.counters.holes, container.counters.exposedPages], [1, 14]);
  assert(verify(container).agrees);
  container.dispose();
});

Deno.test("a window that the host cannot hold is refused with its transaction, and nothing is left of it", () => {
  const { root, container, table, host } = setUp({ rules: "type1" });
  const far = new GuestTable({ pages: 4 });
  far.map(0, 2, 0n);
  const near = new GuestTable({ pages: 4 });
  near.map(0, 2, 0n);
  const before = host.size;
  const error = assertThrows(() =>
    transaction(() => {
      root.removeSubregion(table.region);
      root.addSubregion(0x20_0000n, near.region);
      root.addSubregion(1n << 59n, far.region);
    }), IommuError);
  assertEquals(error.code, "iova-out-of-range");
  assertEquals([host.size, table.region.notifiers.size, near.region.notifiers.size, far.region.notifiers.size], [
    before,
    1,
    0,
    0,
  ]);
  assert(verify(container).agrees);
  container.dispose();
});

Deno.test("a refused transaction that cannot be told back fails the container and names what is missing", () => {
  const { root, container, table, host } = setUp({ rules: "type1" });
  host.failWhen({ call: ({ call }) => call === "MAP", errno: "EIO" });
  const other = new GuestTable({ pages: 4 });
  other.map(0, 1, 0n);
  const error = assertThrows(() =>
    transaction(() => {
      root.removeSubregion(table.region);
      root.addSubregion(0x20_0000n, other.region);
    }), IommuError);
  assertEquals(error.code, "rollback-failed");
  assertEquals([container.failed?.code, container.failed?.ranges], ["rollback-failed", [{
    start: 0x10_0000n,
    last: 0x10_ffffn,
  }]]);
  assertEquals(verify(container).missing, 16n);
  host.failNoMore();
  container.dispose();
  assertEquals(host.size, 0);
});

Deno.test("RAM that comes and goes under live entries is followed", () => {
  const low = new RamRegion({ name: "low", size: 0x40000n });
  const dimm = new RamRegion({ name: "dimm", size: 0x8000n });
  const root = new MemoryRegion({ name: "memory", size: 2n ** 64n });
  root.addSubregion(0n, low);
  using memory = new AddressSpace({ name: "memory", root });
  for (const rules of ["none", "type1"] as const) {
    const { container, table, host } = setUp({ rules }, { memory });
    assertEquals([host.translate(0x10_0000n), container.problems.length], [undefined, 1]);
    root.addSubregion(0x40000n, dimm);
    assertEquals([host.translate(0x10_7000n)?.gpa, host.translate(0x10_8000n)], [0x47000n, undefined]);
    assert(verify(container).agrees);
    assertEquals(verify(container).notRam, 8n);

    root.removeSubregion(dimm);
    assertEquals(host.translate(0x10_7000n), undefined);
    // The guest goes on while it is away.
    table.unmap(2, 2);
    table.map(6, 1, 0x47000n, 1);
    root.addSubregion(0x40000n, dimm);
    assertEquals([host.translate(0x10_2000n), host.translate(0x10_6000n)], [undefined, { gpa: 0x47000n, perm: 1 }]);
    assert(verify(container).agrees);
    root.removeSubregion(dimm);
    container.dispose();
    assertEquals([host.size, memory.listeners.length], [0, 0]);
  }
});

Deno.test("RAM that the host has no room for is refused as a whole", () => {
  const root = new MemoryRegion({ name: "memory", size: 2n ** 64n });
  using memory = new AddressSpace({ name: "memory", root });
  const { container, host } = setUp({ rules: "type1", maxMappings: 9 }, { memory });
  const dimm = new RamRegion({ name: "dimm", size: 0x10000n });
  const error = assertThrows(() => root.addSubregion(0x40000n, dimm), IommuError);
  assertEquals([error.code, host.size, root.subregions.length], ["mapping-limit", 1, 0]);
  const half = new RamRegion({ name: "half", size: 0x8000n });
  root.addSubregion(0x44000n, half);
  assertEquals(host.size, 9);
  assert(verify(container).agrees);
  container.dispose();
});

Deno.test("an address space that is disposed of under a container leaves nothing behind", () => {
  const { space, container, host, table } = setUp();
  space.dispose();
  assertEquals([host.size, table.region.notifiers.size], [0, 0]);
  container.dispose();
});

Deno.test("a thousand plugs and unplugs leave nothing", () => {
  const { space, container, host, table } = setUp({ rules: "type1" });
  for (let i = 0; i < 1000; i++) {
    container.detach();
    container.attach(space);
  }
  container.detach();
  assertEquals([host.size, table.region.notifiers.size, space.listeners.length], [0, 0, 0]);
  container.dispose();
});
