import type { AddressRange } from "@giommu/core";
import type { HostIommuInfo, HostMapping } from "./host_iommu.ts";

/**
 * A host whose calls take time: behind a socket (vfio-user), in another process, in a worker.
 *
 * It answers as a `HostIommu` does, later. A {@linkcode HostJournal} puts it behind a container.
 */
export interface AsyncHostIommu {
  /** What it can hold; never changes. */
  readonly info: HostIommuInfo;
  /**
   * Maps a range.
   *
   * @param mapping What to map where.
   * @returns Settled when the host has done it. Rejected with a `HostError` if it refuses; nothing of it is mapped then.
   */
  map(mapping: HostMapping): Promise<void>;
  /**
   * Unmaps whatever is mapped in a range.
   *
   * @param range The bus addresses, both ends included.
   * @returns How many bytes were really unmapped. Rejected with a `HostError` if it refuses.
   */
  unmap(range: AddressRange): Promise<bigint>;
}
