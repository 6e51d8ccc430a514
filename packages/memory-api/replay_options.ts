import type { AddressRange } from "@giommu/core";
import type { IommuPerm } from "@giommu/notifiers";

/** How a replay is done. */
export interface ReplayOptions {
  /**
   * At which distance holes are probed, in bytes: a power of two from 1 to 2^63. The region's minimum page size unless
   * given; never more than that, as a replay is no sample: a greater one changes nothing. An IOMMU that walks its
   * mappings itself has no need of it.
   */
  readonly granularity?: bigint;
  /** The access that is asked for: only entries that allow it are told. `NONE` (default) asks for all, with their full permissions. */
  readonly access?: IommuPerm;
  /** The addresses inside the region to replay, both ends included; all that the notifier listens to unless given. */
  readonly range?: AddressRange;
}

/** What a replay did. */
export interface ReplayResult {
  /** How many pages were told, counted in the entries' own page size; a page that was told in part counts. */
  readonly pages: bigint;
  /** How many events the notifier got. */
  readonly extents: number;
  /** How many times the IOMMU was asked: probes of `translate`, or entries of its own replay. */
  readonly steps: bigint;
}

/** How far a replay is. */
export interface ReplayProgress extends ReplayResult {
  /** Whether it is over. */
  readonly done: boolean;
  /** The next address inside the region to be walked; `undefined` once it is over. */
  readonly position: bigint | undefined;
}

/** How a stepwise replay is done. */
export interface StepwiseReplayOptions extends ReplayOptions {
  /** Whether to register the notifier first, and to unregister it if the replay fails or is aborted; false unless given. */
  readonly register?: boolean;
}
