import { checkInstance, checkInteger, IommuError } from "@giommu/core";
import { ChangeDelivery, DONE, partsOf, text } from "./_change_delivery.ts";
import { appendAudible } from "./_pieces.ts";
import { deliverSingle } from "./_single_delivery.ts";
import type { ChangeOutcome, IommuChange } from "./change.ts";
import { checkEntry } from "./entry.ts";
import type { IotlbEvent } from "./event.ts";
import { checkedEvent } from "./event.ts";
import { formatFlags, IommuNotifierFlag } from "./flag.ts";
import { IommuNotifier, stateOf } from "./notifier.ts";
import { IommuPerm } from "./perm.ts";
import type { RegisteredNotifiers } from "./registered_notifiers.ts";

/** What the owner of a {@linkcode NotifierList} may decide. */
export interface NotifierListInit {
  /**
   * The union of all notifiers' flags is about to change. To throw while a notifier joins refuses it, for the reason
   * thrown. A notifier that leaves cannot be held back.
   */
  flagsChanged?(old: IommuNotifierFlag, next: IommuNotifierFlag): void;
}

/**
 * The notifiers of one IOMMU: who is told, and in which order.
 *
 * For who writes an IOMMU without `@giommu/memory-api`. An `IommuMemoryRegion` of that has its own list: notifiers join by
 * `registerNotifier`, which can replay to them as well.
 *
 * The newest notifier is told first, as in QEMU. A notifier that callbacks register meanwhile is not told of what is under way;
 * one that they unregister hears nothing more.
 *
 * @example A change in place is an UNMAP, then a MAP
 * ```ts
 * import { IommuNotifier, IommuNotifierFlag, IommuPerm, NotifierList } from "@giommu/notifiers";
 * import { assertEquals } from "@std/assert";
 *
 * const list = new NotifierList();
 * const heard: [number, bigint][] = [];
 * list.register(new IommuNotifier({
 *   flags: IommuNotifierFlag.IOTLB_EVENTS,
 *   notify: (event) => heard.push([event.type, event.target]),
 * }));
 * const page = { iova: { start: 0x1000n, last: 0x1fffn }, perm: IommuPerm.READ_WRITE, pageSize: 0x1000n };
 * const outcome = list.change({ unmaps: [{ ...page, target: 0xa000n }], maps: [{ ...page, target: 0xb000n }] });
 * assertEquals(outcome.status, "done");
 * assertEquals(heard, [[IommuNotifierFlag.UNMAP, 0n], [IommuNotifierFlag.MAP, 0xb000n]]);
 * ```
 */
export class NotifierList implements RegisteredNotifiers {
  readonly #init: NotifierListInit;
  #notifiers: readonly IommuNotifier[] = []; // newest first; replaced, never altered, as a delivery may be reading it
  #flags: IommuNotifierFlag = IommuNotifierFlag.NONE;
  #changing = false;

  /**
   * Creates an empty list.
   *
   * @param init What the owner may decide.
   */
  constructor(init: NotifierListInit = {}) {
    this.#init = init;
  }

  /** The union of all notifiers' flags. An owner without listeners for MAP need not prepare MAP events. */
  get flags(): IommuNotifierFlag {
    return this.#flags;
  }

  /** How many notifiers are registered. */
  get size(): number {
    return this.#notifiers.length;
  }

  /** Whether a change is being told right now. */
  get changing(): boolean {
    return this.#changing;
  }

  /** The registered notifiers, the newest first. */
  [Symbol.iterator](): Iterator<IommuNotifier> {
    return this.#notifiers[Symbol.iterator]();
  }

  /** Whether a notifier is registered here. */
  has(notifier: IommuNotifier): boolean {
    return stateOf(notifier).list === this;
  }

