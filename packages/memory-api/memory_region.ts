import { ADDRESS_MAX, checkInteger, checkU64, hex } from "@giommu/core";
import { alter, transaction } from "./_topology.ts";
import type { AddressSpace } from "./address_space.ts";
import type { AliasRegion } from "./alias_region.ts";

/** What a region is: a box for others, or what accesses end at. */
export type MemoryRegionKind = "container" | "ram" | "io" | "alias" | "iommu";

/** What every region has. */
export interface MemoryRegionInit {
  /** What people call it; messages name it. */
  readonly name: string;
  /** How many bytes it spans: 1 to 2^64. */
  readonly size: bigint;
}

/** Where a subregion lies. */
export interface Subregion {
  /** The subregion. */
  readonly region: MemoryRegion;
  /** Where it begins, counted from the start of the region that it is in. */
  readonly offset: bigint;
  /** Which of overlapping subregions is seen: the highest, and of equals the one added last. */
  readonly priority: number;
}

/** How a subregion is added. */
export interface SubregionOptions {
  /** Which of overlapping subregions is seen: the highest, and of equals the one added last; 0 unless given. */
  readonly priority?: number;
}

/** What the other files of this package know of a region. */
export interface RegionState {
  /** Highest first; replaced, never altered. */
  children: readonly Subregion[];
  parent: MemoryRegion | undefined;
  enabled: boolean;
  /** Aliases of it; weak, as an alias that nobody holds can be in no address space. */
  readonly aliases: Set<WeakRef<AliasRegion>>;
  /** Address spaces that it is the root of. */
  readonly spaces: Set<AddressSpace>;
}

/** The state of a region; not exported by the package. */
export let regionState: (region: MemoryRegion) => RegionState;

/**
 * A node of the guest's physical memory map; by itself a container, transparent where no subregion lies.
 *
 * A region lies in at most one other; to show it in several places, use an {@linkcode AliasRegion}. Subregions may overlap and
 * may reach beyond the region, which crops them. Every change of the map outside of a `transaction` is one by itself.
 *
 * The rules are those of QEMU's `MemoryRegion` (system/memory.c).
 *
 * @example
 * ```ts
 * import { AddressSpace, MemoryRegion, RamRegion } from "@giommu/memory-api";
 * import { assertEquals } from "@std/assert";
 *
 * const system = new MemoryRegion({ name: "system", size: 2n ** 64n });
 * const ram = new RamRegion({ name: "ram", size: 0x4000n });
 * const rom = new RamRegion({ name: "rom", size: 0x1000n, readonly: true });
 * system.addSubregion(0n, ram);
 * system.addSubregion(0x1000n, rom, { priority: 1 });
 * using memory = new AddressSpace({ name: "memory", root: system });
 * assertEquals(memory.sections.map((s) => [s.region.name, s.range.start]), [
 *   ["ram", 0n],
 *   ["rom", 0x1000n],
 *   ["ram", 0x2000n],
 * ]);
 * ```
 */
