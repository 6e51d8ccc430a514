/** What the tests in here need: they run only in the VM of tools/vm, which `deno task test:vm` boots. */

import type { HostIommuInfo } from "@giommu/vfio-sync";
import type { EduScratch } from "@giommu/vfio-linux";
import { EduDevice, Iommufd, LinuxVfio } from "@giommu/vfio-linux";
import { assert } from "@std/assert";

/** Said by tools/test_vm.ts: the VM's two devices are there, and nothing of value. */
const IN_VM = Deno.env.get("GIOMMU_IN_VM") === "1";

/** The devices, each in a group of its own. */
export const DEVICE = "0000:00:04.0";
/** The other one. */
export const OTHER_DEVICE = "0000:00:05.0";

/** A real host. */
export type RealHost = LinuxVfio | Iommufd;

/** A kind of real host that this kernel has. */
export interface Backend {
  readonly name: string;
  readonly split: HostIommuInfo["split"];
  /** Makes one with the first device in it. */
  open(): RealHost;
}

/** All that this kernel has. */
export const BACKENDS: readonly Backend[] = [
  { name: "type1", split: "none", open: () => new LinuxVfio({ device: DEVICE }) },
  ...(hasIommufd()
    ? [
      { name: "iommufd", split: "atomic", open: () => new Iommufd({ device: DEVICE }) },
      {
        name: "iommufd with huge pages",
        split: "none",
        open: () => new Iommufd({ device: DEVICE, hugePages: true }),
      },
    ] as const
    : []),
];

/** The first device of a host, ready for DMA. */
export function firstEdu(host: RealHost, scratch: EduScratch): EduDevice {
  const [device] = host.devices;
  assert(device !== undefined, "the host has no device");
  return new EduDevice(device, scratch);
}

/** Registers a test, in the VM only. */
export function vmTest(name: string, run: () => void | Promise<void>): void {
  if (IN_VM) Deno.test(name, run);
}

/** Registers a test for each kind of host. */
export function hostTest(name: string, run: (backend: Backend) => void | Promise<void>): void {
  for (const backend of BACKENDS) vmTest(`${backend.name}: ${name}`, () => run(backend));
}

/** Registers a test for iommufd where the kernel has it; the kernel of `GIOMMU_VM_KERNEL` must. */
export function iommufdTest(name: string, run: () => void | Promise<void>): void {
  if (hasIommufd()) vmTest(`iommufd: ${name}`, run);
}

function hasIommufd(): boolean {
  if (!IN_VM) return false;
  try {
    return Deno.statSync("/dev/iommu").isCharDevice === true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}
