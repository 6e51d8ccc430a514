import type { AddressRange } from "@giommu/core";
import { formatRange, intersect } from "@giommu/core";
import type { IotlbEntry, TargetSpace } from "./entry.ts";
import { checkEntry } from "./entry.ts";
import { formatFlags, IommuNotifierFlag } from "./flag.ts";
import { IommuPerm } from "./perm.ts";

/** The kind of one event: exactly one bit of {@linkcode IommuNotifierFlag}. */
export type IotlbEventType =
  | typeof IommuNotifierFlag.MAP
  | typeof IommuNotifierFlag.UNMAP
  | typeof IommuNotifierFlag.DEVIOTLB_UNMAP;

/**
 * What a notifier is told: a run of entries that appeared or went away.
 *
 * Events are frozen and may be kept. An UNMAP carries no permission, and its target is 0. Every event lies inside the range of
 * the notifier that gets it.
 */
export interface IotlbEvent extends IotlbEntry {
  /** `MAP`, `UNMAP` or `DEVIOTLB_UNMAP`. */
  readonly type: IotlbEventType;
  /**
   * Present if a page of the entry reaches beyond what the notifier can hear: the event tells of the part inside, cut
   * off in the middle of a page of `pageSize`.
   */
  readonly straddles?: true;
}

/**
 * Makes the event that says that an entry appeared.
 *
 * @param entry The entry; its permission is not `NONE`.
 * @returns A frozen MAP event.
 * @throws {TypeError} If a field has the wrong type.
 * @throws {RangeError} If a field is out of bounds, or the permission is `NONE`.
 *
 * @example
 * ```ts
 * import { IommuPerm, mapEvent } from "@giommu/notifiers";
 * import { assertEquals } from "@std/assert";
 *
 * const event = mapEvent({ iova: { start: 0n, last: 0xfffn }, target: 0x8000n, perm: IommuPerm.READ, pageSize: 4096n });
 * assertEquals([event.type, Object.isFrozen(event)], [2, true]);
 * ```
 */
export function mapEvent(entry: IotlbEntry): IotlbEvent {
  checkEntry("entry", entry);
  return newEvent(IommuNotifierFlag.MAP, entry.iova, entry.target, entry.perm, entry.pageSize, entry.targetSpace);
}

/**
 * Makes the event that says that whatever was mapped in a range went away.
 *
 * @param iova The addresses inside the IOMMU region, both ends included.
 * @param pageSize The page size of the entries that went away, in bytes.
 * @returns A frozen UNMAP event: permission `NONE`, target 0.
 * @throws {TypeError} If an argument has the wrong type.
 * @throws {RangeError} If an argument is out of bounds.
 *
 * @example
 * ```ts
 * import { unmapEvent } from "@giommu/notifiers";
 * import { assertEquals } from "@std/assert";
 *
 * const event = unmapEvent({ start: 0n, last: 0xfffn }, 4096n);
 * assertEquals([event.type, event.perm, event.target], [1, 0, 0n]);
 * ```
 */
export function unmapEvent(iova: AddressRange, pageSize: bigint): IotlbEvent {
  checkEntry("entry", { iova, target: 0n, perm: IommuPerm.NONE, pageSize });
  return newEvent(IommuNotifierFlag.UNMAP, iova, 0n, IommuPerm.NONE, pageSize, undefined);
}

/**
 * Cuts an event down to a range, as is done for every notifier.
 *
 * @param event The event.
 * @param range What to keep, both ends included.
 * @returns The event itself where it lies inside; else the part inside, its target advanced by what was cut off in front
 * and `straddles` set if a page was cut in two; `undefined` if nothing lies inside.
 *
 * @example
 * ```ts
 * import { cropEvent, IommuPerm, mapEvent } from "@giommu/notifiers";
 * import { assertEquals } from "@std/assert";
 *
 * const event = mapEvent({ iova: { start: 0n, last: 0x3fffn }, target: 0x8000n, perm: IommuPerm.READ, pageSize: 4096n });
 * const part = cropEvent(event, { start: 0x1000n, last: 0x2fffn });
 * assertEquals([part?.iova.start, part?.iova.last, part?.target], [0x1000n, 0x2fffn, 0x9000n]);
 * ```
 */
export function cropEvent(event: IotlbEvent, range: AddressRange): IotlbEvent | undefined {
  const { iova } = event;
  if (range.start <= iova.start && iova.last <= range.last) return event;
  const inside = intersect(iova, range);
  if (inside === undefined) return undefined;
  const cut = inside.start - iova.start;
  const target = event.perm === IommuPerm.NONE ? event.target : BigInt.asUintN(64, event.target + cut);
  const straddles = event.straddles === true || cut % event.pageSize !== 0n ||
    (inside.last !== iova.last && (inside.last + 1n - iova.start) % event.pageSize !== 0n);
  return newEvent(event.type, inside, target, event.perm, event.pageSize, event.targetSpace, straddles);
}

/** Freezes an event that comes from outside, after checking that its parts belong together. */
export function checkedEvent(event: IotlbEvent): IotlbEvent {
  checkEntry("event", event);
  const { type, perm, iova } = event;
  if (
    type !== IommuNotifierFlag.MAP && type !== IommuNotifierFlag.UNMAP && type !== IommuNotifierFlag.DEVIOTLB_UNMAP
  ) {
    throw new RangeError(`Cannot notify of ${formatRange(iova)}: ${type} is not one event type`);
  }
  if (Object.isFrozen(event) && Object.isFrozen(iova)) {
    checkPerm(type, perm, iova);
    return event;
  }
  return newEvent(type, iova, event.target, perm, event.pageSize, event.targetSpace, event.straddles);
}

/** Builds and freezes; the fields have been checked, but for type against permission. */
export function newEvent(
  type: IotlbEventType,
  iova: AddressRange,
  target: bigint,
  perm: IommuPerm,
  pageSize: bigint,
  targetSpace: TargetSpace | undefined,
  straddles?: boolean,
): IotlbEvent {
  checkPerm(type, perm, iova);
  const range = Object.isFrozen(iova) ? iova : Object.freeze({ start: iova.start, last: iova.last });
  return frozenEvent(type, range, target, perm, pageSize, targetSpace, straddles);
}

/** The same of a range that is frozen, and a permission that fits the type. */
export function frozenEvent(
  type: IotlbEventType,
  range: AddressRange,
  target: bigint,
  perm: IommuPerm,
  pageSize: bigint,
  targetSpace?: TargetSpace,
  straddles?: boolean,
): IotlbEvent {
  const event: { -readonly [K in keyof IotlbEvent]: IotlbEvent[K] } = { type, iova: range, target, perm, pageSize };
  if (targetSpace !== undefined) event.targetSpace = targetSpace;
  if (straddles === true) event.straddles = true;
  return Object.freeze(event);
}

function checkPerm(type: IotlbEventType, perm: IommuPerm, iova: AddressRange): void {
  // QEMU asserts the same of UNMAP (system/memory.c, memory_region_notify_iommu_one).
  if ((type === IommuNotifierFlag.MAP) === (perm === IommuPerm.NONE)) {
    const has = perm === IommuPerm.NONE ? "no permission" : "a permission";
    throw new RangeError(`Cannot make a ${formatFlags(type)} event for ${formatRange(iova)}: it has ${has}`);
  }
}