export class MemoryRegion {
  /** What people call it. */
  readonly name: string;
  /** How many bytes it spans: 1 to 2^64. */
  readonly size: bigint;
  /** What it is. */
  readonly kind: MemoryRegionKind = "container";
  readonly #state: RegionState = {
    children: [],
    parent: undefined,
    enabled: true,
    aliases: new Set(),
    spaces: new Set(),
  };

  static {
    regionState = (region) => region.#state;
  }

  /**
   * Creates a region that lies nowhere yet.
   *
   * @param init Name and size.
   * @throws {TypeError} If the name is no string or the size no bigint.
   * @throws {RangeError} If the size is not 1 to 2^64.
   */
  constructor(init: MemoryRegionInit) {
    if (typeof init.name !== "string") throw new TypeError(`Cannot make a region: its name is ${typeof init.name}`);
    if (typeof init.size !== "bigint") {
      throw new TypeError(`Cannot make region ${init.name}: its size is ${typeof init.size}, expected a bigint`);
    }
    if (init.size < 1n || init.size > ADDRESS_MAX + 1n) {
      throw new RangeError(`Cannot make region ${init.name}: its size ${hex(init.size)} is not 1 to 2^64`);
    }
    this.name = init.name;
    this.size = init.size;
  }

  /** The region that it lies in. */
  get parent(): MemoryRegion | undefined {
    return this.#state.parent;
  }

  /** What lies in it, the highest priority first, and of equals the one added last. */
  get subregions(): readonly Subregion[] {
    return this.#state.children;
  }

  /** Whether it is seen; a region that is not enabled hides all that lies in it. Setting it is a change of the map. */
  get enabled(): boolean {
    return this.#state.enabled;
  }
  set enabled(enabled: boolean) {
    const state = this.#state;
    const old = state.enabled;
    if (old === enabled) return;
    if (typeof enabled !== "boolean") {
      throw new TypeError(`Cannot enable region ${this.name}: expected a boolean, got ${typeof enabled}`);
    }
    transaction(() => {
      state.enabled = enabled;
      alter(this, () => state.enabled = old);
    });
  }

  /**
   * Places a region in this one.
   *
   * @param offset Where it begins, counted from the start of this region: 0 to 2^64 - 1.
   * @param region The region; it lies nowhere yet.
   * @param options Its priority.
   * @throws {TypeError} If the region lies somewhere already, or this region is an alias.
   * @throws {RangeError} If a number is out of bounds, or the region would contain itself.
   * @throws {IommuError} `"change-in-progress"` from inside a listener's callback.
   * @throws Whatever a listener's `regionAdd` throws; the map is as before then.
   */
  addSubregion(offset: bigint, region: MemoryRegion, options: SubregionOptions = {}): void {
    checkU64("offset", offset);
    const priority = checkInteger("priority", options.priority ?? 0, -0x8000_0000, 0x7fff_ffff);
    if (this.kind === "alias") {
      throw new TypeError(`Cannot add ${region.name} to ${this.name}: an alias shows its target and nothing else`);
    }
    const child = regionState(region);
    if (child.parent !== undefined) {
      throw new TypeError(
        `Cannot add ${region.name} to ${this.name}: it lies in ${child.parent.name}; show it again through an AliasRegion`,
      );
    }
    if (reaches(region, this)) {
      throw new RangeError(`Cannot add ${region.name} to ${this.name}: it would contain itself`);
    }
    transaction(() => {
      const state = this.#state;
      const old = state.children;
      const at = old.findIndex((other) => other.priority <= priority);
      const entry = Object.freeze({ region, offset, priority });
      state.children = at < 0 ? [...old, entry] : old.toSpliced(at, 0, entry);
      child.parent = this;
      alter(this, () => {
        state.children = old;
        child.parent = undefined;
      });
    });
  }

  /**
   * Takes a region out of this one.
   *
   * @param region A subregion of this region.
   * @throws {TypeError} If it does not lie in this region.
   * @throws {IommuError} `"change-in-progress"` from inside a listener's callback.
   * @throws What a listener's `regionDel` throws; the region is gone all the same.
   */
  removeSubregion(region: MemoryRegion): void {
    const child = regionState(region);
    if (child.parent !== this) {
      throw new TypeError(`Cannot remove ${region.name} from ${this.name}: it does not lie in it`);
    }
    transaction(() => {
      const state = this.#state;
      const old = state.children;
      state.children = old.filter((other) => other.region !== region);
      child.parent = undefined;
      alter(this, () => {
        state.children = old;
        child.parent = this;
      });
    });
  }

  /** What an alias shows; `undefined` for every other region. */
  get aliasTarget(): MemoryRegion | undefined {
    return undefined;
  }
}

/** Whether a region shows another one, itself included, through subregions and aliases. */
function reaches(from: MemoryRegion, goal: MemoryRegion): boolean {
  const seen = new Set<MemoryRegion>();
  const pending = [from];
  for (let region = pending.pop(); region !== undefined; region = pending.pop()) {
    if (region === goal) return true;
    if (seen.has(region)) continue;
    seen.add(region);
    for (const { region: child } of region.subregions) pending.push(child);
    if (region.aliasTarget !== undefined) pending.push(region.aliasTarget);
  }
  return false;
}
