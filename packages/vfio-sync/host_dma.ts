import type { Iova } from "@giommu/core";

/** How an access of a device through a simulated host went. */
export interface HostDma {
  /** How many bytes had a translation that allows the access. */
  readonly bytes: number;
  /** The first bus address of each stretch, at most a page long, that had none: real hardware reports a fault for each. */
  readonly faults: readonly Iova[];
}
