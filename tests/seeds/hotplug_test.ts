// Seeds: all five. What they are for: a device is hotplugged onto a bus whose guest mappings already exist.
import { type IommuError } from "@giommu/core";
import { AddressSpace, RamRegion } from "@giommu/memory-api";
import { SpaprPhb, type TceTable } from "@giommu/spapr-tce";
import { HOST_RULES, SimulatedHost, UnmapOnlyConsumer, verify, VfioContainer } from "@giommu/vfio-sync";
import { assert, assertEquals, assertThrows } from "@std/assert";

function defaultTable(phb: SpaprPhb): TceTable {
  const table = phb.defaultWindow;
  assert(table !== undefined);
  return table;
}

function dump(host: SimulatedHost): [bigint, bigint, bigint, number][] {
  return Array.from(host.mappings(), ({ iova, gpa, perm }) => [iova.start, iova.last, gpa, perm]);
}

Deno.test("Hotplug onto a bus with mappings replays them to the newcomer, then follows the guest", () => {
  using phb = new SpaprPhb({ index: 0 });
  const table = defaultTable(phb);
  for (let page = 0n; page < 8n; page++) table.putTce(page << 12n, 0x10_0003n + (page << 12n));
  table.putTce(0x3fff_f000n, 0x70_0001n);

  const host = new SimulatedHost();
  using container = new VfioContainer({ host });
  const report = container.attach(phb.space);
  assertEquals([report.pages, report.extents, report.hostMaps], [9n, 2, 2]);
  assertEquals(dump(host), [[0n, 0x7fffn, 0x10_0000n, 3], [0x3fff_f000n, 0x3fff_ffffn, 0x70_0000n, 1]]);

  table.putTce(0x2000n, 0x55_0003n); // in place: QEMU's host keeps the old page
  assertEquals(host.translate(0x2abcn), { gpa: 0x55_0abcn, perm: 3 });
  table.stuffTce(0x4000n, 0n, 8n); // half of it was mapped
  assertEquals(host.translate(0x4000n), undefined);
  assertEquals(verify(container).agrees, true);
});

Deno.test("A second device in the same container needs no replay, and the first one's unplug keeps the mappings", () => {
  using phb = new SpaprPhb({ index: 0 });
  defaultTable(phb).putTce(0x1000n, 0x10_0003n);
  const host = new SimulatedHost();
  using container = new VfioContainer({ host });
  container.attach(phb.space);
  assertEquals(container.attach(phb.space).hostMaps, 0);
  container.detach();
  assertEquals([host.size, verify(container).agrees], [1, true]);
  container.detach();
  assertEquals([host.size, defaultTable(phb).region.notifiers.size], [0, 0]);
});

Deno.test("A container listens to every guest IOMMU of its bus, and lets go of one that leaves", () => {
  using phb = new SpaprPhb({ index: 0 });
  const first = defaultTable(phb);
  first.putTce(0x1000n, 0x10_0003n);
  const host = new SimulatedHost();
  using container = new VfioContainer({ host });
  container.attach(phb.space);

  const second = phb.addWindow({ busOffset: 1n << 59n, size: 1n << 30n, pageShift: 16 });
  assertEquals([first.region.notifiers.size, second.region.notifiers.size], [1, 1]);
  second.putTce(1n << 59n, 0x20_0003n);
  assertEquals(dump(host).map(([start, last]) => [start, last]), [
    [0x1000n, 0x1fffn],
    [1n << 59n, (1n << 59n) + 0xffffn],
  ]);
  phb.removeWindow(second);
  assertEquals(dump(host).map(([start]) => start), [0x1000n]);
  assertEquals(verify(container).agrees, true);
});

Deno.test("A window that goes and comes again is listened to again, with what it holds by then", () => {
  using phb = new SpaprPhb({ index: 0 });
  const host = new SimulatedHost();
  using container = new VfioContainer({ host });
  container.attach(phb.space);
  const low = defaultTable(phb);
  low.putTce(0x5000n, 0x10_0003n);
  // A window of a higher LIOBN at the same bus address hides the first one, its mappings too.
  const high = phb.addWindow({ busOffset: 0n, size: 0x1_0000n });
  assertEquals(host.size, 0);
  low.putTce(0x6000n, 0x20_0003n); // hidden: no business of the host's
  assertEquals(host.size, 0);
  phb.removeWindow(high);
  assertEquals(dump(host), [[0x5000n, 0x5fffn, 0x10_0000n, 3], [0x6000n, 0x6fffn, 0x20_0000n, 3]]);
});

