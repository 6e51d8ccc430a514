import { hex } from "@giommu/core";
import type { GuestMemory } from "@giommu/memory-api";

/** Bytes of one chunk, a power of two. */
const CHUNK = 0x1_0000n;

/**
 * Guest memory that costs what was written to it: all else reads as 0.
 *
 * A recording says how much RAM its guest had, and a test may want a guest of any size.
 *
 * @example A terabyte
 * ```ts
 * import { SparseGuestMemory } from "@giommu/testing";
 * import { assertEquals } from "@std/assert";
 *
 * const memory = new SparseGuestMemory(1n << 40n);
 * assertEquals(memory.write(0x80_0000_fffen, new Uint8Array([1, 2, 3])), true);
 * const bytes = new Uint8Array(4);
 * assertEquals(memory.read(0x80_0000_fffdn, bytes), true);
 * assertEquals([...bytes], [0, 1, 2, 3]);
 * assertEquals(memory.read(1n << 40n, bytes), false);
 * ```
 */
export class SparseGuestMemory implements GuestMemory {
  /** How many bytes there are, from address 0. */
  readonly size: bigint;
  readonly #chunks = new Map<bigint, Uint8Array>();

  /**
   * Creates zeroed memory.
   *
   * @param size How many bytes, 0 to 2^64.
   * @throws {TypeError} If the size is no bigint.
   * @throws {RangeError} If it is out of bounds.
   */
  constructor(size: bigint) {
    if (typeof size !== "bigint") {
      throw new TypeError(`Cannot make guest memory: its size is ${typeof size}, expected a bigint`);
    }
    if (size < 0n || size > 1n << 64n) {
      throw new RangeError(`Cannot make guest memory: its size ${hex(size)} is not 0 to 2^64 bytes`);
    }
    this.size = size;
  }

  /** Reads bytes; see {@linkcode GuestMemory}. */
  read(gpa: bigint, target: Uint8Array): boolean {
    if (!this.#holds(gpa, target.length)) return false;
    for (const { chunk, offset, start, end } of parts(gpa, target.length)) {
      const bytes = this.#chunks.get(chunk);
      if (bytes === undefined) target.fill(0, start, end);
      else target.set(bytes.subarray(offset, offset + end - start), start);
    }
    return true;
  }

  /** Writes bytes; see {@linkcode GuestMemory}. */
  write(gpa: bigint, source: Uint8Array): boolean {
    if (!this.#holds(gpa, source.length)) return false;
    for (const { chunk, offset, start, end } of parts(gpa, source.length)) {
      let bytes = this.#chunks.get(chunk);
      if (bytes === undefined) {
        bytes = new Uint8Array(Number(CHUNK));
        this.#chunks.set(chunk, bytes);
      }
      bytes.set(source.subarray(start, end), offset);
    }
    return true;
  }

  #holds(gpa: bigint, length: number): boolean {
    return gpa >= 0n && gpa + BigInt(length) <= this.size;
  }
}

/** The part of an access that lies in one chunk. */
interface Part {
  readonly chunk: bigint;
  readonly offset: number;
  readonly start: number;
  readonly end: number;
}

function* parts(gpa: bigint, length: number): Generator<Part> {
  for (let start = 0; start < length;) {
    const address = gpa + BigInt(start);
    const offset = Number(address % CHUNK);
    const end = Math.min(length, start + Number(CHUNK) - offset);
    yield { chunk: address / CHUNK, offset, start, end };
    start = end;
  }
}
