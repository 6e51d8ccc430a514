import type { AddressRange } from "@giommu/core";
import { formatRange, IommuError, joinRanges } from "@giommu/core";
import { appendAudible, mapOf, unmapEvents, unmapOf } from "./_pieces.ts";
import type { Audible } from "./_pieces.ts";
import type { ChangeOutcome, IommuChange } from "./change.ts";
import type { IotlbEvent } from "./event.ts";
import { IommuNotifierFlag } from "./flag.ts";
import type { IommuNotifier, NotifierState, UpcomingEvents } from "./notifier.ts";
import { stateOf } from "./notifier.ts";

/** The outcome of a change that everybody took. */
export const DONE: ChangeOutcome = Object.freeze({ status: "done", lost: Object.freeze([]) });

const NOTHING: UpcomingEvents = Object.freeze({ unmaps: Object.freeze([]), maps: Object.freeze([]) });

/** One notifier's part in a change. */
export interface Part {
  readonly notifier: IommuNotifier;
  readonly state: NotifierState;
  readonly audible: Audible;
  readonly unmaps: readonly IotlbEvent[];
  readonly maps: readonly IotlbEvent[];
  /** How many of `maps` it took. */
  mapped: number;
  /** Whether `begin` waits for `commit` or `rollback`. */
  open: boolean;
}

/** Works out who is told what of a change; `notifiers` are the newest first. */
export function partsOf(notifiers: readonly IommuNotifier[], change: IommuChange, iommuIndex: number): Part[] {
  const parts: Part[] = [];
  const unmapped = unmapEvents(change.unmaps);
  const mapped = change.maps.map(mapOf);
  for (const notifier of notifiers) {
    if (notifier.iommuIndex !== iommuIndex) continue;
    const state = stateOf(notifier);
    const { walk } = state;
    if (walk !== undefined) {
      for (const event of unmapped) walk.changed(event.iova);
      for (const event of mapped) walk.changed(event.iova);
    }
    const audible = { range: notifier.range, ahead: walk?.ahead };
    const unmaps: IotlbEvent[] = [];
    const maps: IotlbEvent[] = [];
    if (notifier.flags & IommuNotifierFlag.UNMAP) {
      for (const event of unmapped) appendAudible(unmaps, event, audible);
    }
    if (notifier.flags & IommuNotifierFlag.MAP) {
      for (const event of mapped) appendAudible(maps, event, audible);
    }
    if (unmaps.length === 0 && maps.length === 0) continue;
    parts.push({ notifier, state, audible, unmaps, maps, mapped: 0, open: false });
  }
  return parts;
}

/**
 * Tells the notifiers of one list of one change, and puts them back if one refuses.
 *
 * The parts are worked out before the first call, so that what a callback does to the list or to a walk cannot make an event come twice.
 */
export class ChangeDelivery {
  readonly #change: IommuChange;
  readonly #parts: readonly Part[];
  readonly #lost: AddressRange[] = [];
  #undoFailure: unknown;
  #undoFailed = false;

  /** `parts`: see {@linkcode partsOf}. */
  constructor(change: IommuChange, parts: readonly Part[]) {
    this.#change = change;
    this.#parts = parts;
  }

  /** Tells everybody. */
  deliver(): ChangeOutcome {
    try {
      for (const part of this.#live()) this.#begin(part, part);
    } catch (error) {
      return this.refuse(error, []);
    }
    const failure = this.#unmapAll();
    if (failure !== undefined) return this.abandon(failure);
    for (const part of this.#live()) {
      part.state.told = true;
      for (const event of part.maps) {
        if (!part.notifier.registered) break;
        try {
          part.state.init.notify(event);
        } catch (error) {
          return this.refuse(asRefusal(error, event.iova), this.#parts);
        }
        part.mapped++;
      }
    }
    for (const part of this.#live()) {
      try {
        this.#close(part);
      } catch (error) {
        return this.refuse(error, this.#parts);
      }
    }
    return DONE;
  }

  /** The parts of notifiers that have not been unregistered meanwhile. */
  *#live(parts: readonly Part[] = this.#parts): Generator<Part> {
    for (const part of parts) {
      if (part.notifier.registered) yield part;
    }
  }

  #begin(part: Part, upcoming: UpcomingEvents = NOTHING): void {
    part.state.init.begin?.({ unmaps: upcoming.unmaps, maps: upcoming.maps });
    part.open = true;
  }

  #close(part: Part): void {
    if (!part.open) return;
    part.state.init.commit?.();
    part.open = false;
  }

