import type { AddressRange } from "@giommu/core";

/** Counts the pages that ascending ranges touch, each once. */
export class PageCounter {
  #total = 0n;
  /** The last address of the last page that was counted. */
  #covered = -1n;

  /** How many pages were touched. */
  get total(): bigint {
    return this.#total;
  }

  /** Counts the pages of a range; `delta` is what addresses lie above those in which pages are aligned. */
  add({ start, last }: AddressRange, page: bigint, delta: bigint): void {
    const from = start > this.#covered ? start : this.#covered + 1n;
    if (from > last) return;
    const end = floor(last - delta, page);
    this.#total += end - floor(from - delta, page) + 1n;
    this.#covered = (end + 1n) * page + delta - 1n;
  }
}

/** Which page an address is in, also below 0. */
function floor(address: bigint, page: bigint): bigint {
  return (address - (((address % page) + page) % page)) / page;
}
