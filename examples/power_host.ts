// deno run examples/power_host.ts
//
// A pseries guest on a POWER host: the host has TCE windows of its own, which follow the guest's, and where the guest changes an
// entry in place the device finds the old page or the new one, never nothing.
import { IommuError } from "@giommu/core";
import { AddressSpace, RamRegion } from "@giommu/memory-api";
import { SpaprPhb } from "@giommu/spapr-tce";
import { SimulatedSpaprHost, verify, VfioContainer } from "@giommu/vfio-sync";

using memory = new AddressSpace({ name: "memory", root: new RamRegion({ name: "ram", size: 1n << 30n }) });
using phb = new SpaprPhb({ index: 0, memory });
const table = phb.defaultWindow;
table.stuffTce(0n, 0x10_0003n, 3n);

const host = new SimulatedSpaprHost({
  observe: ({ call, range, errno }) =>
    console.log(`  ${call} 0x${range.start.toString(16)}..0x${range.last.toString(16)} ${errno ?? ""}`.trimEnd()),
});
using container = new VfioContainer({ host });

console.log("A device is plugged in:");
container.attach(phb.space);

console.log("The guest changes an entry in place:");
table.putTce(0x1000n, 0x55_0003n);

console.log("It creates its 64-bit window (ibm,create-pe-dma-window), and maps a page there:");
const big = phb.addWindow({ busOffset: 1n << 59n, size: 1n << 40n, pageShift: 16 });
big.putTce(1n << 59n, 0x20_0003n);

console.log("A window where the host has none is refused, and nothing is left of it:");
phb.removeWindow(big);
try {
  phb.addWindow({ busOffset: 1n << 40n, size: 1n << 40n, pageShift: 16 });
  throw new Error("it should be refused");
} catch (error) {
  if (!(error instanceof IommuError)) throw error;
  console.log(`  ${error.code}: ${error.message}\n  remedy: ${error.remedy}`);
}
if (phb.windows.length !== 1 || !verify(container).agrees) throw new Error("guest and host differ");

console.log("The device is unplugged:");
container.detach();
if (host.windows.length + host.memory.length + host.size > 0) throw new Error("something is left on the host");
