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

  /** Counts the pages of a range; `page` is a power of two, `delta` what addresses lie above those in which pages are aligned. */
  add({ start, last }: AddressRange, page: bigint, delta: bigint): void {
    const from = start > this.#covered ? start : this.#covered + 1n;
    if (from > last) return;
    // Of a negative address, too, masks make the page that it is in.
    const first = (from - delta) & -page;
    const end = (last - delta) | (page - 1n);
    const bytes = end - first + 1n;
    this.#total += bytes === page ? 1n : bytes / page;
    this.#covered = end + delta;
  }
}
