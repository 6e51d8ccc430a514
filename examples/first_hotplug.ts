// deno run examples/first_hotplug.ts
//
// A guest has been running for a while and has mapped memory for DMA. Now a device is plugged onto the same bus.
import { formatRange, hex } from "@giommu/core";
import { formatPerm } from "@giommu/notifiers";
import { SpaprPhb } from "@giommu/spapr-tce";
import { SimulatedHost, verify, VfioContainer } from "@giommu/vfio-sync";

using phb = new SpaprPhb({ index: 0 });
const [table] = phb.windows;
if (table === undefined) throw new Error("a bridge has its default window");

console.log("The guest maps a ring buffer of 64 pages, and three single pages:");
for (let page = 0n; page < 64n; page++) table.putTce(page << 12n, 0x10_0003n + (page << 12n));
for (const [iova, tce] of [[0x8_0000n, 0x7_7001n], [0x9_0000n, 0x9_9003n], [0x3fff_f000n, 0x5_5003n]] as const) {
  table.putTce(iova, tce);
}

const host = new SimulatedHost();
using container = new VfioContainer({ host });
const report = container.attach(phb.space);
console.log(`\nHotplug: ${report.pages} pages in ${report.extents} extents, ${report.hostMaps} host maps:`);
show();

console.log("\nThe guest goes on: page 2 of the ring points somewhere else now, pages 8 to 15 are gone.");
table.putTce(0x2000n, 0xab_c003n);
table.stuffTce(0x8000n, 0n, 8n);
show();

const { agrees, guestPages, hostPages } = verify(container);
console.log(`\nVerified page by page: guest ${guestPages}, host ${hostPages}, ${agrees ? "in step" : "NOT in step"}`);

function show(): void {
  for (const { iova, gpa, perm } of host.mappings()) {
    const pages = (iova.last - iova.start + 1n) >> 12n;
    const run = `${pages} ${pages === 1n ? "page" : "pages"}`;
    console.log(`  ${formatRange(iova).padStart(24)} -> ${hex(gpa).padStart(8)}  ${formatPerm(perm)}  ${run}`);
  }
}
