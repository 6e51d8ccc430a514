import type { IommuError } from "@giommu/core";
import type { IommuMemoryRegion } from "@giommu/memory-api";
import type { ChangeOutcome, IommuChange, IotlbEntry } from "@giommu/notifiers";

/**
 * Tells the notifiers of a region of a change one page at a time, in ascending order, as QEMU does, and goes on where one is refused.
 *
 * @returns The first error.
 */
export function tellPageByPage(region: IommuMemoryRegion, change: IommuChange): IommuError | undefined {
  let first: IommuError | undefined;
  for (const page of pageChanges(change)) {
    const outcome: ChangeOutcome = region.change(page);
    first ??= outcome.error;
  }
  return first;
}

/** Cuts a change into one per page; a page that changed in place is in both lists of one change. */
function* pageChanges({ unmaps, maps }: IommuChange): Generator<IommuChange> {
  const olds = pages(unmaps);
  const news = pages(maps);
  let old = olds.next().value;
  let next = news.next().value;
  while (old !== undefined || next !== undefined) {
    const oldComes = old !== undefined && (next === undefined || old.iova.start <= next.iova.start);
    const newComes = next !== undefined && (old === undefined || next.iova.start <= old.iova.start);
    yield { unmaps: oldComes ? [old!] : [], maps: newComes ? [next!] : [] };
    if (oldComes) old = olds.next().value;
    if (newComes) next = news.next().value;
  }
}

function* pages(entries: readonly IotlbEntry[]): Generator<IotlbEntry, undefined> {
  for (const entry of entries) {
    const { pageSize } = entry;
    for (
      let start = entry.iova.start, target = entry.target;
      start <= entry.iova.last;
      start += pageSize, target += pageSize
    ) {
      yield { ...entry, iova: { start, last: start + pageSize - 1n }, target };
    }
  }
}
