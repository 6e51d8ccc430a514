// deno run examples/write_qemu_log.ts
//
// A machine written in TypeScript that logs as QEMU would, so that `giommu replay` and `giommu check` examine it, too:
//   deno run examples/write_qemu_log.ts | deno task giommu replay -
import { logSpace, logTable, QemuLogWriter } from "@giommu/qemu-trace";
import { SpaprPhb } from "@giommu/spapr-tce";

const writer = new QemuLogWriter({ write: (line) => Deno.stdout.writeSync(new TextEncoder().encode(line)) });
using phb = new SpaprPhb({ index: 0 });
const table = phb.defaultWindow;

const guest = logTable(table, writer);
for (let page = 0n; page < 4n; page++) guest.putTce(page << 12n, 0x10_0003n + (page << 12n));
guest.stuffTce(0x8000n, 0x20_0001n, 2n);

using _device = logSpace(phb.space, writer); // a hotplug: QEMU's VFIO would log its replay here
guest.putTce(0x1000n, 0x55_5003n);
guest.stuffTce(0n, 0n, 1n);
