/**
 * Real hosts: VFIO and iommufd of Linux behind the `HostIommu` of `@giommu/vfio-sync`.
 *
 * {@linkcode LinuxVfio} is a VFIO container (`/dev/vfio/vfio`), {@linkcode Iommufd} an I/O address space of `/dev/iommu`. Both
 * open {@linkcode VfioDevice}s, and map {@linkcode PinnedMemory}. To import this is harmless everywhere; to use it needs
 * Linux, `--allow-ffi`, and the library that `deno task build:host` makes: what is missing is said by
 * an `IommuError` `"backend-unavailable"`.
 *
 * @module
 */

export * from "./edu_device.ts";
export * from "./iommufd.ts";
export * from "./linux_vfio.ts";
export * from "./pci_group.ts";
export { PinnedMemory } from "./pinned_memory.ts";
export type { MemoryPages, PinnedMemoryInit } from "./pinned_memory.ts";
export { VfioDevice, VfioInterrupt } from "./vfio_device.ts";
export type { InterruptKind } from "./vfio_device.ts";
export { MappedRegion, VfioRegion } from "./vfio_region.ts";
