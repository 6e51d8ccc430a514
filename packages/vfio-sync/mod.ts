/**
 * Keeps a host IOMMU in step with the guest's, also for devices plugged in late.
 *
 * A {@linkcode VfioContainer} is attached to an address space of `@giommu/memory-api` and mirrors what is mapped there
 * into a {@linkcode HostIommu}. The default host is a {@linkcode SimulatedHost} with the rules of Linux. {@linkcode verify}
 * compares both sides, page by page. {@linkcode UnmapOnlyConsumer} is the other kind of listener: a device's
 * translation cache.
 *
 * @module
 */

export type * from "./attach_report.ts";
export { AttachStepper } from "./attach_stepper.ts";
export type { AttachProgress } from "./attach_stepper.ts";
export type * from "./container_options.ts";
export * from "./count_maps.ts";
export * from "./host_error.ts";
export type * from "./async_host_iommu.ts";
export * from "./host_journal.ts";
export type * from "./host_iommu.ts";
export * from "./host_rules.ts";
export type * from "./host_script.ts";
export * from "./simulated_host.ts";
export * from "./unmap_only_consumer.ts";
export * from "./verify.ts";
export * from "./vfio_container.ts";
