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
 * A guest cannot make these grow: there is one per place where the machine shows a piece of RAM. A number is never
 * given to something else.
 */
export class Backings {
  readonly #all = new Map<number, Backing>();
  readonly #byRam = new Map<RamRegion, Map<bigint, number>>();
  #newest = 0;

  /** The number of some RAM; 0 stands for none. */
  number(ram: RamRegion, delta: bigint): number {
    let byDelta = this.#byRam.get(ram);
    if (byDelta === undefined) this.#byRam.set(ram, byDelta = new Map());
    let number = byDelta.get(delta);
    if (number === undefined) {
      byDelta.set(delta, number = ++this.#newest);
      this.#all.set(number, { ram, delta });
    }
    return number;
  }

  /** What a number stands for. */
  get(number: number): Backing | undefined {
    return this.#all.get(number);
  }

  /** Forgets all numbers but those that are in use. */
  retain(used: ReadonlySet<number>): void {
    for (const [number, { ram, delta }] of this.#all) {
      if (used.has(number)) continue;
      this.#all.delete(number);
      const byDelta = this.#byRam.get(ram);
      byDelta?.delete(delta);
      if (byDelta?.size === 0) this.#byRam.delete(ram);
    }
  }

  /** Forgets all numbers; nothing may be mapped. */
  clear(): void {
    this.#all.clear();
    this.#byRam.clear();
  }
}
