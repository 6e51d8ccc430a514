import type { AddressRange } from "@giommu/core";
import { asRefusal, asUnmapFailure, ChangeDelivery, DONE } from "./_change_delivery.ts";
import { frozenEvent, type IotlbEvent } from "./event.ts";
import { unmapOf } from "./_pieces.ts";
import type { ChangeOutcome, IommuChange } from "./change.ts";
import { IommuNotifierFlag } from "./flag.ts";
import type { IommuNotifier } from "./notifier.ts";
import { stateOf } from "./notifier.ts";

const NO_EVENTS: readonly IotlbEvent[] = Object.freeze([]);

/**
 * Tells the only notifier of a list of a change of one entry, which is what most changes are. It does what a
 * {@linkcode ChangeDelivery} does, without what that needs for several; whatever goes wrong is left to one.
 *
 * @returns How it went; `undefined` if it is no such change, and nothing was done.
 */
export function deliverSingle(
  notifier: IommuNotifier,
  change: IommuChange,
  iommuIndex: number,
): ChangeOutcome | undefined {
  const state = stateOf(notifier);
  const { range, flags } = notifier;
  if (change.unmaps.length > 1 || change.maps.length > 1) return undefined;
  if (state.walk !== undefined || notifier.iommuIndex !== iommuIndex) return undefined;
  const old = change.unmaps[0];
  const next = change.maps[0];
  if (old !== undefined && !holds(range, old.iova)) return undefined;
  if (next !== undefined && !holds(range, next.iova)) return undefined;

  const unmap = old === undefined || (flags & IommuNotifierFlag.UNMAP) === 0
    ? undefined
    : unmapOf(old.iova, old.pageSize);
  const map = next === undefined || (flags & IommuNotifierFlag.MAP) === 0 ? undefined : frozenEvent(
    IommuNotifierFlag.MAP,
    // An entry that changed in place is told with one range, as to freeze one takes longer than all the rest of an event.
    unmap !== undefined && isSame(unmap.iova, next.iova)
      ? unmap.iova
      : Object.freeze({ start: next.iova.start, last: next.iova.last }),
    next.target,
    next.perm,
    next.pageSize,
    next.targetSpace,
  );
  if (unmap === undefined && map === undefined) return DONE;

  const { init } = state;
  /** What a delivery in full goes on from, where something was thrown. */
  const whole = (open: boolean, mapped: number) => {
    const unmaps = unmap === undefined ? NO_EVENTS : [unmap];
    const maps = map === undefined ? NO_EVENTS : [map];
    const part = { notifier, state, audible: { range, ahead: undefined }, unmaps, maps, mapped, open };
    return { part, delivery: new ChangeDelivery(change, [part]) };
  };
  if (state.list !== undefined && init.begin !== undefined) {
    try {
      init.begin({ unmaps: unmap === undefined ? [] : [unmap], maps: map === undefined ? [] : [map] });
    } catch (error) {
      return whole(false, 0).delivery.refuse(error, []);
    }
  }
  if (state.list === undefined) return DONE;
  state.told = true;
  if (unmap !== undefined) {
    try {
      init.notify(unmap);
    } catch (error) {
      return whole(true, 0).delivery.abandon(asUnmapFailure(error, unmap.iova));
    }
    if (state.list === undefined) return DONE;
    state.told = true;
  }
  if (map !== undefined) {
    try {
      init.notify(map);
    } catch (error) {
      const { part, delivery } = whole(true, 0);
      return delivery.refuse(asRefusal(error, map.iova), [part]);
    }
    if (state.list === undefined) return DONE;
  }
  if (init.commit !== undefined) {
    try {
      init.commit();
    } catch (error) {
      const { part, delivery } = whole(true, map === undefined ? 0 : 1);
      return delivery.refuse(error, [part]);
    }
  }
  return DONE;
}

function holds(outer: AddressRange, inner: AddressRange): boolean {
  return outer.start <= inner.start && inner.last <= outer.last;
}

function isSame(a: AddressRange, b: AddressRange): boolean {
  return a.start === b.start && a.last === b.last;
}
