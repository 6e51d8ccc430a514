import type { AddressRange } from "@giommu/core";
import type { AddressSpace } from "./address_space.ts";
import type { IoRegion } from "./io_region.ts";
import type { IommuMemoryRegion } from "./iommu_memory_region.ts";
import type { RamRegion } from "./ram_region.ts";

/** A region that accesses end at, or are translated by. `kind` tells which. */
export type TerminalRegion = RamRegion | IoRegion | IommuMemoryRegion;

/**
 * A stretch of an address space in which one region is seen. Frozen; may be kept.
 *
 * The address `a` of the space is at `a - range.start + offsetWithinRegion` inside the region.
 */
export interface MemorySection {
  /** What is seen there; never a container or an alias. */
  readonly region: TerminalRegion;
  /** Where in the region the section begins. */
  readonly offsetWithinRegion: bigint;
  /** Addresses of the space, both ends included. */
  readonly range: AddressRange;
  /** The address space. */
  readonly space: AddressSpace;
}

/** Makes the part of a section that lies in a range inside it. */
export function sectionPart(section: MemorySection, start: bigint, last: bigint): MemorySection {
  if (start === section.range.start && last === section.range.last) return section;
  return newSection(
    section.region,
    section.offsetWithinRegion + (start - section.range.start),
    start,
    last,
    section.space,
  );
}

/** Makes a section. */
export function newSection(
  region: TerminalRegion,
  offsetWithinRegion: bigint,
  start: bigint,
  last: bigint,
  space: AddressSpace,
): MemorySection {
  return Object.freeze({ region, offsetWithinRegion, range: Object.freeze({ start, last }), space });
}

/** The index of the first of some disjoint ascending sections that does not end below an address; their number if there is none. */
export function indexFrom(sections: readonly MemorySection[], address: bigint): number {
  let low = 0;
  let high = sections.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const section = sections[middle];
    if (section !== undefined && section.range.last < address) low = middle + 1;
    else high = middle;
  }
  return low;
}
