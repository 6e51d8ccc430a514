import type { Iova } from "@giommu/core";
import type { AddressSpace, MemorySection } from "@giommu/memory-api";
import { replay } from "@giommu/memory-api";
import { IommuNotifier, IommuNotifierFlag, IommuPerm } from "@giommu/notifiers";
import type { ChangeWatch, TouchedPage } from "./change_watch.ts";

/**
 * The kinds of pages that a device's accesses are checked on: by place, by permission, by what the guest did last; `not-ram`
 * ones point to what is no RAM, `empty` ones lie in a window and are not mapped.
 */
export const DMA_KINDS = [
  "first",
  "last",
  "read-write",
  "read-only",
  "write-only",
  "new",
  "changed-in-place",
  "neighbour",
  "unmapped",
  "not-ram",
  "empty",
] as const;
/** One of {@linkcode DMA_KINDS}. */
export type DmaKind = typeof DMA_KINDS[number];

/** A page to be looked at, and all that it is an example of. */
export interface SampledPage extends TouchedPage {
  /** Its kinds. */
  readonly kinds: readonly DmaKind[];
}

/** Pages of a kind, in order: how many there are, and those at the ends. */
class KindSample {
  count = 0;
  readonly #most: number;
  readonly #first: TouchedPage[] = [];
  readonly #last: TouchedPage[] = [];

  /** Keeps `most` pages. */
  constructor(most: number) {
    this.#most = most;
  }

  /** Adds a page that stands for `pages` of them. */
  add(page: TouchedPage, pages = 1): void {
    this.count += pages;
    if (this.#first.length < Math.ceil(this.#most / 2)) this.#first.push(page);
    else if (this.#last.push(page) > Math.floor(this.#most / 2)) this.#last.shift();
  }

  /** Those that were kept. */
  get pages(): readonly TouchedPage[] {
    return [...this.#first, ...this.#last];
  }
}

/** A sample of the pages of a bus. */
export interface DmaSample {
  /** How many pages there are of each kind; of those that the guest touched, among the newest. */
  readonly counts: ReadonlyMap<DmaKind, number>;
  /** The pages to be looked at, each once, ascending. */
  readonly pages: readonly SampledPage[];
}

/**
 * Chooses pages of every kind, by what the guest's tables say now.
 *
 * @param space What the device sees.
 * @param watch What the guest touched.
 * @param most How many pages of a kind to choose.
 * @returns The sample.
 */
export function sampleDma(space: AddressSpace, watch: ChangeWatch, most: number): DmaSample {
  const kinds = new Map(DMA_KINDS.map((kind) => [kind, new KindSample(most)]));
  const add = (kind: DmaKind, page: TouchedPage, pages?: number) => kinds.get(kind)?.add(page, pages);
  let first: TouchedPage | undefined;
  let last: TouchedPage | undefined;
  for (const section of space.sections) {
    if (section.region.kind !== "iommu") continue;
    let end = section.range.start;
    for (const { iova: { start, last: stop }, size } of runsOf(section)) {
      if (end < start) add("empty", { iova: end, size, was: undefined }, Number((start - end) / size));
      end = stop + 1n;
      const ends = [{ iova: start, size, was: undefined }, { iova: end - size, size, was: undefined }] as const;
      first ??= ends[0];
      last = ends[1];
      const pages = Number((end - start) / size);
      for (const [at, page] of ends.slice(0, pages === 1 ? 1 : 2).entries()) {
        add(permission(space, page.iova), page, at === 0 ? 1 : pages - 1);
      }
    }
    const size = section.region.minPageSize;
    if (end + size - 1n <= section.range.last) {
      add("empty", { iova: end, size, was: undefined }, Number((section.range.last + 1n - end) / size));
    }
  }
  if (first !== undefined) add("first", first);
  if (last !== undefined) add("last", last);
  for (const kind of ["new", "changed-in-place", "neighbour", "unmapped"] as const) {
    for (const page of watch.pages(kind)) {
      if (isMapped(space, page.iova) === (kind !== "unmapped")) add(kind, page);
    }
  }
  return { counts: new Map([...kinds].map(([kind, { count }]) => [kind, count])), pages: merged(kinds) };
}

/** Each page once, with all its kinds, and where a device got to before where that is known. */
function merged(kinds: ReadonlyMap<DmaKind, KindSample>): SampledPage[] {
  const all = new Map<Iova, SampledPage>();
  for (const [kind, { pages }] of kinds) {
    for (const page of pages) {
      const known = all.get(page.iova);
      if (known?.kinds.includes(kind)) continue;
      all.set(page.iova, {
        ...page,
        was: page.was ?? known?.was,
        kinds: [...known?.kinds ?? [], kind],
      });
    }
  }
  return [...all.values()].sort((a, b) => a.iova < b.iova ? -1 : 1);
}

/** The runs of mapped pages in a section, by bus addresses, ascending. */
function runsOf(section: MemorySection): { readonly iova: { start: Iova; last: Iova }; readonly size: bigint }[] {
  const { region, range, offsetWithinRegion: first } = section;
  if (region.kind !== "iommu") return [];
  const runs: { iova: { start: Iova; last: Iova }; size: bigint }[] = [];
  const delta = range.start - first;
  const reader = new IommuNotifier({
    flags: IommuNotifierFlag.MAP,
    range: { start: first, last: range.last - delta },
    notify: ({ iova, pageSize: size }) =>
      runs.push({ iova: { start: iova.start + delta, last: iova.last + delta }, size }),
  });
  replay(region, reader);
  return runs;
}

function permission(space: AddressSpace, iova: Iova): "read-write" | "read-only" | "write-only" | "not-ram" {
  const found = space.translate(iova);
  if (found.kind === "fault" || found.region.kind !== "ram") return "not-ram";
  if (found.perm === IommuPerm.READ_WRITE) return "read-write";
  return found.perm === IommuPerm.READ ? "read-only" : "write-only";
}

/** Whether the guest has mapped a page, wherever to. */
function isMapped(space: AddressSpace, iova: Iova): boolean {
  const found = space.translate(iova);
  return found.kind === "memory" || !["unassigned", "not-mapped"].includes(found.reason) || found.space !== space;
}
