// deno run examples/full_host.ts
//
// A host that holds 64 mappings, and a guest with more scattered pages than that. QEMU prints 529 lines, reports success,
// and the device reads the wrong memory. Here the hotplug is refused, and later each guest call that does not fit.
import { IommuError } from "@giommu/core";
import { Hcall, SpaprPhb } from "@giommu/spapr-tce";
import { SimulatedHost, verify, VfioContainer } from "@giommu/vfio-sync";

using phb = new SpaprPhb({ index: 0 });
const table = phb.defaultWindow;
for (let page = 0n; page < 70n; page++) table.putTce(page << 12n, 0x10_0003n + (page << 13n));

const host = new SimulatedHost({ rules: "type1", maxMappings: 64 });
using container = new VfioContainer({ host });

console.log("70 scattered pages, room for 64:");
try {
  container.attach(phb.space);
} catch (error) {
  if (!(error instanceof IommuError)) throw error;
  console.log(`  ${error.message}\n  code:   ${error.code}\n  remedy: ${error.remedy}`);
}
console.log(`  left on the host: ${host.size} mappings; notifiers: ${table.region.notifiers.size}\n`);

console.log("The guest gives ten pages back, and the device is plugged in again:");
table.stuffTce(0n, 0n, 10n);
console.log(`  ${container.attach(phb.space).hostMaps} host maps\n`);

console.log("It now wants to map eight pages with one call; four would fit:");
const { ret, error } = table.stuffTce(0n, 0x40_0003n, 8n);
console.log(`  the guest gets ${ret} (H_NOT_ENOUGH_RESOURCES is ${Hcall.NOT_ENOUGH_RESOURCES}): ${error?.message}`);
console.log(
  `  its table at 0: ${table.getTce(0n).value}; host maps: ${host.size}; in step: ${verify(container).agrees}`,
);
