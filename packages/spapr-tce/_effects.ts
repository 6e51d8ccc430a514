import { IommuError, joinRanges } from "@giommu/core";
import type { RawSpaprMachine } from "@giommu/core/wasm/spapr";
import type { RawTceTable } from "@giommu/core/wasm/table";
import { transaction } from "@giommu/memory-api";
import type { ChangeOutcome, IommuChange } from "@giommu/notifiers";
import { readMaps, readUnmaps } from "./_batch.ts";
import { tableState, type TceTable } from "./tce_table.ts";

/** What the core says that a call did, by its numbers. */
const EventKind = { CHANGED: 0, WINDOW_REMOVED: 1, WINDOW_ADDED: 2, BYPASS_ON: 3, BYPASS_OFF: 4 } as const;

/** Whether a change of the memory map was not undone. */
export type Stands = () => boolean;

/** Where the windows and devices of a machine are shown. */
export interface Stage {
  /** The table of a window or a device that is there. */
  table(liobn: number): TceTable | undefined;
  /** Shows a window, with a table that exists in the core. */
  addWindow(liobn: number, raw: RawTceTable): Stands;
  /** Takes a window away. */
  removeWindow(liobn: number): Stands;
  /** Lets a VIO device go past its table, or no more. */
  setBypass(unit: number, on: boolean): Stands;
}

/** How the delivery of what a call did went. */
export interface Delivered {
  /** Whether the call is as if it had not been made, on all sides. */
  readonly undone: boolean;
  /** The first failure. */
  readonly error?: IommuError;
}

const DONE: Delivered = Object.freeze({ undone: false });
const NO_CHANGE: IommuChange = Object.freeze({ unmaps: Object.freeze([]), maps: Object.freeze([]) });

/** Entries of a table that a call changed, as their notifiers were told. */
interface Told {
  readonly raw: RawTceTable;
  readonly table: TceTable;
  readonly change: IommuChange;
}

/**
 * Delivers what the newest call into a machine did: first what changed in tables, then what changed in the memory map,
 * in one transaction. If a host refuses, all of it is undone, here and in the core.
 *
 * Entries come first, as a window that goes may uncover another one: what of that is emptied by the same call never
 * reaches a host.
 */
export function deliver(raw: RawSpaprMachine, stage: Stage): Delivered {
  const told: Told[] = [];
  let failure: IommuError | undefined;
  try {
    for (let at = 0; at < raw.eventsLength; at++) {
      if (raw.eventKind(at) !== EventKind.CHANGED) continue;
      const one = takeChange(raw, at, stage);
      if (one === undefined) continue;
      told.push(one);
      const outcome = one.table.region.change(one.change);
      if (outcome.status === "refused") {
        told.pop();
        undoCore(one, outcome);
        return undone(raw, told, outcome.error);
      }
      failure ??= outcome.error;
      if (outcome.status === "unmap-failed") one.raw.clearChanged();
    }
    const topology = changeMap(raw, stage);
    return topology?.undone ? undone(raw, told, topology.error) : failed(failure ?? topology?.error);
  } finally {
    for (const one of told) one.raw.free();
  }
}

function failed(error: IommuError | undefined): Delivered {
  return error === undefined ? DONE : { undone: false, error };
}

/** The entries that an event is about; `undefined` if nobody can have been told of them. */
function takeChange(raw: RawSpaprMachine, at: number, stage: Stage): Told | undefined {
  const table = stage.table(raw.eventLiobn(at));
  if (table === undefined) return undefined;
  const changed = raw.takeTable(at);
  if (table.region.notifiers.size === 0) return { raw: changed, table, change: NO_CHANGE };
  const { window } = tableState(table);
  return { raw: changed, table, change: { unmaps: readUnmaps(changed, window), maps: readMaps(changed, window) } };
}

/** Changes the memory map as the events say; `undefined` if none does, or all went well. */
function changeMap(raw: RawSpaprMachine, stage: Stage): Delivered | undefined {
  const steps: (() => Stands)[] = [];
  for (let at = 0; at < raw.eventsLength; at++) {
    const id = raw.eventLiobn(at);
    const kind = raw.eventKind(at);
    if (kind === EventKind.WINDOW_REMOVED) steps.push(() => stage.removeWindow(id));
    else if (kind === EventKind.WINDOW_ADDED) steps.push(() => stage.addWindow(id, raw.takeTable(at)));
    else if (kind !== EventKind.CHANGED) steps.push(() => stage.setBypass(id, kind === EventKind.BYPASS_ON));
  }
  if (steps.length === 0) return undefined;
  let stands: Stands[] = [];
  try {
    transaction(() => stands = steps.map((step) => step()));
    return undefined;
  } catch (error) {
    // A transaction is undone as a whole, or stands although a listener failed: its first step tells which.
    return { undone: stands[0]?.() !== true, error: asError(error) };
  }
}

/** Puts back what was told, in reverse, and the call in the core. */
function undone(raw: RawSpaprMachine, told: readonly Told[], error: IommuError | undefined): Delivered {
  let failure = error;
  for (const one of [...told].reverse()) {
    one.raw.undo();
    const { unmaps, maps } = one.change;
    const outcome = one.table.region.change({ unmaps: maps, maps: unmaps });
    if (outcome.status === "done") continue;
    // What cannot be mapped again must be nothing on both sides.
    if (outcome.status === "refused") one.table.region.change({ unmaps: maps, maps: [] });
    const lost = outcome.status === "refused" ? unmaps.map(({ iova }) => iova) : outcome.lost;
    for (const { start, last } of [...lost, ...outcome.lost]) one.raw.clearAddresses(start, last);
    failure = mappingLost(one.table, lost, failure, outcome.error);
  }
  raw.undo();
  return { undone: true, ...(failure !== undefined && { error: failure }) };
}

/** Takes one refused change back in the core. */
function undoCore({ raw }: Told, outcome: ChangeOutcome): void {
  raw.undo();
  for (const { start, last } of outcome.lost) raw.clearAddresses(start, last);
  raw.free();
}

function mappingLost(
  table: TceTable,
  lost: readonly { readonly start: bigint; readonly last: bigint }[],
  refusal: IommuError | undefined,
  cause: unknown,
): IommuError {
  return new IommuError("mapping-lost", `Cannot put back mappings of ${table} after a refused call`, {
    ranges: joinRanges(lost),
    cause: new AggregateError([refusal, cause]),
  });
}

/** What a listener threw, as an error of ours. */
function asError(error: unknown): IommuError {
  if (error instanceof IommuError) return error;
  const message = error instanceof Error ? error.message : String(error);
  return new IommuError("host-refused", `Cannot change the memory map: a listener refused it: ${message}`, {
    cause: error,
  });
}