  /**
   * Registers a notifier; it is told before the older ones.
   *
   * @param notifier Borrowed until it is unregistered.
   * @throws {TypeError} If it is no `IommuNotifier`, or registered already, here or in another list.
   * @throws {IommuError} `"notifier-refused"` if the owner refuses its flags, with the owner's reason as `cause`. It is not
   * registered then.
   */
  register(notifier: IommuNotifier): void {
    const state = stateOf(checkInstance("notifier", notifier, IommuNotifier));
    if (state.list !== undefined) throw new TypeError("Cannot register a notifier: it is registered already");
    const next = (this.#flags | notifier.flags) as IommuNotifierFlag;
    if (next !== this.#flags) {
      try {
        this.#init.flagsChanged?.(this.#flags, next);
      } catch (error) {
        throw new IommuError(
          "notifier-refused",
          `Cannot register a notifier for ${formatFlags(notifier.flags)}: ${text(error)}`,
          {
            range: notifier.range,
            ...(error instanceof IommuError && error.remedy !== undefined && { remedy: error.remedy }),
            cause: error,
          },
        );
      }
    }
    state.list = this;
    state.told = false;
    this.#notifiers = [notifier, ...this.#notifiers];
    this.#flags = union(this.#notifiers);
  }

  /**
   * Unregisters a notifier. From inside a callback it takes effect at once: the notifier hears nothing more.
   *
   * @param notifier The notifier.
   * @returns Whether it was registered here.
   * @throws Whatever the owner's `flagsChanged` throws; the notifier is unregistered all the same.
   */
  unregister(notifier: IommuNotifier): boolean {
    const state = stateOf(notifier);
    if (state.list !== this) return false;
    state.list = undefined;
    this.#notifiers = this.#notifiers.filter((other) => other !== notifier);
    const old = this.#flags;
    this.#flags = union(this.#notifiers);
    if (old !== this.#flags) this.#init.flagsChanged?.(old, this.#flags);
    return true;
  }

  /**
   * Tells every matching notifier of one event, cropped to what each can hear.
   *
   * Nothing is undone if one throws; use {@linkcode change} for what a guest changed and a notifier may refuse.
   *
   * @param event The event; copied unless frozen.
   * @param iommuIndex Which translation context it is about; 0 unless given.
   * @throws {TypeError} If a field has the wrong type.
   * @throws {RangeError} If a field is out of bounds, or an UNMAP carries a permission.
   * @throws The first error that a notifier threw, after all others were told.
   */
  notify(event: IotlbEvent, iommuIndex = 0): void {
    const whole = checkedEvent(event);
    checkInteger("iommuIndex", iommuIndex);
    const parts: { notifier: IommuNotifier; events: IotlbEvent[] }[] = [];
    for (const notifier of this.#notifiers) {
      if (notifier.iommuIndex !== iommuIndex) continue;
      const { walk } = stateOf(notifier);
      if (event.type !== IommuNotifierFlag.DEVIOTLB_UNMAP) walk?.changed(event.iova);
      if ((notifier.flags & event.type) === 0) continue;
      const events: IotlbEvent[] = [];
      // A device's cache is no part of what a walk tells: its events are never withheld.
      const ahead = event.type === IommuNotifierFlag.DEVIOTLB_UNMAP ? undefined : walk?.ahead;
      appendAudible(events, whole, { range: notifier.range, ahead });
      parts.push({ notifier, events });
    }
    const errors: unknown[] = [];
    for (const { notifier, events } of parts) {
      const state = stateOf(notifier);
      for (const part of events) {
        if (state.list !== this) break;
        state.told = true;
        try {
          state.init.notify(part);
        } catch (error) {
          errors.push(error);
        }
      }
    }
    if (errors.length > 0) throw errors[0];
  }

  /**
   * Tells every matching notifier of what one guest call changed; all or nothing.
   *
   * The IOMMU holds the new entries already when it calls this. Each notifier gets `begin`; then each, the newest first,
   * all UNMAPs (one per run of adjoining entries); then each all MAPs; then `commit`. If a MAP is refused, whoever was
   * told is put back, those told last first: by `rollback` where a notifier has it, else by inverse events. The caller
   * then puts its entries back.
   *
   * @param change What vanished and what appeared.
   * @param iommuIndex Which translation context it is about; 0 unless given.
   * @returns How it went. What a notifier throws is in there and never passes on.
   * @throws {TypeError} If a field has the wrong type.
   * @throws {RangeError} If a field is out of bounds or an entry has no permission.
   * @throws {IommuError} `"change-in-progress"` from inside the delivery of another change of this list.
   */
  change(change: IommuChange, iommuIndex = 0): ChangeOutcome {
    if (this.#changing) {
      throw new IommuError(
        "change-in-progress",
        "Cannot change an IOMMU's entries: its notifiers are being told of another change",
        { remedy: "a notifier must not alter the IOMMU that it listens to" },
      );
    }
    if (this.#notifiers.length === 0) return DONE;
    checkInteger("iommuIndex", iommuIndex);
    for (const entry of change.unmaps) checkMapped("unmaps entry", entry);
    for (const entry of change.maps) checkMapped("maps entry", entry);
    this.#changing = true;
    try {
      const [only] = this.#notifiers;
      const outcome = this.#notifiers.length === 1 && only !== undefined && deliverSingle(only, change, iommuIndex);
      return outcome || new ChangeDelivery(change, partsOf(this.#notifiers, change, iommuIndex)).deliver();
    } finally {
      this.#changing = false;
    }
  }
}

function union(notifiers: readonly IommuNotifier[]): IommuNotifierFlag {
  let flags = 0;
  for (const notifier of notifiers) flags |= notifier.flags;
  return flags as IommuNotifierFlag;
}

function checkMapped(name: string, entry: IommuChange["maps"][number]): void {
  if (checkEntry(name, entry).perm === IommuPerm.NONE) {
    throw new RangeError(`Cannot tell of ${name}: it has no permission`);
  }
}
