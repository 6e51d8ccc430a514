// deno run examples/finer_than_host.ts
//
// The guest's IOMMU maps 4 KiB pages, the host's smallest page is 64 KiB. Sixteen neighbours that happen to adjoin are no
// way out: the guest may take a single one away, and the host could not. So the hotplug fails, before anything happens.
import { IommuError } from "@giommu/core";
import { SpaprPhb } from "@giommu/spapr-tce";
import { SimulatedHost, verify, VfioContainer } from "@giommu/vfio-sync";

const host = new SimulatedHost({ pageSize: 0x1_0000n });
using container = new VfioContainer({ host });

using fine = new SpaprPhb({ index: 0 });
for (let page = 0n; page < 16n; page++) fine.defaultWindow.putTce(page << 12n, 0x10_0003n + (page << 12n));
try {
  container.attach(fine.space);
} catch (error) {
  if (!(error instanceof IommuError)) throw error;
  console.log(`${error.message}\n  code:   ${error.code}\n  remedy: ${error.remedy}`);
}
console.log(`Host calls made: ${host.calls}. Notifiers left: ${fine.defaultWindow.region.notifiers.size}.\n`);

console.log("The same guest with a window of 64 KiB pages:");
using coarse = new SpaprPhb({ index: 1, dmaWindow: { size: 1n << 30n, pageShift: 16 } });
for (let page = 0n; page < 16n; page++) coarse.defaultWindow.putTce(page << 16n, 0x10_0003n + (page << 16n));
const report = container.attach(coarse.space);
console.log(`  ${report.pages} pages in ${report.hostMaps} host map, in step: ${verify(container).agrees}`);
