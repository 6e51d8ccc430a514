import type { AddressRange } from "@giommu/core";
import { AddressSpace, RamRegion } from "@giommu/memory-api";
import { SimulatedHost, verify, VfioContainer } from "@giommu/vfio-sync";
import { assert, assertEquals } from "@std/assert";
import { bytes, recording } from "./testdata/recordings.ts";
import { openInput } from "./input.ts";
import { RebuiltMachine } from "./rebuilt_machine.ts";

const HOTPLUGS = [
  { name: "hotplug-1g-4k.log.gz", count: 1, pages: 593n, extents: 530, end: "unplug", left: 593n },
  { name: "hotplug-1g-4k.log.gz", count: 2, pages: 593n, extents: 530, end: "end", left: 593n },
  { name: "hotplug-1g-4k-noxlate.log.gz", count: 1, pages: 82n, extents: 19, end: "unplug", left: 82n },
  { name: "hotplug-1g-4k-noxlate.log.gz", count: 2, pages: 82n, extents: 19, end: "end", left: 82n },
  { name: "hotplug-linux.log.gz", count: 1, pages: 415n, extents: 263, end: "end", left: 383n },
  { name: "hotplug-two-windows.log.gz", count: 1, pages: 83n, extents: 20, end: "unplug", left: 83n },
];

for (const { name, count, pages, extents, end, left } of HOTPLUGS) {
  Deno.test(`a container plugged in at hotplug ${count} of ${name} holds what the guest has mapped, to the end`, async () => {
    await using input = await openInput(recording(name));
    using machine = new RebuiltMachine();
    let stop;
    do stop = await machine.read(input); while (stop !== "hotplug" || machine.hotplugs.length < count);
    using bridge = machine.bridge(0);
    const host = new SimulatedHost();
    using container = new VfioContainer({ host });
    const report = container.attach(bridge.space);
    assertEquals([report.pages, report.extents], [pages, extents]);
    assertEquals(await machine.read(input), end);
    const { agrees, guestPages, hostPages } = verify(container);
    assertEquals([agrees, guestPages, hostPages], [true, left, left]);
    assertEquals(machine.refusal, undefined);
  });
}

const NEW = "spapr_iommu_new_table liobn=0x80000000 table=(nil) fd=-1\n";
const CREATE = "spapr_iommu_new_table liobn=0x80000001 table=(nil) fd=-1\n" +
  "spapr_iommu_ddw_create buid=0x800000020000000 addr=0x0, page size=0x10000, requested=0x10000000, " +
  "start addr=0x1000000000, liobn=0x80000001\n";
const put = (liobn: number, ioba: number, tce: number): string =>
  `spapr_iommu_pci_put liobn=0x${liobn.toString(16)} ioba=0x${ioba.toString(16)} tce=0x${tce.toString(16)} ret=0\n`;

function mapped(host: SimulatedHost): AddressRange[] {
  return Array.from(host.mappings(), ({ iova }) => iova);
}

Deno.test("windows that come, go and are reset while a container is attached reach its host", () => {
  using machine = new RebuiltMachine();
  machine.feed(bytes(NEW + put(0x8000_0000, 0x1000, 0x7003)));
  using bridge = machine.bridge(0);
  const host = new SimulatedHost();
  using container = new VfioContainer({ host });
  container.attach(bridge.space);
  const low = { start: 0x1000n, last: 0x1fffn };
  assertEquals(mapped(host), [low]);
  machine.feed(bytes(CREATE + put(0x8000_0001, 0x10_0000_0000, 0x2_0003)));
  assertEquals(bridge.windows.map(({ liobn }) => liobn), [0x8000_0000, 0x8000_0001]);
  assertEquals(mapped(host), [low, { start: 0x10_0000_0000n, last: 0x10_0000_ffffn }]);
  machine.feed(bytes("spapr_iommu_ddw_remove liobn=0x80000001\n"));
  assertEquals(mapped(host), [low]);
  // A reset of the machine: what the default window holds then is unknown, so nothing is mapped.
  machine.feed(bytes(NEW + put(0x8000_0000, 0x3000, 0x9003)));
  assertEquals(mapped(host), [{ start: 0x3000n, last: 0x3fffn }]);
  assertEquals(verify(container).agrees, true);
});

