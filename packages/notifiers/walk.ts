import type { AddressRange } from "@giommu/core";
import { ADDRESS_MAX, formatRange, intersect, IommuError } from "@giommu/core";
import type { IotlbEntry } from "./entry.ts";
import { cropEvent, mapEvent } from "./event.ts";
import { IommuNotifierFlag } from "./flag.ts";
import type { IommuNotifier } from "./notifier.ts";
import { stateOf } from "./notifier.ts";

/**
 * A walk that tells one notifier of the mappings that are there already, in ascending order, while the guest goes on
 * changing them.
 *
 * It has a *position*: the notifier hears live of changes behind it, and of those ahead by the walk alone, when it gets there; an
 * event that straddles the position is split. So each mapping is told exactly once, and none is missed. (A notifier
 * that was told something before the walk began may hold mappings ahead of it; it goes on hearing every change live,
 * and may then hear of a mapping twice.)
 *
 * This is the bookkeeping under `replay` of memory-api, which most programs should use.
 *
 * @example
 * ```ts
 * import { IommuNotifier, IommuNotifierFlag, IommuPerm, NotifierList, NotifierWalk } from "@giommu/notifiers";
 * import { assertEquals } from "@std/assert";
 *
 * const heard: bigint[] = [];
 * const notifier = new IommuNotifier({ flags: IommuNotifierFlag.MAP, notify: (event) => heard.push(event.iova.start) });
 * const list = new NotifierList();
 * list.register(notifier);
 * const page = (n: bigint) => ({
 *   iova: { start: n << 12n, last: (n << 12n) + 0xfffn }, target: 0n, perm: IommuPerm.READ, pageSize: 4096n,
 * });
 * using walk = new NotifierWalk(notifier, { start: 0n, last: 0xffffn });
 * walk.pass(0x3fffn); // nothing mapped up to here
 * list.change({ unmaps: [], maps: [page(2n), page(9n)] }); // 2 is behind, 9 ahead
 * assertEquals(heard, [0x2000n]);
 * walk.tell(page(9n));
 * assertEquals(heard, [0x2000n, 0x9000n]);
 * ```
 */
export class NotifierWalk implements Disposable {
  /** The notifier that is told. */
  readonly notifier: IommuNotifier;
  /** What is walked, both ends included. */
  readonly range: AddressRange;
  #position: bigint | undefined;
  #stale = false;
  readonly #withholds: boolean;

  /**
   * Begins a walk at the start of a range.
   *
   * @param notifier Who is told; registered or not.
   * @param range What to walk, both ends included; the caller has cropped it to the notifier's range.
   * @throws {IommuError} `"replay-in-progress"` if another walk is under way for this notifier.
   */
  constructor(notifier: IommuNotifier, range: AddressRange) {
    const state = stateOf(notifier);
    if (state.walk !== undefined) {
      throw new IommuError(
        "replay-in-progress",
        `Cannot replay ${formatRange(range)}: a replay of ${
          formatRange(state.walk.range)
        } to the same notifier is under way`,
        { range, remedy: "finish or abort the other replay first" },
      );
    }
    this.notifier = notifier;
    this.range = Object.freeze({ start: range.start, last: range.last });
    this.#position = range.start;
    this.#withholds = !state.told;
    state.walk = this;
  }

  /** The next address to be walked; `undefined` once the walk has reached its end or was ended. */
  get position(): bigint | undefined {
    return this.#position;
  }

  /** What lies ahead, where the notifier hears nothing live; `undefined` if there is no such part. */
  get ahead(): AddressRange | undefined {
    const start = this.#position;
    return this.#withholds && start !== undefined ? { start, last: this.range.last } : undefined;
  }

  /** Whether the IOMMU changed ahead of the position since {@linkcode refresh}: what was read from there is out of date. */
  get stale(): boolean {
    return this.#stale;
  }

  /** Says that whatever was read ahead of the position is going to be read anew. */
  refresh(): void {
    this.#stale = false;
  }

  /** Takes note of a change of entries. */
  changed(iova: AddressRange): void {
    const start = this.#position;
    if (start !== undefined && intersect(iova, { start, last: this.range.last }) !== undefined) this.#stale = true;
  }

  /**
   * Moves past a stretch, and tells the notifier of what is mapped in it if it wants to hear of MAPs.
   *
   * The position moves first, so that a change from inside the callback is heard live.
   *
   * @param entry What is mapped; cropped to what lies ahead.
   * @returns How much of it was told; `undefined` if nothing lies ahead.
   * @throws {IommuError} `"change-in-progress"` from inside the delivery of a change of the same region.
   * @throws Whatever the notifier throws.
   */
  tell(entry: IotlbEntry): AddressRange | undefined {
    const start = this.#position;
    if (start === undefined) return undefined;
    const state = stateOf(this.notifier);
    if (state.list?.changing === true) {
      throw new IommuError(
        "change-in-progress",
        `Cannot replay ${formatRange(entry.iova)}: the region is telling its notifiers of a change`,
        { range: entry.iova, remedy: "replay after the guest's call has returned" },
      );
    }
    const whole = mapEvent(entry);
    const isInside = entry.iova.start >= start && entry.iova.last <= this.range.last;
    const event = isInside ? whole : cropEvent(whole, { start, last: this.range.last });
    if (event === undefined) return undefined;
    this.pass(event.iova.last);
    if (this.notifier.flags & IommuNotifierFlag.MAP) state.init.notify(event);
    return event.iova;
  }

  /**
   * Moves past a stretch in which nothing is mapped.
   *
   * @param last Its last address.
   */
  pass(last: bigint): void {
    const start = this.#position;
    if (start === undefined || last < start) return;
    this.#position = last >= this.range.last || last === ADDRESS_MAX ? undefined : last + 1n;
  }

  /** Ends the walk, complete or not: from now on the notifier hears every change live. Twice is fine. */
  end(): void {
    this.#position = undefined;
    const state = stateOf(this.notifier);
    if (state.walk !== this) return;
    state.walk = undefined;
    state.told = true;
  }

  /** The same as {@linkcode end}. */
  [Symbol.dispose](): void {
    this.end();
  }
}
