import type { AddressRange } from "@giommu/core";
import type { RawTceTable } from "@giommu/core/wasm/table";
import type { IotlbEntry } from "@giommu/notifiers";
import { readExtents, type Window } from "./_batch.ts";

/** How the core names the ways to cut a walk. */
const RUNS = { full: 0, call: 1 } as const;

/** The first batch is small, as a walk may be left early; each one after it is twice as large, up to what the core gives. */
const FIRST_BATCH = 16;
const LAST_BATCH = 4096;

/**
 * Walks the mappings of a range inside a table's region, in ascending order; entries at its ends are told whole.
 *
 * If the table changes while the walk is left, what was fetched ahead is thrown away: it tells what is mapped when it is
 * asked. `live` is asked for the raw table again each time, as it may be gone.
 */
export function* walk(
  live: () => RawTceTable,
  window: Window,
  range: AddressRange,
  runs: "full" | "call",
): Generator<IotlbEntry, void> {
  let from = Number(range.start / window.pageSize);
  const last = Number(range.last / window.pageSize);
  let size = FIRST_BATCH;
  for (let more = true; more;) {
    let raw = live();
    const { version } = raw;
    const count = raw.replayBatch(from, last, RUNS[runs], size);
    const next = raw.cursor;
    more = next !== undefined;
    const entries: IotlbEntry[] = [];
    readExtents(entries, raw.pointer, count, window);
    for (const entry of entries) {
      yield entry;
      raw = live();
      if (raw.version !== version) {
        from = Number((entry.iova.last + 1n) / window.pageSize);
        more = from <= last;
        break;
      }
    }
    if (more && next !== undefined && raw.version === version) from = next;
    size = Math.min(size * 2, LAST_BATCH);
  }
}
