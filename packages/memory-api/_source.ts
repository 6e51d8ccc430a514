import type { IotlbEntry } from "@giommu/notifiers";

/** What a step of a walk found. */
export interface Found {
  /** A run to be told, ahead of everything found before. */
  readonly entry: IotlbEntry;
  /** How many pages it touches. */
  readonly pages: bigint;
}

/** Where a replay gets the mappings of one region from, ascending. */
export interface MappingSource {
  /** The first address that is covered neither by what was given out nor by a known hole; `undefined` at the end. */
  readonly position: bigint | undefined;
  /** How many times the IOMMU was asked so far: probes, or entries of its own replay. */
  readonly asked: number;
  /** Does one unit of work; each moves forward. */
  advance(): Found | undefined;
  /** Gives out what was read but kept back, in the hope that it goes on. */
  flush(): Found | undefined;
  /** Lets go. Twice is fine. */
  close(): void;
}
