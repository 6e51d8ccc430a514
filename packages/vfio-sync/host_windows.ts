import type { AddressRange } from "@giommu/core";
import type { RamRegion } from "@giommu/memory-api";

/** What windows a host can hold; what `VFIO_IOMMU_SPAPR_TCE_GET_INFO` tells (include/uapi/linux/vfio.h). */
export interface HostWindowLimits {
  /** How many at a time. */
  readonly count: number;
  /** Page sizes of a window's entries: bit `n` set means that pages of `2 ** n` bytes exist. */
  readonly pageSizes: bigint;
  /** The most levels that a window's table may have. */
  readonly levels: number;
}

/** A window that a host is asked to create. */
export interface HostWindowRequest {
  /** How many bytes of the bus it spans. */
  readonly size: bigint;
  /** The page size of its entries, as a power of two. */
  readonly pageShift: number;
  /** How many levels its table has: 1 is one flat table, more spare memory where little is mapped. */
  readonly levels: number;
}

/** A section of guest memory that a host is to know of before anything is mapped there. */
export interface HostMemory {
  /** The guest-physical addresses, both ends included. */
  readonly gpa: AddressRange;
  /** The RAM. */
  readonly ram: RamRegion;
  /** Where in `ram` the section begins, in bytes. */
  readonly ramOffset: bigint;
}
