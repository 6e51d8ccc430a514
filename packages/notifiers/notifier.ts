import type { AddressRange } from "@giommu/core";
import { checkInteger, checkRange, WHOLE_SPACE } from "@giommu/core";
import type { IotlbEvent } from "./event.ts";
import { formatFlags, IommuNotifierFlag } from "./flag.ts";
import type { NotifierList } from "./notifier_list.ts";
import type { NotifierWalk } from "./walk.ts";

/** What a change is going to tell one notifier: cropped to its range, in order. */
export interface UpcomingEvents {
  /** All UNMAPs. */
  readonly unmaps: readonly IotlbEvent[];
  /** All MAPs, which come after them. */
  readonly maps: readonly IotlbEvent[];
}

/** What an {@linkcode IommuNotifier} listens to, and what it does when told. */
export interface IommuNotifierInit {
  /** Which events it wants; at least one. */
  readonly flags: IommuNotifierFlag;
  /** The addresses **inside the IOMMU region** that it cares for, both ends included; all unless given. */
  readonly range?: AddressRange;
  /** Which translation context of the IOMMU; 0 unless given. */
  readonly iommuIndex?: number;
  /**
   * How a replay cuts what it tells: `"full"` (default) in maximal runs, `"call"` in runs that one guest call stored
   * (entries of unknown history come singly).
   */
  readonly runs?: "full" | "call";
  /**
   * Takes one event. To throw from a MAP refuses it; the throwing call must have left nothing mapped. What is thrown
   * from an UNMAP is a failure that cannot be undone.
   */
  notify(event: IotlbEvent): void;
  /**
   * A change of several events begins; `commit` or `rollback` follows.
   *
   * @param upcoming What it is going to tell, unless somebody refuses before; nothing where a change is taken back.
   */
  begin?(upcoming: UpcomingEvents): void;
  /** The change is complete. To throw refuses it. */
  commit?(): void;
  /**
   * Puts back everything since `begin`. Without this method, giommu tells the inverse events instead.
   *
   * @returns The ranges (inside the IOMMU region) that could not be put back and hold no mapping now.
   */
  rollback?(): readonly AddressRange[] | void;
}

/** What the other files of this package know of a notifier. */
export interface NotifierState {
  readonly init: IommuNotifierInit;
  /** The list that it is registered in. */
  list: NotifierList | undefined;
  /** The walk that is under way for it. */
  walk: NotifierWalk | undefined;
  /** Whether it was told anything since it was registered; while not, it can hold no mapping. */
  told: boolean;
}

/** The state of a notifier; not exported by the package. */
export let stateOf: (notifier: IommuNotifier) => NotifierState;

/**
 * Somebody who wants to know what a guest maps and unmaps: a container that mirrors mappings into a host IOMMU, a
 * device's translation cache.
 *
 * It is told of an event only if flags, IOMMU index and range match; the event is cropped to its range. A notifier is
 * registered in one list at a time.
 *
 * @example
 * ```ts
 * import { IommuNotifier, IommuNotifierFlag, NotifierList, unmapEvent } from "@giommu/notifiers";
 * import { assertEquals } from "@std/assert";
 *
 * const heard: bigint[] = [];
 * const notifier = new IommuNotifier({
 *   flags: IommuNotifierFlag.UNMAP,
 *   range: { start: 0x1000n, last: 0x1fffn },
 *   notify: (event) => heard.push(event.iova.start),
 * });
 * const list = new NotifierList();
 * list.register(notifier);
 * list.notify(unmapEvent({ start: 0n, last: 0xffffn }, 0x1000n));
 * assertEquals(heard, [0x1000n]);
 * ```
 */
export class IommuNotifier {
  /** Which events it wants. */
  readonly flags: IommuNotifierFlag;
  /** The addresses inside the IOMMU region that it cares for, both ends included. */
  readonly range: AddressRange;
  /** Which translation context of the IOMMU. */
  readonly iommuIndex: number;
  /** How a replay cuts what it tells. */
  readonly runs: "full" | "call";
  readonly #state: NotifierState;

  static {
    stateOf = (notifier) => notifier.#state;
  }

  /**
   * Creates a notifier that is registered nowhere yet.
   *
   * @param init What it listens to, and what it does. Its methods are called on this object.
   * @throws {TypeError} If a field has the wrong type.
   * @throws {RangeError} If the flags are none or unknown, or the range is empty.
   */
  constructor(init: IommuNotifierInit) {
    this.flags = checkInteger("flags", init.flags, 0) as IommuNotifierFlag;
    if (this.flags === IommuNotifierFlag.NONE || this.flags > IommuNotifierFlag.ALL) {
      throw new RangeError(`Cannot make a notifier: its flags are ${this.flags || formatFlags(0)}, expected 1 to 7`);
    }
    const range = checkRange("range", init.range ?? WHOLE_SPACE);
    this.range = Object.freeze({ start: range.start, last: range.last });
    this.iommuIndex = checkInteger("iommuIndex", init.iommuIndex ?? 0);
    this.runs = init.runs ?? "full";
    if (this.runs !== "full" && this.runs !== "call") {
      throw new RangeError(`Cannot make a notifier: its runs are ${String(this.runs)}, expected "full" or "call"`);
    }
    if (typeof init.notify !== "function") {
      throw new TypeError(`Cannot make a notifier: notify is ${typeof init.notify}, expected a function`);
    }
    for (const hook of ["begin", "commit", "rollback"] as const) {
      if (init[hook] !== undefined && typeof init[hook] !== "function") {
        throw new TypeError(`Cannot make a notifier: ${hook} is ${typeof init[hook]}, expected a function`);
      }
    }
    this.#state = { init, list: undefined, walk: undefined, told: false };
  }

  /** Whether it is registered in a list now. */
  get registered(): boolean {
    return this.#state.list !== undefined;
  }
}
