import type { AddressRange } from "@giommu/core";
import type { AddressSpace } from "@giommu/memory-api";
import { IommuMemoryRegion } from "@giommu/memory-api";
import type { ChangeOutcome, IommuPerm, IotlbEntry } from "@giommu/notifiers";
import { assertEquals } from "@std/assert";

/** What one page of a test guest reaches; `undefined`: nothing. */
export type Page = { readonly target: bigint; readonly perm: IommuPerm } | undefined;

/** The plainest guest IOMMU there can be: a map of pages. It tells its notifiers as a guest call does, all or nothing. */
export class GuestTable {
  readonly region: IommuMemoryRegion;
  readonly pageSize: bigint;
  pages = new Map<bigint, NonNullable<Page>>();
  readonly #space: AddressSpace | undefined;

  constructor({ pages, pageSize = 0x1000n, space }: { pages: number; pageSize?: bigint; space?: AddressSpace }) {
    this.pageSize = pageSize;
    this.#space = space;
    this.region = new IommuMemoryRegion({
      name: "guest table",
      size: BigInt(pages) * pageSize,
      minPageSize: () => pageSize,
      translate: (iova) => this.#entry(iova / pageSize, this.pages.get(iova / pageSize)),
    });
  }

  /** Stores neighbouring entries by one guest call. */
  write(first: bigint | number, values: readonly Page[]): ChangeOutcome {
    const old = new Map(this.pages);
    const unmaps: IotlbEntry[] = [];
    const maps: IotlbEntry[] = [];
    const changed: bigint[] = [];
    for (const [i, value] of values.entries()) {
      const index = BigInt(first) + BigInt(i);
      const before = old.get(index);
      if (before?.target === value?.target && before?.perm === value?.perm) continue;
      changed.push(index);
      this.#run(unmaps, this.#entry(index, before));
      this.#run(maps, this.#entry(index, value));
      if (value === undefined) this.pages.delete(index);
      else this.pages.set(index, value);
    }
    const outcome = this.region.change({ unmaps, maps });
    if (outcome.status === "refused") this.pages = old;
    if (outcome.status === "unmap-failed") { for (const index of changed) this.pages.delete(index); }
    for (const lost of outcome.lost) {
      for (let at = lost.start / this.pageSize; at <= lost.last / this.pageSize; at++) this.pages.delete(at);
    }
    return outcome;
  }

  /** Maps one page after the other to adjoining targets, by one call. */
  map(first: bigint | number, count: number, target: bigint, perm: IommuPerm = 3): ChangeOutcome {
    return this.write(
      first,
      Array.from({ length: count }, (_, i) => ({ target: target + BigInt(i) * this.pageSize, perm })),
    );
  }

  /** Unmaps pages by one call. */
  unmap(first: bigint | number, count = 1): ChangeOutcome {
    return this.write(first, Array.from({ length: count }, () => undefined));
  }

  #entry(index: bigint, page: Page): IotlbEntry | undefined {
    if (page === undefined) return undefined;
    const start = index * this.pageSize;
    return {
      iova: { start, last: start + this.pageSize - 1n },
      ...page,
      pageSize: this.pageSize,
      ...(this.#space !== undefined && { targetSpace: this.#space }),
    };
  }

  #run(runs: IotlbEntry[], entry: IotlbEntry | undefined): void {
    if (entry === undefined) return;
    const end = runs.at(-1);
    const length = end && end.iova.last - end.iova.start + 1n;
    if (
      end !== undefined && length !== undefined && end.iova.last + 1n === entry.iova.start && end.perm === entry.perm &&
      end.target + length === entry.target
    ) runs[runs.length - 1] = { ...end, iova: { start: end.iova.start, last: entry.iova.last } };
    else runs.push(entry);
  }
}

/** What mappings reach, page by page of 4 KiB: bus address to target and permission. */
export function flatten(
  mappings: Iterable<{ readonly iova: AddressRange; readonly gpa: bigint; readonly perm: IommuPerm }>,
): Map<bigint, string> {
  const flat = new Map<bigint, string>();
  for (const { iova, gpa, perm } of mappings) {
    for (let at = iova.start; at <= iova.last; at += 0x1000n) {
      flat.set(at, `${(gpa + (at - iova.start)).toString(16)} ${perm}`);
    }
  }
  return flat;
}

Deno.test("GuestTable tells of neighbouring entries in runs", () => {
  const table = new GuestTable({ pages: 8 });
  assertEquals(table.map(1, 3, 0x8000n).status, "done");
  assertEquals(table.region.translate(0x2345n)?.target, 0x9000n);
});
