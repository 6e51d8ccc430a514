import type { AddressRange, IommuError } from "@giommu/core";
import type { AddressSpace } from "@giommu/memory-api";
import type { CoalescePolicy } from "./attach_report.ts";
import type { HostIommu } from "./host_iommu.ts";

/** How a `VfioContainer` is made. */
export interface VfioContainerInit {
  /** Where its mappings go. Borrowed; nobody else may map there. */
  readonly host: HostIommu;
  /**
   * How neighbouring guest pages share host mappings.
   *
   * - `"auto"` (default): `"full"` where the host splits atomically, else `"none"`.
   * - `"none"`: one host mapping per guest IOMMU page. Always safe.
   * - `"call"`: one per run that one guest call stored.
   * - `"full"`: one per maximal run.
   * - `"static"`: as `"auto"`, and the windows in `staticWindows` as `"full"`.
   *
   * `"call"` and `"full"` on a host that does not split need `quiesce` or `allowDmaHoles`: a guest that unmaps a part of
   * a mapping then makes all of it go for a moment.
   */
  readonly coalesce?: CoalescePolicy;
  /** With `"static"`: bus addresses of which the guest never unmaps a part while a device runs. */
  readonly staticWindows?: readonly AddressRange[];
  /**
   * System memory, in which the targets of IOMMU entries lie: RAM is mapped, all else is reported in `problems`. The
   * attached space's own `memory` unless given; if it has none, every target is RAM.
   */
  readonly memory?: AddressSpace;
  /**
   * How many mappings of a host that holds only so many (`dma_avail` of VFIO type1) an attach leaves free, so that the guest
   * can map more while the device runs. Room for one H_PUT_TCE_INDIRECT of 512 entries unless given, but no more than the 64th
   * part of them.
   */
  readonly headroom?: number;
  /** Whether live neighbours may be without their translation for a moment, where the host cannot split. Each page is counted. */
  readonly allowDmaHoles?: boolean;
  /** Stops the device before such a moment; returns what lets it go on. To throw says that it does not stop, and so does to return anything else, such as a promise. */
  quiesce?(): void | (() => void);
  /**
   * The container failed: the host may hold what the guest removed. Cuts the device off (bus mastering, power, or
   * `detach`, which unmaps what it can).
   */
  cutOff?(error: IommuError): void;
}

/** How one attach is done. */
export interface AttachOptions {
  /** Whether the report tells how many mappings each policy would need, which takes two more walks; false unless given. */
  readonly countMaps?: boolean;
}

/** How one attach in steps is done. */
export interface AttachStepsOptions extends AttachOptions {
  /**
   * Whether what the limits of the host forbid is looked for before the first host call, which walks everything at
   * once; true unless given.
   */
  readonly plan?: boolean;
}

/** What a container did since it was made. Undoing counts as well: each call is one that the host saw. */
export interface ContainerCounters {
  /** MAP calls that the host took. */
  readonly maps: number;
  /** UNMAP calls that the host took. */
  readonly unmaps: number;
  /** Calls that it refused. */
  readonly failedCalls: number;
  /** Mappings that went as a whole although only a part had to. */
  readonly holes: number;
  /** Guest pages that were without translation meanwhile, while a device may have used them. */
  readonly exposedPages: number;
  /** How long they were: from the first UNMAP of each such change to its last call. */
  readonly exposedNanoseconds: number;
  /** Times that the device was stopped for that. */
  readonly quiesced: number;
  /** Guest pages that were mapped read-write because the host has no write-only. */
  readonly widenedPages: number;
  /** What could not be mapped and refused nothing. */
  readonly problems: number;
}