Deno.test("Mappings finer than the host's page fail the hotplug, which names both page sizes and leaves nothing", () => {
  using phb = new SpaprPhb({ index: 0 });
  const table = defaultTable(phb);
  table.putTce(0x5000n, 0x10_0003n);
  const host = new SimulatedHost({ pageSize: 0x1_0000n });
  using container = new VfioContainer({ host });
  const error = assertThrows(() => container.attach(phb.space)) as IommuError;
  assertEquals([error.code, error.range], ["page-too-fine", { start: 0x5000n, last: 0x5fffn }]);
  assert(/0x1000\b/.test(error.message) && /0x10000\b/.test(error.message), error.message);
  assertEquals([host.size, host.calls, table.region.notifiers.size, container.space], [0, 0, 0, undefined]);
});

Deno.test("Sixteen adjoining 4 KiB entries are no 64 KiB page: the guest may take one of them away", () => {
  using phb = new SpaprPhb({ index: 0 });
  const table = defaultTable(phb);
  for (let page = 0n; page < 16n; page++) table.putTce(page << 12n, 0x10_0003n + (page << 12n));
  for (const coalesce of ["none", "full"] as const) {
    const host = new SimulatedHost({ pageSize: 0x1_0000n });
    using container = new VfioContainer({ host, coalesce });
    const error = assertThrows(() => container.attach(phb.space)) as IommuError;
    assertEquals([error.code, host.calls], ["page-too-fine", 0]);
  }
});

Deno.test("An address that the host cannot translate is refused, with the host's ranges in the message", () => {
  using phb = new SpaprPhb({ index: 0 });
  const table = phb.addWindow({ busOffset: 1n << 59n, size: 1n << 30n, pageShift: 16 });
  table.putTce(1n << 59n, 0x3n);
  const host = new SimulatedHost({ rules: "type1" });
  using container = new VfioContainer({ host });
  const error = assertThrows(() => container.attach(phb.space)) as IommuError;
  assertEquals([error.code, error.range?.start], ["iova-out-of-range", 1n << 59n]);
  const [, high] = HOST_RULES.type1.iovaRanges;
  assert(error.message.includes(high!.last.toString(16)), error.message);
  assertEquals(host.size, 0);
});

Deno.test("A refused MAP is the guest's H_NOT_ENOUGH_RESOURCES, and its call has no effect on either side", () => {
  using phb = new SpaprPhb({ index: 0 });
  const table = defaultTable(phb);
  table.putTce(0x1000n, 0x10_0003n);
  const host = new SimulatedHost({ rules: "type1", maxMappings: 3 });
  using container = new VfioContainer({ host });
  container.attach(phb.space);
  const refused = table.stuffTce(0x1000n, 0x50_0003n, 4n);
  assertEquals([refused.ret, refused.error?.code], [-44, "mapping-limit"]);
  assertEquals([table.getTce(0x1000n).value, table.getTce(0x2000n).value], [0x10_0003n, 0n]);
  assertEquals(dump(host), [[0x1000n, 0x1fffn, 0x10_0000n, 3]]);
  assertEquals(table.stuffTce(0x1000n, 0x50_0003n, 3n).ret, 0);
  assertEquals(verify(container).agrees, true);
});

Deno.test("onHostFailure: qemu answers success to the guest and leaves the host behind, as QEMU does", () => {
  using phb = new SpaprPhb({ index: 0, onHostFailure: "qemu" });
  const table = defaultTable(phb);
  const host = new SimulatedHost({ maxMappings: 1 });
  using container = new VfioContainer({ host });
  container.attach(phb.space);
  table.putTce(0x1000n, 0x10_0003n);
  assertEquals(table.putTce(0x5000n, 0x20_0003n).ret, 0);
  assertEquals([verify(container).missing, host.size], [1n, 1]);
});

Deno.test("A consumer that listens to UNMAP alone fetches what it needs and forgets what went", () => {
  using memory = new AddressSpace({ name: "memory", root: new RamRegion({ name: "ram", size: 1n << 32n }) });
  using phb = new SpaprPhb({ index: 0, memory });
  const table = defaultTable(phb);
  table.putTce(0x1000n, 0x10_0003n);
  const invalidated: bigint[] = [];
  using cache = new UnmapOnlyConsumer(phb.space, { invalidated: ({ start }) => void invalidated.push(start) });
  assertEquals(cache.translate(0x1234n, 1)?.gpa, 0x10_0234n);
  table.putTce(0x2000n, 0x20_0003n); // a MAP: it does not hear of it, and need not
  assertEquals([invalidated, cache.translate(0x2000n, 1)?.gpa], [[], 0x20_0000n]);
  table.putTce(0x1000n, 0x30_0003n); // in place
  assertEquals([invalidated, cache.translate(0x1234n, 1)?.gpa], [[0x1000n], 0x30_0234n]);
  table.putTce(0x1000n, 0n);
  assertEquals([invalidated, cache.translate(0x1234n, 1)], [[0x1000n, 0x1000n], undefined]);
});
