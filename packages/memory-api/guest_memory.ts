import { nameOf } from "@giommu/core";

/**
 * Bytes that a guest sees: what a hypercall's list or a device's DMA is read from and written to.
 *
 * Addresses count from the start of this memory; for the memory behind a {@linkcode RamRegion} they are offsets inside
 * the region.
 */
export interface GuestMemory {
  /** How many bytes there are, from address 0. */
  readonly size: bigint;
  /**
   * Reads bytes.
   *
   * @param gpa Where to read from.
   * @param target Filled as a whole, or not at all.
   * @returns Whether all bytes are there. A guest may name any address: nothing is thrown.
   */
  read(gpa: bigint, target: Uint8Array): boolean;
  /**
   * Writes bytes.
   *
   * @param gpa Where to write to.
   * @param source Written as a whole, or not at all.
   * @returns Whether all bytes are there.
   */
  write(gpa: bigint, source: Uint8Array): boolean;
}

/**
 * Guest memory in a plain array.
 *
 * @example
 * ```ts
 * import { ArrayGuestMemory } from "@giommu/memory-api";
 * import { assertEquals } from "@std/assert";
 *
 * const memory = new ArrayGuestMemory(0x1000);
 * assertEquals(memory.write(0xffcn, new Uint8Array([1, 2, 3, 4])), true);
 * assertEquals(memory.write(0xffdn, new Uint8Array([1, 2, 3, 4])), false); // one byte too far: nothing is written
 * const bytes = new Uint8Array(2);
 * memory.read(0xffen, bytes);
 * assertEquals([...bytes], [3, 4]);
 * ```
 */
export class ArrayGuestMemory implements GuestMemory {
  /** The bytes themselves. */
  readonly bytes: Uint8Array;
  /** How many bytes there are. */
  readonly size: bigint;

  /**
   * Creates zeroed memory, or makes an array the guest's memory.
   *
   * @param bytes How many bytes, or the array, which is shared and not copied.
   * @throws {TypeError} If it is neither.
   * @throws {RangeError} If the number is not one that an array can have.
   */
  constructor(bytes: number | Uint8Array) {
    if (typeof bytes !== "number" && !(bytes instanceof Uint8Array)) {
      throw new TypeError(`Cannot make guest memory: expected a number of bytes or a Uint8Array, got ${nameOf(bytes)}`);
    }
    this.bytes = typeof bytes === "number" ? new Uint8Array(bytes) : bytes;
    this.size = BigInt(this.bytes.length);
  }

  /** Reads bytes; see {@linkcode GuestMemory}. */
  read(gpa: bigint, target: Uint8Array): boolean {
    if (!this.#holds(gpa, target.length)) return false;
    const start = Number(gpa);
    target.set(this.bytes.subarray(start, start + target.length));
    return true;
  }

  /** Writes bytes; see {@linkcode GuestMemory}. */
  write(gpa: bigint, source: Uint8Array): boolean {
    if (!this.#holds(gpa, source.length)) return false;
    this.bytes.set(source, Number(gpa));
    return true;
  }

  #holds(gpa: bigint, length: number): boolean {
    return gpa >= 0n && gpa + BigInt(length) <= this.size;
  }
}
