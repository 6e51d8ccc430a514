// deno run --allow-ffi --allow-env=GIOMMU_HOST_LIBRARY examples/real_device.ts
//
// The first hotplug again, with a real device behind it: name one that vfio-pci holds, as in "… real_device.ts 0000:00:04.0".
// Without one, this tells what is missing. docs/real-hosts.md says how a device is given to vfio-pci.
import { hex, IommuError } from "@giommu/core";
import { AddressSpace, RamRegion } from "@giommu/memory-api";
import { SpaprPhb } from "@giommu/spapr-tce";
import { Iommufd, LinuxVfio, PinnedMemory } from "@giommu/vfio-linux";
import { VfioContainer } from "@giommu/vfio-sync";

const device = Deno.args[0] ?? "0000:00:04.0";

try {
  using memory = new PinnedMemory({ size: 0x100_0000n });
  using system = new AddressSpace({ name: "system", root: new RamRegion({ name: "ram", size: memory.size, memory }) });
  using phb = new SpaprPhb({ index: 0, memory: system });
  const table = phb.defaultWindow;
  for (let page = 0n; page < 64n; page++) table.putTce(page << 12n, 0x10_0003n + (page << 12n));

  using host = open();
  const { name, split, iovaRanges } = host.info;
  console.log(
    `${name}, split ${split}, ${iovaRanges.map(({ start, last }) => `${hex(start)}..${hex(last)}`).join(", ")}`,
  );
  using container = new VfioContainer({ host });
  const plan = container.plan(phb.space);
  console.log(`The plan: ${plan.pages} pages, ${plan.hostMaps} host maps, ${plan.bytes} bytes pinned`);
  const report = container.attach(phb.space);
  console.log(`Attached in ${(report.nanoseconds / 1e6).toFixed(1)} ms; the device reaches ${container.size} mappings`);
} catch (error) {
  if (!(error instanceof IommuError && error.code === "backend-unavailable")) throw error;
  console.log(`${error.message}\n  remedy: ${error.remedy}`);
}

/** iommufd where the kernel has it, else VFIO's own container. */
function open(): Iommufd | LinuxVfio {
  try {
    return new Iommufd({ device });
  } catch (error) {
    if (!(error instanceof IommuError && error.code === "backend-unavailable")) throw error;
    return new LinuxVfio({ device });
  }
}
