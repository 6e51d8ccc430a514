import { AddressSpace, MemoryRegion, RamRegion } from "@giommu/memory-api";
import { assert, assertEquals } from "@std/assert";
import { GuestTable } from "./_guest_table_test.ts";
import { SimulatedHost } from "./simulated_host.ts";
import { VfioContainer } from "./vfio_container.ts";
import { verify } from "./verify.ts";

const BAR = 0x10_0000n;

/** System memory with 64 KiB of RAM and the BAR of some device, and a bus whose guest maps a page of each. */
function setUp() {
  const system = new MemoryRegion({ name: "system", size: 2n ** 64n });
  system.addSubregion(0n, new RamRegion({ name: "ram", size: 0x1_0000n }));
  const bar = new RamRegion({ name: "bar", size: 0x4000n, device: true });
  system.addSubregion(BAR, bar);
  const memory = new AddressSpace({ name: "memory", root: system });
  const table = new GuestTable({ pages: 16 });
  table.map(0, 1, 0x8000n);
  table.map(1, 2, BAR + 0x1000n);
  return { system, bar, memory, table, space: new AddressSpace({ name: "bus", root: table.region, memory }) };
}

Deno.test("type1 maps the BAR of another device, and follows it when it moves", () => {
  const { system, bar, table, space } = setUp();
  const host = new SimulatedHost({ rules: "type1" });
  using container = new VfioContainer({ host });
  assertEquals(container.attach(space).problems, 0);
  assertEquals([host.translate(0x1000n)?.gpa, host.translate(0x2000n)?.gpa], [BAR + 0x1000n, BAR + 0x2000n]);
  system.removeSubregion(bar);
  assertEquals([host.translate(0x1000n), host.size], [undefined, 1]);
  system.addSubregion(BAR, bar);
  assertEquals(host.translate(0x1000n)?.gpa, BAR + 0x1000n);
  assertEquals(table.map(3, 1, BAR).status, "done");
  assert(verify(container).agrees);
});

Deno.test("a host that does not map BARs leaves them out and says so; the guest's call succeeds", () => {
  const { table, space } = setUp();
  const host = new SimulatedHost({ rules: "iommufd" });
  using container = new VfioContainer({ host });
  assertEquals(container.attach(space).problems, 1);
  assertEquals([host.size, host.translate(0x1000n)], [1, undefined]);
  const [problem] = container.problems;
  assertEquals(problem?.code, "not-ram");
  assert(problem?.message.includes("memory of a device, which iommufd does not map"), problem?.message);
  assertEquals(table.map(3, 1, BAR).status, "done");
  assertEquals([host.size, container.problems.length, verify(container).agrees], [1, 2, true]);
});

Deno.test("a BAR that devices reach without an IOMMU is mapped where the host can, and reported where not", () => {
  const root = new MemoryRegion({ name: "bus", size: 2n ** 64n });
  root.addSubregion(0n, new RamRegion({ name: "ram", size: 0x1_0000n }));
  root.addSubregion(BAR, new RamRegion({ name: "bar", size: 0x4000n, device: true }));
  using space = new AddressSpace({ name: "bus", root });
  for (const [rules, sections, problems] of [["type1", 2, 0], ["iommufd", 1, 1]] as const) {
    const host = new SimulatedHost({ rules });
    using container = new VfioContainer({ host });
    const report = container.attach(space);
    assertEquals([report.ramSections, host.size, report.problems], [sections, sections, problems]);
    assert(verify(container).agrees);
  }
});
