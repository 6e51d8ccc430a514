/** A recorded guest on the real kernel: a device is plugged in where QEMU plugged one in, and follows the log. */

import { AddressSpace, RamRegion } from "@giommu/memory-api";
import type { EduDevice } from "@giommu/vfio-linux";
import { PinnedMemory } from "@giommu/vfio-linux";
import { openInput, RebuiltMachine } from "@giommu/qemu-trace";
import type { HostMapping } from "@giommu/vfio-sync";
import { SimulatedHost, verify, VfioContainer } from "@giommu/vfio-sync";
import { assert, assertEquals } from "@std/assert";
import { word } from "./word.ts";
import { KernelLog, pagesAfter } from "./kernel_log.ts";
import { firstEdu, hostTest } from "./vm.ts";

/** Recordings, the guest's memory, and how many pages QEMU replayed at the first hotplug. */
const RECORDINGS = [
  { file: "hotplug-1g-4k.log.gz", size: 0x4000_0000n, pages: 593n },
  { file: "hotplug-two-windows.log.gz", size: 0x4000_0000n, pages: undefined },
] as const;

/** Where the edu device's own page is: above every window of the guest. */
const SCRATCH = 0x7f_0000_0000n;
const PAGE = 0x1000n;

for (const { file, size, pages: expected } of RECORDINGS) {
  hostTest(`${file}: the kernel maps what the guest has mapped, from the hotplug to the unplug`, async ({ open }) => {
    using memory = new PinnedMemory({ size });
    const ram = new RamRegion({ name: "ram", size, memory });
    using system = new AddressSpace({ name: "system", root: ram });
    using host = open();
    await using input = await openInput(new URL(`../data/logs/${file}`, import.meta.url));
    using machine = new RebuiltMachine();
    while (await machine.read(input) !== "hotplug");
    const liobn = machine.hotplugs[0]?.liobns[0] ?? 0;
    using bridge = machine.bridge((liobn >> 8) & 0xff, { memory: system });
    // What a container holds that the kernel is not asked of.
    const simulated = new SimulatedHost({ iovaRanges: host.info.iovaRanges });
    using model = new VfioContainer({ host: simulated });
    model.attach(bridge.space);

    using log = new KernelLog();
    using container = new VfioContainer({ host });
    const report = container.attach(bridge.space);
    if (expected !== undefined) assertEquals(report.pages, expected);
    let held = pagesAfter(log.take());
    assertEquals(held, pagesOf(simulated));
    assert(held.length > 0);

    host.map(scratchMapping(ram));
    const scratch = { memory, offset: size - PAGE, iova: SCRATCH };
    using edu = firstEdu(host, scratch);
    await assertDma(edu, memory, simulated, size);
    log.take();

    let stop = await machine.read(input);
    while (stop !== "unplug" && stop !== "end" && stop !== "refused") stop = await machine.read(input);
    assertEquals([stop, machine.refusal], ["unplug", undefined]);
    assertEquals([container.failed, verify(model).agrees], [undefined, true]);
    held = pagesAfter(log.take(), held);
    assertEquals(held, pagesOf(simulated));
    await assertDma(edu, memory, simulated, size);

    container.detach();
    assertEquals(pagesAfter(log.take(), held).filter((page) => page << 12n < SCRATCH), []);
  });
}

function scratchMapping(ram: RamRegion): HostMapping {
  const ramOffset = ram.size - PAGE;
  return { iova: { start: SCRATCH, last: SCRATCH + PAGE - 1n }, gpa: ramOffset, perm: 3, ram, ramOffset };
}

function pagesOf(host: SimulatedHost): bigint[] {
  const pages: bigint[] = [];
  for (const { iova } of host.mappings()) {
    for (let page = iova.start >> 12n; page <= iova.last >> 12n; page++) pages.push(page);
  }
  return pages;
}

/** The device reads what the table points to now, for pages from the first to the last; and nothing beside them. */
async function assertDma(edu: EduDevice, memory: PinnedMemory, model: SimulatedHost, size: bigint): Promise<void> {
  const readable = [...model.mappings()].filter(({ perm, gpa }) => (perm & 1) !== 0 && gpa < size - PAGE);
  const step = Math.max(1, Math.floor(readable.length / 8));
  for (let at = 0; at < readable.length; at += step) {
    const { iova, gpa } = readable[at] as HostMapping;
    const value = 0x5245_4300_0000_0000n | gpa;
    memory.write(gpa, word(value));
    assertEquals(await edu.read(iova.start), value);
    if (model.translate(iova.last + 1n) === undefined) assertEquals(await edu.read(iova.last + 1n), undefined);
  }
}
