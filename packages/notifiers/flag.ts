/**
 * What kinds of event there are, and which of them a notifier wants to hear: bits to be or-ed.
 *
 * The values are those of QEMU's `IOMMUNotifierFlag` (include/exec/memory.h). A notifier for `MAP` and `UNMAP` can keep
 * an exact copy of the guest's mappings; one for `UNMAP` alone must accept invalidations of more than it holds.
 *
 * @example
 * ```ts
 * import { IommuNotifierFlag } from "@giommu/notifiers";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(IommuNotifierFlag.MAP | IommuNotifierFlag.UNMAP, IommuNotifierFlag.IOTLB_EVENTS);
 * ```
 */
export const IommuNotifierFlag = {
  /** No event. */
  NONE: 0,
  /** Mappings went away. */
  UNMAP: 1,
  /** Mappings appeared. */
  MAP: 2,
  /** A device's own translation cache (PCI ATS) must forget addresses. */
  DEVIOTLB_UNMAP: 4,
  /** `MAP` and `UNMAP`. */
  IOTLB_EVENTS: 3,
  /** Every event. */
  ALL: 7,
} as const;

/** Any union of the bits of {@linkcode IommuNotifierFlag}. */
export type IommuNotifierFlag = 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7;

/**
 * Writes flags as people read them.
 *
 * @param flags Any union of flags.
 * @returns For example `"MAP|UNMAP"`; `"NONE"` for none.
 *
 * @example
 * ```ts
 * import { formatFlags, IommuNotifierFlag } from "@giommu/notifiers";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(formatFlags(IommuNotifierFlag.IOTLB_EVENTS), "MAP|UNMAP");
 * ```
 */
export function formatFlags(flags: IommuNotifierFlag): string {
  const names: string[] = [];
  if (flags & IommuNotifierFlag.MAP) names.push("MAP");
  if (flags & IommuNotifierFlag.UNMAP) names.push("UNMAP");
  if (flags & IommuNotifierFlag.DEVIOTLB_UNMAP) names.push("DEVIOTLB_UNMAP");
  return names.join("|") || "NONE";
}
