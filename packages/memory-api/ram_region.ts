import type { GuestMemory } from "./guest_memory.ts";
import type { MemoryRegionInit } from "./memory_region.ts";
import { MemoryRegion } from "./memory_region.ts";

/** What makes a {@linkcode RamRegion}. */
export interface RamRegionInit extends MemoryRegionInit {
  /** Whether devices and guest may only read it; false unless given. */
  readonly readonly?: boolean;
  /**
   * Whether it is memory of a device (a BAR), which other devices reach peer to peer: not every host can map it. False
   * unless given. QEMU calls it RAM device.
   */
  readonly device?: boolean;
  /** The bytes, addressed by offsets inside the region. Where absent, the region can be mapped but neither read nor written. */
  readonly memory?: GuestMemory;
}

/**
 * RAM of the guest (or ROM), where a device's accesses may end.
 *
 * @example
 * ```ts
 * import { ArrayGuestMemory, RamRegion } from "@giommu/memory-api";
 * import { assertEquals } from "@std/assert";
 *
 * const ram = new RamRegion({ name: "ram", size: 0x10000n, memory: new ArrayGuestMemory(0x10000) });
 * assertEquals([ram.kind, ram.readonly], ["ram", false]);
 * ```
 */
export class RamRegion extends MemoryRegion {
  /** It is RAM. */
  override readonly kind = "ram" as const;
  /** Whether devices and guest may only read it. */
  readonly readonly: boolean;
  /** Whether it is memory of a device, which other devices reach peer to peer. */
  readonly device: boolean;
  /** The bytes, addressed by offsets inside the region. Borrowed. */
  readonly memory: GuestMemory | undefined;

  /**
   * Creates RAM that lies nowhere yet.
   *
   * @param init Name, size, bytes.
   * @throws {TypeError} If a field has the wrong type.
   * @throws {RangeError} If the size is not 1 to 2^64, or the bytes are fewer.
   */
  constructor(init: RamRegionInit) {
    super(init);
    if (init.readonly !== undefined && typeof init.readonly !== "boolean") {
      throw new TypeError(`Cannot make region ${init.name}: readonly is ${typeof init.readonly}, expected a boolean`);
    }
    if (init.device !== undefined && typeof init.device !== "boolean") {
      throw new TypeError(`Cannot make region ${init.name}: device is ${typeof init.device}, expected a boolean`);
    }
    if (init.memory !== undefined && typeof init.memory.size !== "bigint") {
      throw new TypeError(`Cannot make region ${init.name}: its memory has no size in bytes, a bigint`);
    }
    if (init.memory !== undefined && init.memory.size < init.size) {
      throw new RangeError(
        `Cannot make region ${init.name}: its memory has ${init.memory.size} bytes, fewer than its size ${init.size}`,
      );
    }
    this.readonly = init.readonly ?? false;
    this.device = init.device ?? false;
    this.memory = init.memory;
  }
}
