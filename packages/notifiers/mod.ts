/**
 * What a guest-visible IOMMU tells, and to whom: events, flags, notifiers and their dispatch. Pure TypeScript.
 *
 * An IOMMU owns a {@linkcode NotifierList}. Whoever mirrors its mappings registers an {@linkcode IommuNotifier} and is
 * told of every {@linkcode IotlbEvent} that matches its flags, its range and its IOMMU index. Most programs reach both
 * through the IOMMU regions of `@giommu/memory-api`.
 *
 * @module
 */

export type * from "./change.ts";
export { checkEntry, checkPageSize } from "./entry.ts";
export type { IotlbEntry, TargetSpace } from "./entry.ts";
export { cropEvent, mapEvent, unmapEvent } from "./event.ts";
export type { IotlbEvent, IotlbEventType } from "./event.ts";
export * from "./flag.ts";
export { IommuNotifier } from "./notifier.ts";
export type { IommuNotifierInit, UpcomingEvents } from "./notifier.ts";
export * from "./notifier_list.ts";
export * from "./perm.ts";
export type { RegisteredNotifiers } from "./registered_notifiers.ts";
export { NotifierWalk } from "./walk.ts";
