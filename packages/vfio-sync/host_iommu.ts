import type { AddressRange, Gpa, Iova } from "@giommu/core";
import type { RamRegion } from "@giommu/memory-api";
import type { IommuPerm } from "@giommu/notifiers";
import type { HostDirtyTracking } from "./host_dirty.ts";
import type { HostMemory, HostWindowLimits, HostWindowRequest } from "./host_windows.ts";
import type { HostError } from "./host_error.ts";

/** What a host IOMMU can hold, as its kernel tells it. */
export interface HostIommuInfo {
  /** What people call it; messages name it. */
  readonly name: string;
  /** Page sizes: bit `n` set means that pages of `2 ** n` bytes exist. The smallest one counts for alignment. */
  readonly pageSizes: bigint;
  /**
   * Where mappings may lie, both ends included. A mapping must lie inside one of them, and no UNMAP reaches from one into
   * another; adjoining ones are joined.
   */
  readonly iovaRanges: readonly AddressRange[];
  /** How many mappings fit (`dma_avail` of VFIO type1); as many as memory holds where absent. */
  readonly maxMappings?: number;
  /**
   * Whether a part of a mapping can be unmapped while a device uses the rest: `"atomic"` (iommufd with `HUGE_PAGES=0`,
   * sPAPR) or `"none"` (VFIO type1, iommufd with huge pages).
   */
  readonly split: "atomic" | "none";
  /** Whether one UNMAP may cover several whole mappings and the gaps between them (Linux: yes; vfio-user: no). */
  readonly unmapWide: boolean;
  /** Whether a mapping can be written but not read. */
  readonly writeOnly: boolean;
  /**
   * Whether mappings may point to memory of other devices (BARs), as VFIO type1 lets them; iommufd and sPAPR do not. False
   * unless given.
   */
  readonly peerToPeer?: boolean;
  /**
   * Whether a MAP over mappings puts itself in their place, so that no address is without translation meanwhile (sPAPR);
   * else it is refused (`EEXIST`). False unless given.
   */
  readonly exchange?: boolean;
  /** Of a host that maps only inside of windows that are created first (sPAPR): what windows there can be. */
  readonly windows?: HostWindowLimits;
}

/** One mapping on a host. */
export interface HostMapping {
  /** The bus addresses, both ends included. */
  readonly iova: AddressRange;
  /** The guest-physical address that `iova.start` reaches. */
  readonly gpa: Gpa;
  /** What a device may do; not `NONE`. */
  readonly perm: IommuPerm;
  /** The RAM behind it; absent where a container was given no `memory` and takes every address for RAM. */
  readonly ram?: RamRegion;
  /** Where in `ram` the mapping begins. */
  readonly ramOffset?: bigint;
}

/** How {@linkcode HostIommu.mapAll} went. */
export interface HostMapAllResult {
  /** How many were mapped, from the first on. */
  readonly done: number;
  /** Why the next one was not; absent if all were. */
  readonly refusal?: HostError;
}

/**
 * Where a container's mappings go: a simulated host, VFIO type1, iommufd, sPAPR.
 *
 * All calls are synchronous, as the ioctls are. `map` and `unmap` are what every host has; the other methods are there
 * where the kind of host has such calls. A backend decides nothing: a container knows what it mapped, and asks only for
 * what the host can do by its {@linkcode HostIommuInfo}.
 *
 * @example The least backend there can be
 * ```ts
 * import type { HostIommu } from "@giommu/vfio-sync";
 * import { HostError, HOST_RULES } from "@giommu/vfio-sync";
 * import { assertEquals } from "@std/assert";
 *
 * const pages = new Map<bigint, bigint>();
 * const host: HostIommu = {
 *   info: { ...HOST_RULES.none, name: "least", unmapWide: false },
 *   map({ iova, gpa }) {
 *     if (pages.has(iova.start)) throw new HostError("EEXIST", "MAP", iova);
 *     pages.set(iova.start, gpa);
 *   },
 *   unmap(range) {
 *     return pages.delete(range.start) ? range.last - range.start + 1n : 0n;
 *   },
 * };
 * host.map({ iova: { start: 0n, last: 0xfffn }, gpa: 0x8000n, perm: 1 });
 * assertEquals(host.unmap({ start: 0n, last: 0xfffn }), 0x1000n);
 * ```
 */
export interface HostIommu {
  /** What it can hold; never changes. */
  readonly info: HostIommuInfo;
  /**
   * Maps a range.
   *
   * @param mapping What to map where.
   * @throws {HostError} If the host refuses; nothing of it is mapped then, and what was there stays.
   */
  map(mapping: HostMapping): void;
  /**
   * Maps several ranges in their order, for hosts where a call costs more than its work. It stops at the first that is
   * refused, and throws only if it did nothing. Absent: {@linkcode map} is called for each.
   *
   * @param mappings What to map where; at least one.
   * @returns How many were mapped, and why the next one was not.
   */
  mapAll?(mappings: readonly HostMapping[]): HostMapAllResult;
  /**
   * Unmaps whatever is mapped in a range.
   *
   * @param range The bus addresses, both ends included.
   * @returns How many bytes were really unmapped.
   * @throws {HostError} If the host refuses. What is mapped then is not known.
   */
  unmap(range: AddressRange): bigint;
  /**
   * What the host really holds, ascending. Absent where the host cannot tell.
   */
  mappings?(): Iterable<HostMapping>;
  /** How to find out which pages devices wrote. Absent where the host cannot tell. */
  readonly dirty?: HostDirtyTracking | undefined;
  /**
   * Makes guest memory known that mappings are going to point to, and pins it (`VFIO_IOMMU_SPAPR_REGISTER_MEMORY`). Absent where
   * a mapping pins its memory itself.
   *
   * @param memory A section of RAM.
   * @throws {HostError} If the host refuses; nothing is registered then.
   */
  registerMemory?(memory: HostMemory): void;
  /**
   * Forgets memory that was registered.
   *
   * @param memory What was registered; nothing points there any more.
   * @throws {HostError} If the host refuses; it stays registered then.
   */
  unregisterMemory?(memory: HostMemory): void;
  /**
   * Creates a window, in which then something can be mapped (`VFIO_IOMMU_SPAPR_TCE_CREATE`). There exactly where `info.windows`
   * is.
   *
   * @param request What is wanted.
   * @returns The bus address at which the host put it: the host chooses, and it may not be the one that is wanted.
   * @throws {HostError} If the host refuses.
   */
  createWindow?(request: HostWindowRequest): Iova;
  /**
   * Removes a window, and all that is mapped there (`VFIO_IOMMU_SPAPR_TCE_REMOVE`).
   *
   * @param start The bus address at which it was put.
   * @throws {HostError} If the host refuses.
   */
  removeWindow?(start: Iova): void;
}
