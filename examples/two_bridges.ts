// deno run examples/two_bridges.ts
//
// A machine with two PCI host bridges. One of its guests' drivers creates a 64-bit window on the second bridge, beside the
// default one (ibm,create-pe-dma-window), and each bridge has its own container: the same bus address leads to two places.
import { formatRange, hex } from "@giommu/core";
import { formatPerm } from "@giommu/notifiers";
import { Hcall, RtasStatus, SpaprMachine } from "@giommu/spapr-tce";
import { SimulatedHost, verify, VfioContainer } from "@giommu/vfio-sync";

const BUS = 1n << 40n; // an x86 host reaches no 2^59, where QEMU would put the window
using machine = new SpaprMachine({ ram: 1n << 30n, phbs: [{ index: 0 }, { index: 1, dma64WinAddr: BUS }] });

using containers = new DisposableStack();
const places = machine.phbs.map((phb) => {
  const host = new SimulatedHost({ rules: "type1" });
  const container = containers.use(new VfioContainer({ host }));
  container.attach(phb.space);
  return { phb, host, container };
});
const [, second] = places;
if (second === undefined) throw new Error("the machine was made with two bridges");

const { status, rets } = machine.rtas("ibm,create-pe-dma-window", [0, ...second.phb.buidCells, 16, 40], 4);
if (status !== RtasStatus.SUCCESS) throw new Error(`the window is refused: ${status}`);
const [, liobn = 0] = rets;
console.log(`The guest created window ${hex(liobn)} of 2^40 bytes at ${hex(BUS)}, in pages of 64 KiB\n`);

put(0x8000_0000, 0x5000n, 0x10_0003n); // the first bridge's default window
put(0x8000_0100, 0x5000n, 0x20_0003n); // the same bus address on the second bridge
put(liobn, BUS + 0x30_0000n, 0x300_0003n);
put(liobn, BUS + (1n << 40n) - 0x1_0000n, 0x301_0001n); // the last page, read-only

for (const { phb, host, container } of places) {
  console.log(`Bridge ${phb.index} (BUID ${hex(phb.buid)}):`);
  for (const { liobn, busOffset, entries, pageShift } of phb.windows) {
    console.log(`  window ${hex(liobn)} at ${hex(busOffset)}, ${entries} pages of ${1 << (pageShift - 10)} KiB`);
  }
  for (const { iova, gpa, perm } of host.mappings()) {
    console.log(`    ${formatRange(iova)} -> ${hex(gpa)} ${formatPerm(perm)}`);
  }
  if (!verify(container).agrees) throw new Error("guest and host differ");
}

machine.rtas("ibm,remove-pe-dma-window", [liobn], 1);
console.log(`\nThe window is removed; host maps left: ${places.map(({ host }) => host.size).join(" and ")}`);
if (!places.every(({ container }) => verify(container).agrees)) throw new Error("guest and host differ");

function put(liobn: number, ioba: bigint, tce: bigint): void {
  const { ret } = machine.putTce(liobn, ioba, tce);
  if (ret !== Hcall.SUCCESS) throw new Error(`H_PUT_TCE answered ${ret}`);
}
