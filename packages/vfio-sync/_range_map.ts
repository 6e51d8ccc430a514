import type { AddressRange } from "@giommu/core";

/** How many entries a block holds before it is cut in two: short enough to shift, long enough to keep the list of blocks short. */
const BLOCK = 512;

/**
 * Disjoint ranges in ascending order, for a million of them: blocks of sorted entries, found by bisection.
 *
 * A plain sorted array would shift half a million entries for each insertion in the middle.
 */
export class RangeMap<T extends { readonly iova: AddressRange }> {
  /** Never empty blocks. */
  readonly #blocks: T[][] = [];
  #size = 0;

  /** How many entries there are. */
  get size(): number {
    return this.#size;
  }

  /** The entries, ascending. */
  *[Symbol.iterator](): Generator<T> {
    for (const block of this.#blocks) yield* block;
  }

  /** The entry that holds an address. */
  find(address: bigint): T | undefined {
    const block = this.#blocks[this.#blockOf(address)];
    const entry = block?.[indexOf(block, address)];
    return entry !== undefined && entry.iova.last >= address ? entry : undefined;
  }

  /** The entries that share an address with a range, ascending. */
  overlapping(range: AddressRange): T[] {
    const found: T[] = [];
    let at = Math.max(this.#blockOf(range.start), 0);
    for (let block = this.#blocks[at]; block !== undefined; block = this.#blocks[++at]) {
      for (let i = Math.max(indexOf(block, range.start), 0); i < block.length; i++) {
        const entry = block[i] as T;
        if (entry.iova.start > range.last) return found;
        if (entry.iova.last >= range.start) found.push(entry);
      }
    }
    return found;
  }

  /** Whether anything shares an address with a range. */
  touches(range: AddressRange): boolean {
    const block = this.#blocks[this.#blockOf(range.last)];
    const entry = block?.[indexOf(block, range.last)];
    return entry !== undefined && entry.iova.last >= range.start;
  }

  /** Adds an entry that overlaps none. */
  add(entry: T): void {
    const at = Math.max(this.#blockOf(entry.iova.start), 0);
    const block = this.#blocks[at];
    this.#size++;
    if (block === undefined) {
      this.#blocks.push([entry]);
      return;
    }
    block.splice(indexOf(block, entry.iova.start) + 1, 0, entry);
    if (block.length > BLOCK) this.#blocks.splice(at + 1, 0, block.splice(block.length >> 1));
  }

  /** Removes an entry that is there. */
  delete(entry: T): void {
    const at = this.#blockOf(entry.iova.start);
    const block = this.#blocks[at];
    const i = block === undefined ? -1 : indexOf(block, entry.iova.start);
    if (block?.[i] !== entry) return;
    this.#size--;
    block.splice(i, 1);
    if (block.length === 0) this.#blocks.splice(at, 1);
  }

  /** Removes everything. */
  clear(): void {
    this.#blocks.length = 0;
    this.#size = 0;
  }

  /** The last block that begins at or below an address; -1 if none does. */
  #blockOf(address: bigint): number {
    let low = 0;
    let high = this.#blocks.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const first = this.#blocks[middle]?.[0] as T;
      if (first.iova.start <= address) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }
}

/** The last entry of a block that begins at or below an address; -1 if none does. */
function indexOf<T extends { readonly iova: AddressRange }>(block: readonly T[], address: bigint): number {
  let low = 0;
  let high = block.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((block[middle] as T).iova.start <= address) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}
