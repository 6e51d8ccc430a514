import { checkU64 } from "@giommu/core";
import type { MemoryRegionInit } from "./memory_region.ts";
import { MemoryRegion, regionState } from "./memory_region.ts";

/** What makes an {@linkcode AliasRegion}. */
export interface AliasRegionInit extends MemoryRegionInit {
  /** What it shows: any region, also a container, an IOMMU or another alias. */
  readonly target: MemoryRegion;
  /** Where in the target it begins; 0 unless given. What reaches beyond the target's end shows nothing. */
  readonly offset?: bigint;
}

/**
 * Shows a part of a region in another place.
 *
 * The sections that listeners see are those of the regions shown: for an alias of an IOMMU region they name the IOMMU
 * region itself, with the offset inside it.
 *
 * @example
 * ```ts
 * import { AddressSpace, AliasRegion, MemoryRegion, RamRegion } from "@giommu/memory-api";
 * import { assertEquals } from "@std/assert";
 *
 * const ram = new RamRegion({ name: "ram", size: 0x8000n });
 * const root = new MemoryRegion({ name: "root", size: 2n ** 64n });
 * root.addSubregion(0x10_0000n, new AliasRegion({ name: "high ram", target: ram, offset: 0x4000n, size: 0x4000n }));
 * using space = new AddressSpace({ name: "memory", root });
 * assertEquals([space.sections[0]?.region.name, space.sections[0]?.offsetWithinRegion], ["ram", 0x4000n]);
 * ```
 */
export class AliasRegion extends MemoryRegion {
  /** It is an alias. */
  override readonly kind = "alias" as const;
  /** What it shows. */
  readonly target: MemoryRegion;
  /** Where in the target it begins. */
  readonly offset: bigint;

  /**
   * Creates an alias that lies nowhere yet.
   *
   * @param init Name, size, what it shows.
   * @throws {TypeError} If a field has the wrong type.
   * @throws {RangeError} If a number is out of bounds.
   */
  constructor(init: AliasRegionInit) {
    super(init);
    this.offset = checkU64("offset", init.offset ?? 0n);
    this.target = init.target;
    regionState(init.target).aliases.add(new WeakRef(this));
  }

  /** What it shows. */
  override get aliasTarget(): MemoryRegion {
    return this.target;
  }
}
