import type { AddressRange } from "@giommu/core";
import { ADDRESS_MAX, intersect } from "@giommu/core";
import type { IotlbEntry } from "./entry.ts";
import type { IotlbEvent } from "./event.ts";
import { cropEvent, frozenEvent, newEvent } from "./event.ts";
import { IommuNotifierFlag } from "./flag.ts";
import { IommuPerm } from "./perm.ts";

/** What a notifier can hear live: its range, but for what a walk still has ahead. */
export interface Audible {
  readonly range: AddressRange;
  readonly ahead: AddressRange | undefined;
}

/** Appends the audible parts of an event: none, one, or the two on either side of what lies ahead of a walk. */
export function appendAudible(out: IotlbEvent[], event: IotlbEvent, { range, ahead }: Audible): void {
  const inside = cropEvent(event, range);
  if (inside === undefined) return;
  if (ahead === undefined || intersect(inside.iova, ahead) === undefined) {
    out.push(inside);
    return;
  }
  if (inside.iova.start < ahead.start) {
    const behind = cropEvent(inside, { start: 0n, last: ahead.start - 1n });
    if (behind !== undefined) out.push(behind);
  }
  if (inside.iova.last > ahead.last) {
    const beyond = cropEvent(inside, { start: ahead.last + 1n, last: ADDRESS_MAX });
    if (beyond !== undefined) out.push(beyond);
  }
}

/** One UNMAP per run of entries with adjoining addresses and one page size. */
export function unmapEvents(entries: readonly IotlbEntry[]): IotlbEvent[] {
  const events: IotlbEvent[] = [];
  let open: { start: bigint; last: bigint; pageSize: bigint } | undefined;
  for (const { iova, pageSize } of entries) {
    if (open !== undefined && open.pageSize === pageSize && open.last + 1n === iova.start) {
      open.last = iova.last;
      continue;
    }
    if (open !== undefined) events.push(unmapOf(open, open.pageSize));
    open = { start: iova.start, last: iova.last, pageSize };
  }
  if (open !== undefined) events.push(unmapOf(open, open.pageSize));
  return events;
}

/** An UNMAP of fields that have been checked. */
export function unmapOf({ start, last }: AddressRange, pageSize: bigint): IotlbEvent {
  return frozenEvent(IommuNotifierFlag.UNMAP, Object.freeze({ start, last }), 0n, IommuPerm.NONE, pageSize);
}

/** A MAP of an entry that has been checked. */
export function mapOf(entry: IotlbEntry): IotlbEvent {
  return newEvent(IommuNotifierFlag.MAP, entry.iova, entry.target, entry.perm, entry.pageSize, entry.targetSpace);
}