  /** Tells all UNMAPs; a failure does not keep the others from theirs. The first failure is returned. */
  #unmapAll(): IommuError | undefined {
    let failure: IommuError | undefined;
    for (const part of this.#live()) {
      part.state.told = true;
      for (const event of part.unmaps) {
        if (!part.notifier.registered) break;
        try {
          part.state.init.notify(event);
        } catch (error) {
          failure ??= asUnmapFailure(error, event.iova);
        }
      }
    }
    return failure;
  }

  /** An UNMAP failed: nothing is put back, the entries of the change become nothing. */
  abandon(error: IommuError): ChangeOutcome {
    for (const part of this.#live()) {
      try {
        this.#close(part);
      } catch {
        // The first failure is the one that is reported; the change reads as nothing in any case.
        part.open = false;
      }
    }
    return { status: "unmap-failed", error, lost: joinRanges(this.#change.maps.map((entry) => entry.iova)) };
  }

  /** A MAP, a begin or a commit was refused: everybody is put back, those told last first. */
  refuse(cause: unknown, told: readonly Part[]): ChangeOutcome {
    const refusal = asRefusal(cause, this.#change.maps[0]?.iova ?? this.#change.unmaps[0]?.iova);
    // A notifier whose begin was called but which heard nothing yet still gets its rollback.
    for (const part of this.#live([...this.#parts].reverse())) {
      if (part.open && part.state.init.rollback !== undefined) this.#rollback(part);
      else if (told.includes(part)) this.#invert(part);
      else this.#tryClose(part);
    }
    const lost = joinRanges(this.#lost);
    if (lost.length > 0) this.#tellLost(lost);
    return { status: "refused", error: this.#explain(refusal, lost), lost };
  }

  #rollback(part: Part): void {
    part.open = false;
    try {
      this.#lost.push(...(part.state.init.rollback?.() ?? []));
    } catch (error) {
      this.#undoFails(error);
      for (const event of [...part.unmaps, ...part.maps]) this.#lost.push(event.iova);
    }
  }

  /** Tells the inverse events: UNMAPs of what was mapped, then MAPs of what was there before. */
  #invert(part: Part): void {
    try {
      if (!part.open) this.#begin(part); // its commit was done before another's was refused
    } catch (error) {
      this.#undoFails(error);
      for (const event of [...part.unmaps, ...part.maps]) this.#lost.push(event.iova);
      return;
    }
    if (part.notifier.flags & IommuNotifierFlag.UNMAP) {
      for (const event of unmapEvents(part.maps.slice(0, part.mapped)).reverse()) {
        try {
          part.state.init.notify(event);
        } catch (error) {
          this.#undoFails(error);
          this.#lost.push(event.iova);
        }
      }
      if (part.notifier.flags & IommuNotifierFlag.MAP) this.#mapOld(part);
    }
    this.#tryClose(part);
  }

  #mapOld(part: Part): void {
    const old: IotlbEvent[] = [];
    for (const entry of this.#change.unmaps) appendAudible(old, mapOf(entry), part.audible);
    for (const event of old.reverse()) {
      if (!part.notifier.registered) return;
      try {
        part.state.init.notify(event);
      } catch {
        this.#lost.push(event.iova);
      }
    }
  }

  #tryClose(part: Part): void {
    try {
      this.#close(part);
    } catch (error) {
      part.open = false;
      this.#undoFails(error);
    }
  }

  /**
   * What one notifier lost must not stay mapped with the others.
   *
   * As in the change itself all begin before the first hears anything, and a failure keeps nobody from what is left: a container that
   * listens in several places closes with its last one, and must have heard of everything by then.
   */
  #tellLost(lost: readonly AddressRange[]): void {
    const pageSize = this.#change.unmaps[0]?.pageSize ?? this.#change.maps[0]?.pageSize ?? 1n;
    const told: { readonly part: Part; readonly events: readonly IotlbEvent[] }[] = [];
    for (const part of this.#live()) {
      if (!(part.notifier.flags & IommuNotifierFlag.UNMAP)) continue;
      const events: IotlbEvent[] = [];
      for (const range of lost) appendAudible(events, unmapOf(range, pageSize), part.audible);
      if (events.length > 0) told.push({ part, events });
    }
    for (const { part } of told) this.#attempt(() => this.#begin(part));
    for (const { part, events } of told) {
      if (!part.open) continue;
      for (const event of events) {
        if (!part.notifier.registered) break;
        this.#attempt(() => part.state.init.notify(event));
      }
    }
    for (const { part } of told) this.#tryClose(part);
  }

  #attempt(act: () => void): void {
    try {
      act();
    } catch (error) {
      this.#undoFails(error);
    }
  }

  #undoFails(error: unknown): void {
    if (!this.#undoFailed) this.#undoFailure = error;
    this.#undoFailed = true;
  }

  #explain(refusal: IommuError, lost: readonly AddressRange[]): IommuError {
    const about = { ranges: lost, ...(refusal.remedy !== undefined && { remedy: refusal.remedy }) };
    const where = lost.map(formatRange).slice(0, 3).join(", ") + (lost.length > 3 ? ", …" : "");
    if (this.#undoFailed) {
      const message = `Cannot undo a refused change${where && ` of ${where}`}: ${text(this.#undoFailure)}`;
      return new IommuError("rollback-failed", message, {
        ...about,
        cause: new AggregateError([refusal, this.#undoFailure], refusal.message),
      });
    }
    if (lost.length === 0) return refusal;
    const message = `Cannot put back the mappings of ${where} after a refused change: ${refusal.message}`;
    return new IommuError("mapping-lost", message, { ...about, cause: refusal });
  }
}

/** What a notifier threw, as a refusal of a MAP. */
export function asRefusal(error: unknown, range: AddressRange | undefined): IommuError {
  if (error instanceof IommuError) return error;
  const what = range === undefined ? "the change" : formatRange(range);
  return new IommuError("notifier-refused", `Cannot map ${what}: a notifier refused it: ${text(error)}`, {
    ...(range !== undefined && { range }),
    cause: error,
  });
}

/** What a notifier threw, as a failure to UNMAP. */
export function asUnmapFailure(error: unknown, range: AddressRange): IommuError {
  if (error instanceof IommuError && (error.code === "unmap-failed" || error.code === "core-trapped")) return error;
  return new IommuError("unmap-failed", `Cannot unmap ${formatRange(range)}: a notifier failed: ${text(error)}`, {
    range,
    ...(error instanceof IommuError && error.remedy !== undefined && { remedy: error.remedy }),
    cause: error,
  });
}

/** The message of whatever was thrown. */
export function text(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
