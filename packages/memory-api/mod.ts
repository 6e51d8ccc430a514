/**
 * The guest's physical memory map, for every IOMMU that a guest can see.
 *
 * {@linkcode MemoryRegion}s (RAM, containers, aliases, IOMMUs) form the map; an {@linkcode AddressSpace} shows one of
 * them flat and tells its listeners of changes, which happen in {@linkcode transaction}s. An {@linkcode IommuMemoryRegion}
 * translates accesses and tells notifiers; {@linkcode replay} tells a notifier that joined late of what is mapped
 * already.
 *
 * @module
 */

export { AddressSpace } from "./address_space.ts";
export type { AddressSpaceInit } from "./address_space.ts";
export * from "./alias_region.ts";
export * from "./dma.ts";
export * from "./flat_view.ts";
export * from "./guest_memory.ts";
export * from "./io_region.ts";
export { DEFAULT_PAGE_SIZE, IommuMemoryRegion } from "./iommu_memory_region.ts";
export type { IommuMemoryRegionInit, OwnReplayOptions } from "./iommu_memory_region.ts";
export type { MemoryListener } from "./memory_listener.ts";
export { MemoryRegion } from "./memory_region.ts";
export type { MemoryRegionInit, MemoryRegionKind, Subregion, SubregionOptions } from "./memory_region.ts";
export type { MemorySection, TerminalRegion } from "./memory_section.ts";
export * from "./ram_region.ts";
export * from "./register_notifier.ts";
export { replay } from "./replay.ts";
export * from "./replay_async.ts";
export type { ReplayOptions, ReplayProgress, ReplayResult, StepwiseReplayOptions } from "./replay_options.ts";
export { replaySteps } from "./replay_stepper.ts";
export type { ReplayStepper } from "./replay_stepper.ts";
export * from "./space_memory.ts";
export { transaction } from "./_topology.ts";
export type * from "./translation.ts";
