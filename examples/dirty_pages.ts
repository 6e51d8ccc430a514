// deno run examples/dirty_pages.ts
//
// A migration copies the guest's memory while a device goes on writing. The host tells written pages by bus address; what has to
// be copied again is the memory behind them, also where the guest has changed its table since.
import { AddressSpace, ArrayGuestMemory, RamRegion } from "@giommu/memory-api";
import { SpaprPhb } from "@giommu/spapr-tce";
import { SimulatedHost, VfioContainer } from "@giommu/vfio-sync";

const memory = new ArrayGuestMemory(0x10_0000);
using system = new AddressSpace({ name: "memory", root: new RamRegion({ name: "ram", size: 0x10_0000n, memory }) });
using phb = new SpaprPhb({ index: 0, memory: system });
const table = phb.defaultWindow;
for (let page = 0n; page < 4n; page++) table.putTce(page << 12n, 0x4_0003n + (page << 12n));

const show = (ranges: readonly { start: bigint; last: bigint }[]) =>
  ranges.map(({ start, last }) => `0x${start.toString(16)}..0x${last.toString(16)}`).join(", ") || "nothing";

for (const rules of ["type1", "iommufd"] as const) {
  const host = new SimulatedHost({ rules });
  using container = new VfioContainer({ host });
  container.attach(phb.space);
  console.log(`${rules}: what is known is "${container.dirty.start()}"`);

  host.write(0x1ff0n, new Uint8Array(0x20)); // a device, across two pages
  table.putTce(0x1000n, 0x9_0003n); // in place: that write went to the old page
  host.write(0x1008n, new Uint8Array(8)); // this one goes to the new page
  table.putTce(0x2000n, 0n); // gone, and not forgotten

  const first = container.dirty.collect();
  console.log(`  to be copied: ${show(first.ranges)}${first.reason === undefined ? "" : ` (${first.reason})`}`);
  console.log(`  and then: ${show(container.dirty.collect().ranges)}`);

  const expected = "0x41000..0x42fff, 0x90000..0x90fff";
  if (rules === "type1" && show(first.ranges) !== expected) throw new Error(`expected ${expected}`);
  container.dirty.stop();
  for (const page of [1n, 2n]) table.putTce(page << 12n, 0x4_0003n + (page << 12n));
}
