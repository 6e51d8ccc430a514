import type { ExtentView } from "@giommu/core/wasm";
import type { RawTceTable } from "@giommu/core/wasm/table";
import type { IotlbEntry } from "@giommu/notifiers";

/** What turns the core's extents, which have bus addresses, into entries of one table's region. */
export interface Window {
  readonly busOffset: bigint;
  readonly pageSize: bigint;
  /** A cursor over the memory of the module that holds the table. */
  readonly view: ExtentView;
}

/** Reads extents that the core left in its memory and appends them to a list. */
export function readExtents(list: IotlbEntry[], pointer: number, count: number, window: Window): void {
  for (let i = 0; i < count; i++) list.push(readExtent(pointer, i, window));
}

/** Reads one extent of a batch. */
export function readExtent(pointer: number, index: number, { busOffset, pageSize, view }: Window): IotlbEntry {
  view.at(pointer, index);
  const { pages } = view;
  const start = view.iova - busOffset;
  const last = start + (pages === 1 ? pageSize : BigInt(pages) * pageSize) - 1n;
  return { iova: { start, last }, target: view.target, perm: view.perm, pageSize };
}

/** What the newest call into a raw table unmapped. */
export function readUnmaps(raw: RawTceTable, window: Window): IotlbEntry[] {
  const list: IotlbEntry[] = [];
  const length = raw.unmapsLength;
  while (list.length < length) readExtents(list, ...batch(raw.unmapsBatch(list.length), raw), window);
  return list;
}

/** What the newest call into a raw table mapped. */
export function readMaps(raw: RawTceTable, window: Window): IotlbEntry[] {
  const list: IotlbEntry[] = [];
  const length = raw.mapsLength;
  while (list.length < length) readExtents(list, ...batch(raw.mapsBatch(list.length), raw), window);
  return list;
}

function batch(count: number, raw: RawTceTable): [pointer: number, count: number] {
  return [raw.pointer, count];
}
