import type { MemorySection } from "./memory_section.ts";
import { indexFrom } from "./memory_section.ts";

/**
 * What an address space shows: disjoint sections in ascending order. It never changes; after a change of the map the
 * space has another one.
 *
 * @example
 * ```ts
 * import { AddressSpace, RamRegion } from "@giommu/memory-api";
 * import { assertEquals } from "@std/assert";
 *
 * using space = new AddressSpace({ name: "memory", root: new RamRegion({ name: "ram", size: 0x1000n }) });
 * const view = space.flatView();
 * assertEquals(view.find(0xfffn)?.region.name, "ram");
 * assertEquals(view.find(0x1000n), undefined);
 * ```
 */
export class FlatView {
  /** The sections, ascending. Neighbours that continue each other inside one region are one section. */
  readonly sections: readonly MemorySection[];

  /**
   * Creates a view.
   *
   * @param sections Disjoint and ascending.
   */
  constructor(sections: readonly MemorySection[]) {
    this.sections = Object.freeze(sections);
  }

  /**
   * Finds the section that an address lies in.
   *
   * @param address An address of the space.
   * @returns The section; `undefined` where nothing is seen.
   */
  find(address: bigint): MemorySection | undefined {
    const section = this.sections[this.indexFrom(address)];
    return section !== undefined && section.range.start <= address ? section : undefined;
  }

  /**
   * Finds the first section that does not end below an address.
   *
   * @param address An address of the space.
   * @returns Its index in {@linkcode sections}; the number of sections if there is none.
   */
  indexFrom(address: bigint): number {
    return indexFrom(this.sections, address);
  }
}