Deno.test("an entry that becomes unknown is unmapped, and mapped again when the log reveals it", () => {
  using machine = new RebuiltMachine();
  machine.feed(bytes(NEW + put(0x8000_0000, 0x1000, 0x7003)));
  using bridge = machine.bridge(0);
  const host = new SimulatedHost();
  using container = new VfioContainer({ host });
  container.attach(bridge.space);
  machine.feed(
    bytes("spapr_iommu_pci_indirect liobn=0x80000000 ioba=0x1000 tcelist=0x0 iobaN=0x1 tceN=0x8003 ret=0\n"),
  );
  assertEquals(mapped(host), [{ start: 0x2000n, last: 0x2fffn }]);
  machine.feed(bytes("spapr_iommu_xlate liobn=0x80000000 0x1000 -> 0x7000 perm=3 mask=0xfff\n"));
  assertEquals(host.translate(0x1000n)?.gpa, 0x7000n);
  assertEquals(verify(container).guestPages, 2n);
});

Deno.test("a live change that the host refuses stops the reading and is taken back", () => {
  using machine = new RebuiltMachine();
  machine.feed(bytes(NEW + put(0x8000_0000, 0x1000, 0x7003)));
  using bridge = machine.bridge(0);
  const host = new SimulatedHost({ maxMappings: 2 });
  using container = new VfioContainer({ host });
  container.attach(bridge.space);
  const log = put(0x8000_0000, 0x3000, 0x1_0003) + put(0x8000_0000, 0x5000, 0x2_0003) + put(0x8000_0000, 0x3000, 0);
  assertEquals(machine.feed(bytes(log), { last: true }), "refused");
  assertEquals([machine.refusal?.line, machine.refusal?.liobn], [4, 0x8000_0000]);
  assert(machine.refusal?.error instanceof Error);
  assertEquals([machine.tables[0]?.mapped, verify(container).agrees], [2, true]);
  assertEquals(machine.resume(), "end");
  assertEquals(mapped(host), [{ start: 0x1000n, last: 0x1fffn }]);
});

Deno.test("a window that the host cannot hold stops the reading, and the bridge goes on without it", () => {
  using machine = new RebuiltMachine();
  machine.feed(bytes(NEW));
  using bridge = machine.bridge(0);
  const host = new SimulatedHost({ iovaRanges: [{ start: 0n, last: 0xffff_ffffn }] });
  using container = new VfioContainer({ host });
  container.attach(bridge.space);
  const stop = machine.feed(bytes(CREATE + put(0x8000_0001, 0x10_0000_0000, 0x2_0003)), { last: true });
  assertEquals([stop, machine.refusal?.liobn], ["refused", 0x8000_0001]);
  assertEquals([machine.resume(), mapped(host)], ["end", []]);
});

Deno.test("a bridge shows only the tables that it is asked for, and follows only while it is there", () => {
  using machine = new RebuiltMachine();
  machine.feed(bytes(NEW + CREATE + put(0x8000_0001, 0x10_0000_0000, 0x2_0003)));
  using memory = new AddressSpace({ name: "memory", root: new RamRegion({ name: "ram", size: 0x100_0000n }) });
  using only = machine.bridge(0, { liobns: [0x8000_0001], memory });
  assertEquals(only.windows.map(({ liobn }) => liobn), [0x8000_0001]);
  assertEquals([only.index, only.space.memory], [0, memory]);
  using other = machine.bridge(1);
  assertEquals(other.windows, []);
  const both = machine.bridge(0);
  assertEquals(both.windows.length, 2);
  both[Symbol.dispose]();
  both[Symbol.dispose]();
  assertEquals(machine.feed(bytes(put(0x8000_0001, 0x10_0000_0000, 0)), { last: true }), "end");
  assertEquals(only.windows[0]?.mapped, 0);
});
