import type { MemoryRegionInit } from "./memory_region.ts";
import { MemoryRegion } from "./memory_region.ts";

/**
 * A device's registers, an interrupt window: accesses end here, but there is neither RAM nor an IOMMU behind.
 *
 * It hides what lies below it. Listeners that mirror memory skip it, as QEMU's VFIO listener does.
 *
 * @example
 * ```ts
 * import { IoRegion } from "@giommu/memory-api";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(new IoRegion({ name: "msi", size: 0x10000n }).kind, "io");
 * ```
 */
export class IoRegion extends MemoryRegion {
  /** It is neither RAM nor an IOMMU. */
  override readonly kind = "io" as const;

  /**
   * Creates a region that lies nowhere yet.
   *
   * @param init Name and size.
   * @throws {TypeError} If a field has the wrong type.
   * @throws {RangeError} If the size is not 1 to 2^64.
   */
  constructor(init: MemoryRegionInit) {
    super(init);
  }
}
