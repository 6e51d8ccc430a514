/**
 * The door for giommu's own packages to tables that a machine in the core shares. It is promised to nobody else.
 *
 * @module
 */

import type { CoreMemory } from "@giommu/core/wasm";
import type { RawTceTable } from "@giommu/core/wasm/table";
import type { ChangeOutcome, IotlbEntry } from "@giommu/notifiers";
import { readExtents } from "./_batch.ts";
import type { OnHostFailure } from "./hcall.ts";
import { adopt, tableState, type TceTable } from "./tce_table.ts";

/**
 * Makes a table of one that exists in the core.
 *
 * @param raw The handle, which the table owns from now on. The core may hold the same table and write to it.
 * @param memory The memory of the module that the handle is of.
 * @param onHostFailure What calls that are made through the new table answer when the host refuses.
 * @returns The table.
 */
export function tableFromRaw(
  raw: RawTceTable,
  memory: CoreMemory,
  onHostFailure: OnHostFailure = "refuse",
): TceTable {
  return adopt(raw, memory, onHostFailure);
}

/** Where the core left extents: 24 bytes each, with bus addresses. */
export interface ExtentBatch {
  /** Where in the core's memory. */
  readonly pointer: number;
  /** How many. */
  readonly length: number;
}

/** The extents of one batch as entries of a table's region: addresses count from the window's start. */
export function entriesOf(table: TceTable, { pointer, length }: ExtentBatch): IotlbEntry[] {
  const list: IotlbEntry[] = [];
  readExtents(list, pointer, length, tableState(table).window);
  return list;
}

/**
 * Tells a table's notifiers of a change that the core has applied already.
 *
 * The batches are read before the first notifier is called. If the outcome is not `"done"`, it is for the caller to
 * take the change back in the core, and to make the entries 0 that are lost.
 *
 * @param table The table.
 * @param unmaps Mappings that vanished or changed, as they were.
 * @param maps New mappings.
 * @returns How it went.
 */
export function deliver(table: TceTable, unmaps: ExtentBatch, maps: ExtentBatch): ChangeOutcome {
  return table.region.change({ unmaps: entriesOf(table, unmaps), maps: entriesOf(table, maps) });
}
