import type { IommuError } from "@giommu/core";
import type { MapCounts } from "./count_maps.ts";

/** How neighbouring guest pages share host mappings; see `VfioContainerInit.coalesce`. */
export type CoalescePolicy = "auto" | "none" | "call" | "static" | "full";

/** What a container does, by what it was asked and what its host can. */
export interface ContainerPolicy {
  /** What was asked for. */
  readonly asked: CoalescePolicy;
  /** What that means on this host: `"auto"` is `"full"` where it splits atomically, else `"none"`. */
  readonly coalesce: "none" | "call" | "full";
  /** Whether the host can unmap a part of a mapping. */
  readonly split: "atomic" | "none";
  /**
   * What happens if it cannot and a part must go: it is refused (`"forbidden"`), done and counted (`"allowed"`), or done
   * with the device stopped (`"quiesced"`). `"none"`: the host splits, there are no holes.
   */
  readonly holes: "none" | "forbidden" | "allowed" | "quiesced";
}

/** Whether a host that holds only so many mappings has room; see `VfioContainer.plan`. */
export interface MappingBudget {
  /** How many mappings the host holds at most. */
  readonly limit: number;
  /** How many of them an attach leaves free, for what the guest maps while the device runs. */
  readonly headroom: number;
  /** How many each policy would need; together with the headroom they must not be more than the limit. */
  readonly needs: MapCounts;
}

/** What an attach would do; see `VfioContainer.plan`. */
export interface AttachPlan {
  /** Pages of guest IOMMUs that would be replayed, in the entries' own size. */
  readonly pages: bigint;
  /** Runs that they would come in. */
  readonly extents: number;
  /** Sections of RAM that would be mapped whole. */
  readonly ramSections: number;
  /** MAP calls that the host would get. */
  readonly hostMaps: number;
  /** Bytes that they would map, and a real host would pin; what is mapped twice counts twice. */
  readonly bytes: bigint;
  /** Of a host that holds only so many mappings: how many there are, and how many each policy would need. */
  readonly budget?: MappingBudget;
  /** Why it would be refused, if it would: the first reason. The counts are those up to there. */
  readonly refusal?: IommuError;
  /** What would not be mapped and refuses nothing, at most 100. */
  readonly problems: readonly IommuError[];
}

/** What an attach did. */
export interface AttachReport {
  /** The address space. */
  readonly space: string;
  /** The host. */
  readonly host: string;
  /** Whether the container was attached to the space before: nothing was replayed, nothing mapped. */
  readonly joined: boolean;
  /** How many devices share the mappings now. */
  readonly devices: number;
  /** How neighbouring pages share mappings, and what that may cost; anything but the safe default is named here. */
  readonly policy: ContainerPolicy;
  /** Pages of guest IOMMUs that were replayed, in the entries' own size. */
  readonly pages: bigint;
  /** Runs that they came in. */
  readonly extents: number;
  /** Sections of RAM that were mapped whole. */
  readonly ramSections: number;
  /** MAP calls that the host took. */
  readonly hostMaps: number;
  /** UNMAP calls that the host took; 0 unless the guest was running in between. */
  readonly hostUnmaps: number;
  /** Pages that were mapped read-write because the host has no write-only. */
  readonly widenedPages: number;
  /** What could not be mapped and refused nothing, such as entries that point to no RAM; see `VfioContainer.problems`. */
  readonly problems: number;
  /** How many host mappings each policy would need; there if it was asked for. */
  readonly maps?: MapCounts;
  /** How long it took. */
  readonly nanoseconds: number;
}
