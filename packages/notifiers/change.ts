import type { AddressRange, IommuError } from "@giommu/core";
import type { IotlbEntry } from "./entry.ts";

/**
 * What one guest call did to an IOMMU's entries.
 *
 * An entry that changed in place (another page or another permission) is in both lists. An entry that was written with
 * what it held before is in neither. Both lists ascend, and no list overlaps itself.
 */
export interface IommuChange {
  /** The mappings that vanished or changed, **as they were**: old target, old permission. They are what is put back if the change is refused. */
  readonly unmaps: readonly IotlbEntry[];
  /** The new mappings. */
  readonly maps: readonly IotlbEntry[];
}

/** How a change went. */
export interface ChangeOutcome {
  /**
   * - `"done"`: every notifier took it.
   * - `"refused"`: one did not take a MAP. Every notifier is as before the change, but for `lost`: the caller puts its
   *   entries back, and those in `lost` to nothing.
   * - `"unmap-failed"`: one failed to UNMAP. All UNMAPs were told, no MAP was: the caller lets every entry of the change
   *   (`lost` has those of the maps) read as nothing.
   */
  readonly status: "done" | "refused" | "unmap-failed";
  /** Why, unless done. `mapping-lost` or `rollback-failed` if not everything could be put back. */
  readonly error?: IommuError;
  /** Addresses inside the region, both ends included, whose entries must be nothing now. Ascending, not adjoining. */
  readonly lost: readonly AddressRange[];
}
