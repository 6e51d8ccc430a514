import { ADDRESS_MAX } from "@giommu/core";
import type { AddressSpace } from "./address_space.ts";
import type { GuestMemory } from "./guest_memory.ts";

/**
 * The RAM that an address space shows, as one memory: what the CPU sees, and where a hypercall's lists are read from.
 *
 * No IOMMU is passed. An access that touches anything but RAM fails as a whole.
 *
 * @example
 * ```ts
 * import { AddressSpace, ArrayGuestMemory, MemoryRegion, RamRegion, SpaceMemory } from "@giommu/memory-api";
 * import { assertEquals } from "@std/assert";
 *
 * const root = new MemoryRegion({ name: "system", size: 2n ** 64n });
 * root.addSubregion(0x8000n, new RamRegion({ name: "ram", size: 0x1000n, memory: new ArrayGuestMemory(0x1000) }));
 * using space = new AddressSpace({ name: "memory", root });
 * const memory = new SpaceMemory(space);
 * assertEquals(memory.write(0x8ff8n, new Uint8Array(8)), true);
 * assertEquals(memory.write(0x8ff9n, new Uint8Array(8)), false);
 * ```
 */
export class SpaceMemory implements GuestMemory {
  /** All addresses can be asked for: 2^64. */
  readonly size: bigint = ADDRESS_MAX + 1n;
  readonly #space: AddressSpace;

  /**
   * Creates the view.
   *
   * @param space The address space. Borrowed.
   */
  constructor(space: AddressSpace) {
    this.#space = space;
  }

  /** Reads bytes; see {@linkcode GuestMemory}. */
  read(gpa: bigint, target: Uint8Array): boolean {
    const parts = this.#parts(gpa, target);
    return parts !== undefined && parts.every(({ memory, offset, bytes }) => memory.read(offset, bytes));
  }

  /** Writes bytes, unless some of them would meet read-only memory; see {@linkcode GuestMemory}. */
  write(gpa: bigint, source: Uint8Array): boolean {
    const parts = this.#parts(gpa, source);
    if (parts === undefined || parts.some((part) => part.readonly)) return false;
    return parts.every(({ memory, offset, bytes }) => memory.write(offset, bytes));
  }

  /** Cuts an access at the borders of sections; `undefined` if some of it meets no RAM with bytes. */
  #parts(gpa: bigint, bytes: Uint8Array): Part[] | undefined {
    const view = this.#space.flatView();
    const parts: Part[] = [];
    for (let at = 0; at < bytes.length;) {
      const address = gpa + BigInt(at);
      const section = view.find(address);
      if (section?.region.kind !== "ram" || section.region.memory === undefined) return undefined;
      const room = section.range.last - address + 1n;
      const end = room < BigInt(bytes.length - at) ? at + Number(room) : bytes.length;
      parts.push({
        memory: section.region.memory,
        readonly: section.region.readonly,
        offset: section.offsetWithinRegion + (address - section.range.start),
        bytes: bytes.subarray(at, end),
      });
      at = end;
    }
    return parts;
  }
}

interface Part {
  readonly memory: GuestMemory;
  readonly readonly: boolean;
  readonly offset: bigint;
  readonly bytes: Uint8Array;
}
