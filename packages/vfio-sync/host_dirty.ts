import type { AddressRange } from "@giommu/core";

/**
 * How much is known of what devices wrote:
 *
 * - `"written"`: exactly the pages that they wrote;
 * - `"pinned"`: every page that they could have written counts.
 */
export type DirtyPrecision = "written" | "pinned";

/** What an UNMAP found that also collected dirty pages. */
export interface DirtyUnmap {
  /** How many bytes were really unmapped. */
  readonly bytes: bigint;
  /** As of {@linkcode HostDirtyTracking.collect}, of the whole range that was asked for. */
  readonly bitmap: Uint8Array;
}

/**
 * How a host tells which pages devices wrote; the calls of VFIO type1 (`VFIO_IOMMU_DIRTY_PAGES`,
 * include/uapi/linux/vfio.h).
 *
 * A bitmap has one bit per smallest page of the host, the first page in the lowest bit of the first byte.
 */
export interface HostDirtyTracking {
  /** How much it knows. Linux's type1 counts every page that it pinned. */
  readonly precision: DirtyPrecision;
  /**
   * Begins to take notes. Once more changes nothing.
   *
   * @throws {HostError} If the host refuses: `EOPNOTSUPP` says that it cannot.
   */
  start(): void;
  /**
   * Tells which pages of a range were written since the notes were collected there the last time, and forgets it.
   *
   * @param range The bus addresses, both ends included: whole pages, and no part of a mapping.
   * @returns The bitmap.
   * @throws {HostError} If the host refuses: `EINVAL` before the start.
   */
  collect(range: AddressRange): Uint8Array;
  /**
   * As `HostIommu.unmap`, and tells in the same breath which pages were written until then.
   *
   * @param range The bus addresses, both ends included.
   * @returns How much was unmapped, and the bitmap.
   * @throws {HostError} If the host refuses. What is mapped then is not known.
   */
  unmap(range: AddressRange): DirtyUnmap;
  /**
   * Ends the notes, and forgets them.
   *
   * @throws {HostError} If the host refuses.
   */
  stop(): void;
}
