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
  let more = true;
  for (let size = FIRST_BATCH; more && from <= last; size = Math.min(size * 2, LAST_BATCH)) {
    const raw = live();
    const { version } = raw;
    const count = raw.replayBatch(from, last, RUNS[runs], size);
    const entries: IotlbEntry[] = [];
    readExtents(entries, raw.pointer, count, window);
    // Nothing is mapped behind a batch that is not full, unless the table changes.
    more = count === size;
    let told: IotlbEntry | undefined;
    for (const entry of entries) {
      yield entry;
      told = entry;
      if (live().version === version) continue;
      more = true;
      break;
    }
    if (told !== undefined) from = Number((told.iova.last + 1n) / window.pageSize);
  }
}
