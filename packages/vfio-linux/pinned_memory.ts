import { checkU64, hex, IommuError } from "@giommu/core";
import type { GuestMemory } from "@giommu/memory-api";
import { must } from "./_errno.ts";
import { library } from "./_library.ts";
import { Numbers } from "./_numbers.ts";

/** Which pages {@linkcode PinnedMemory} consists of. */
export type MemoryPages = "small" | "transparent" | "2M" | "1G";

/** What makes a {@linkcode PinnedMemory}. */
export interface PinnedMemoryInit {
  /** How many bytes, from 1; rounded up to whole pages. */
  readonly size: bigint;
  /**
   * Which pages it consists of; `"small"` unless given. `"transparent"`: huge ones where the kernel finds some. `"2M"`,
   * `"1G"`: from the kernel's pool (`/sys/kernel/mm/hugepages`), or not at all. A host with huge pages maps huge pages
   * five to thirty times faster.
   */
  readonly pages?: MemoryPages;
  /** Whether it is a file in memory (memfd), which other processes can be given; false unless given. */
  readonly shared?: boolean;
}

const PAGES: Readonly<Record<MemoryPages, { readonly flag: number; readonly size: bigint }>> = {
  small: { flag: 0, size: 0x1000n },
  transparent: { flag: 1, size: 0x20_0000n },
  "2M": { flag: 4, size: 0x20_0000n },
  "1G": { flag: 8, size: 0x4000_0000n },
};
const MEMFD = 2;
/** The library is told lengths of up to 32 bits. */
const CHUNK = 1 << 30;

let numberOf: (memory: PinnedMemory) => number;

/**
 * Guest memory that a device can be given: mapped by the kernel, outside of JavaScript's heap.
 *
 * Nothing is pinned before a host maps some of it: then the kernel pins those pages, and counts them against the limit of
 * locked memory (`ulimit -l`), until they are unmapped. Dispose it when no guest uses it any more. Pages that a host still
 * maps stay until it has unmapped them, so that no device ever reaches memory of somebody else.
 *
 * @example Where the library is, there is such memory; elsewhere the error says what is missing
 * ```ts
 * import { IommuError } from "@giommu/core";
 * import { RamRegion } from "@giommu/memory-api";
 * import { PinnedMemory } from "@giommu/vfio-linux";
 * import { assert, assertEquals } from "@std/assert";
 *
 * try {
 *   using memory = new PinnedMemory({ size: 0x10_0000n, pages: "transparent" });
 *   const ram = new RamRegion({ name: "ram", size: memory.size, memory });
 *   assertEquals(ram.size, 0x20_0000n); // whole pages of 2 MiB
 *   memory.write(0xffen, new Uint8Array([1, 2, 3, 4]));
 *   const bytes = new Uint8Array(2);
 *   assertEquals([memory.read(0x1000n, bytes), ...bytes], [true, 3, 4]);
 * } catch (error) {
 *   assert(error instanceof IommuError && error.code === "backend-unavailable");
 * }
 * ```
 */
export class PinnedMemory implements GuestMemory, Disposable {
  static {
    numberOf = (memory) => memory.#live();
  }

  /** How many bytes there are. */
  readonly size: bigint;
  /** Which pages it consists of. */
  readonly pages: MemoryPages;
  readonly #place = new Numbers(1);
  #number: number;

  /**
   * Creates zeroed memory.
   *
   * @param init Size and kind of pages.
   * @throws {TypeError} If a field has the wrong type.
   * @throws {RangeError} If the size is 0 or does not fit 63 bits, or there are no such pages.
   * @throws {IommuError} `"backend-unavailable"` if the system has no such memory, or this is no system for it.
   */
  constructor(init: PinnedMemoryInit) {
    const { size, pages = "small", shared = false } = init;
    checkU64("size", size);
    if (size === 0n || size > 2n ** 63n - 1n) throw new RangeError(`Cannot make memory: its size is ${hex(size)}`);
    if (!Object.hasOwn(PAGES, pages)) throw new RangeError(`Cannot make memory: there are no pages ${String(pages)}`);
    if (typeof shared !== "boolean") throw new TypeError("Cannot make memory: shared is no boolean");
    const { flag, size: page } = PAGES[pages];
    this.pages = pages;
    this.size = (size + page - 1n) / page * page;
    const answer = library().giommu_memory_new(Numbers.of(this.size), flag | (shared ? MEMFD : 0));
    this.#number = must(answer, {
      what: `Cannot make memory of ${hex(this.size)} bytes`,
      call: "mmap",
      remedies: {
        ENOMEM: flag >= 4
          ? `reserve huge pages: echo N > /sys/kernel/mm/hugepages/hugepages-${page / 1024n}kB/nr_hugepages`
          : "ask for less, or free memory",
      },
    });
  }

  /**
   * Reads bytes.
   *
   * @param gpa The offset of the first one.
   * @param target Filled as a whole, or not at all.
   * @returns Whether all bytes are there.
   * @throws {IommuError} `"disposed"`.
   */
  read(gpa: bigint, target: Uint8Array): boolean {
    const number = this.#live();
    if (!this.#holds(gpa, target.length)) return false;
    for (let at = 0; at < target.length; at += CHUNK) {
      const part = target.subarray(at, at + CHUNK);
      if (library().giommu_memory_read(number, this.#at(gpa + BigInt(at)), part) !== 0) return false;
    }
    return true;
  }

  /**
   * Writes bytes.
   *
   * @param gpa The offset of the first one.
   * @param source Written as a whole, or not at all.
   * @returns Whether all bytes are there.
   * @throws {IommuError} `"disposed"`.
   */
  write(gpa: bigint, source: Uint8Array): boolean {
    const number = this.#live();
    if (!this.#holds(gpa, source.length)) return false;
    for (let at = 0; at < source.length; at += CHUNK) {
      const part = source.subarray(at, at + CHUNK);
      if (library().giommu_memory_write(number, this.#at(gpa + BigInt(at)), part) !== 0) return false;
    }
    return true;
  }

  /** Lets go of it; pages that a host maps stay until it unmaps them. Twice is fine. */
  dispose(): void {
    if (this.#number === 0) return;
    library().giommu_close(this.#number);
    this.#number = 0;
  }

  /** The same as {@linkcode dispose}. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  #at(gpa: bigint): Uint8Array {
    this.#place.set(0, gpa);
    return this.#place.bytes;
  }

  #holds(gpa: bigint, length: number): boolean {
    return gpa >= 0n && gpa + BigInt(length) <= this.size;
  }

  #live(): number {
    if (this.#number === 0) throw new IommuError("disposed", "Cannot use memory: it was disposed");
    return this.#number;
  }
}

/** The number by which the library knows some memory. Throws `"disposed"`. */
export function memoryNumber(memory: PinnedMemory): number {
  return numberOf(memory);
}
