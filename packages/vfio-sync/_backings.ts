import type { RamRegion } from "@giommu/memory-api";

/** Some RAM, and by how much a guest-physical address in it lies above the offset in the region. */
export interface Backing {
  readonly ram: RamRegion;
  /** Guest-physical address minus offset inside `ram`; may be negative. */
  readonly delta: bigint;
}

/**
 * Numbers for the RAM behind mappings. The core keeps the number with each mapping and gives it back when the
 * mapping has to be made again, at a time when the memory map may show something else there.
 *
 * A guest cannot make these grow: there is one per place where the machine shows a piece of RAM.
 */
export class Backings {
  readonly #all: Backing[] = [];
  readonly #byRam = new Map<RamRegion, Map<bigint, number>>();

  /** The number of some RAM; 0 stands for none. */
  number(ram: RamRegion, delta: bigint): number {
    let byDelta = this.#byRam.get(ram);
    if (byDelta === undefined) this.#byRam.set(ram, byDelta = new Map());
    let number = byDelta.get(delta);
    if (number === undefined) byDelta.set(delta, number = this.#all.push({ ram, delta }));
    return number;
  }

  /** What a number stands for. */
  get(number: number): Backing | undefined {
    return this.#all[number - 1];
  }

  /** Forgets all numbers; nothing may be mapped. */
  clear(): void {
    this.#all.length = 0;
    this.#byRam.clear();
  }
}
