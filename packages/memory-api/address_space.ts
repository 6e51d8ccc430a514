import { checkInstance, checkOptions, IommuError, nameOf } from "@giommu/core";
import type { TargetSpace } from "@giommu/notifiers";
import { IommuPerm } from "@giommu/notifiers";
import { bear, checkIdle, isDelivering, whileTelling } from "./_topology.ts";
import { FlatView } from "./flat_view.ts";
import type { MemoryListener } from "./memory_listener.ts";
import { MemoryRegion, regionState } from "./memory_region.ts";
import type { MemorySection } from "./memory_section.ts";
import { translate } from "./translate.ts";
import type { Translation } from "./translation.ts";

/** What makes an {@linkcode AddressSpace}. */
export interface AddressSpaceInit {
  /** What people call it; messages name it. */
  readonly name: string;
  /** What it shows. Borrowed; one region may be the root of several spaces. */
  readonly root: MemoryRegion;
  /** System memory: where the targets of IOMMU entries lie that name no space of their own. */
  readonly memory?: AddressSpace;
}

/** What the other files of this package know of a space. */
export interface SpaceState {
  view: FlatView;
  /** In the order in which they joined; replaced, never altered. */
  listeners: readonly MemoryListener[];
  disposed: boolean;
  /** Which space was made first. */
  readonly order: number;
}

/** The state of a space; not exported by the package. */
export let spaceState: (space: AddressSpace) => SpaceState;

let made = 0;

const FIELDS: Readonly<Record<keyof AddressSpaceInit, true>> = { name: true, root: true, memory: true };

/**
 * A memory map as somebody sees it: the CPU, or the devices on one bus.
 *
 * It shows a root region flat, as disjoint {@linkcode MemorySection}s, and tells its listeners when that changes.
 *
 * @example A bus behind an IOMMU
 * ```ts
 * import { AddressSpace, IommuMemoryRegion, RamRegion } from "@giommu/memory-api";
 * import { IommuPerm } from "@giommu/notifiers";
 * import { assert, assertEquals } from "@std/assert";
 *
 * using memory = new AddressSpace({ name: "memory", root: new RamRegion({ name: "ram", size: 0x10_0000n }) });
 * const iommu = new IommuMemoryRegion({
 *   name: "iommu",
 *   size: 0x10000n,
 *   translate: (iova) => ({
 *     iova: { start: iova & ~0xfffn, last: iova | 0xfffn },
 *     target: 0x8_0000n + (iova & ~0xfffn),
 *     perm: IommuPerm.READ,
 *     pageSize: 0x1000n,
 *   }),
 * });
 * using bus = new AddressSpace({ name: "bus", root: iommu, memory });
 * const found = bus.translate(0x2345n, IommuPerm.READ);
 * assert(found.kind === "memory");
 * assertEquals([found.section.region.name, found.offset, found.length], ["ram", 0x8_2345n, 0xcbbn]);
 * assertEquals(bus.translate(0x2345n, IommuPerm.WRITE).kind, "fault");
 * ```
 */
export class AddressSpace implements TargetSpace, Disposable {
  /** What people call it. */
  readonly name: string;
  /** What it shows. */
  readonly root: MemoryRegion;
  /** System memory: where the targets of IOMMU entries lie that name no space of their own. */
  readonly memory: AddressSpace | undefined;
  readonly #state: SpaceState = { view: new FlatView([]), listeners: [], disposed: false, order: made++ };

  static {
    spaceState = (space) => space.#state;
  }

  /**
   * Creates a space that shows a region from address 0 on. Inside a transaction it is empty until the end of that.
   *
   * @param init Its name, what it shows, and where IOMMU entries point to.
   * @throws {TypeError} If a field has the wrong type, or there is one that is not known.
   */
  constructor(init: AddressSpaceInit) {
    checkOptions("the options of an address space", init, FIELDS);
    const { name, root, memory } = init;
    if (typeof name !== "string") throw new TypeError(`Cannot make an address space: its name is ${nameOf(name)}`);
    checkInstance(`the root of address space ${name}`, root, MemoryRegion);
    if (memory !== undefined) checkInstance(`the memory of address space ${name}`, memory, AddressSpace);
    this.name = name;
    this.root = root;
    this.memory = memory;
    regionState(root).spaces.add(this);
    bear(this);
  }

  /**
   * What it shows since the last transaction that ended.
   *
   * @returns A view that never changes.
   * @throws {IommuError} `"disposed"` if the space was disposed.
   */
  flatView(): FlatView {
    return this.#live("look at").view;
  }

  /** The sections of {@linkcode flatView}. */
  get sections(): readonly MemorySection[] {
    return this.flatView().sections;
  }

  /** The listeners, in the order in which they joined. */
  get listeners(): readonly MemoryListener[] {
    return this.#state.listeners;
  }

  /**
   * Adds a listener, and tells it of all sections that are there: `begin`, `regionAdd` for each, ascending, `commit`.
   *
   * @param listener Borrowed until it is removed.
   * @throws {TypeError} If it listens to this space already.
   * @throws {IommuError} `"disposed"` if the space was disposed; `"change-in-progress"` from inside a listener's callback.
   * @throws Whatever the listener throws. It is told back in reverse what it had accepted, and is not added.
   */
  addListener(listener: MemoryListener): void {
    const state = this.#live("listen to");
    checkIdle(`add a listener to ${this.name}`);
    if (state.listeners.includes(listener)) {
      throw new TypeError(`Cannot add a listener to ${this.name}: it listens already`);
    }
    whileTelling(() => this.#tellPresent(listener, state.view.sections));
    state.listeners = [...state.listeners, listener];
  }

  /**
   * Removes a listener, and tells it that all sections went away: `begin`, `regionDel` for each, descending, `commit`.
   *
   * From inside a listener's callback nothing is told: the listener hears nothing more at all.
   *
   * @param listener The listener.
   * @returns Whether it listened to this space.
   * @throws The first error that the listener throws, once all is told; it is removed all the same.
   */
  removeListener(listener: MemoryListener): boolean {
    const state = this.#state;
    if (!state.listeners.includes(listener)) return false;
    state.listeners = state.listeners.filter((other) => other !== listener);
    if (isDelivering()) return true;
    const errors = whileTelling(() => tellGone(listener, state.view.sections));
    if (errors.length > 0) throw errors[0];
    return true;
  }

  /**
   * Finds where an access ends, through as many IOMMUs as there are.
   *
   * @param address An address of this space.
   * @param access What the device is about to do; `NONE` asks for whatever is allowed.
   * @param length How many bytes it wants; as many as possible unless given.
   * @returns Where the access ends and how far, or why it cannot.
   * @throws {TypeError} If an argument, or what an IOMMU answers, has the wrong type.
   * @throws {RangeError} If an argument or an answer is out of bounds.
   * @throws {IommuError} `"disposed"` if the space was disposed.
   */
  translate(address: bigint, access: IommuPerm = IommuPerm.NONE, length?: bigint): Translation {
    this.#live("translate by");
    return translate(this, address, access, length);
  }

  /**
   * Removes all listeners, which are told that all sections went away, and lets go of the root. Twice is fine.
   *
   * @throws The first error that a listener throws, once all is done.
   */
  dispose(): void {
    const state = this.#state;
    if (state.disposed) return;
    checkIdle(`dispose ${this.name}`);
    const errors: unknown[] = [];
    for (const listener of state.listeners.toReversed()) {
      try {
        this.removeListener(listener);
      } catch (error) {
        errors.push(error);
      }
    }
    state.disposed = true;
    regionState(this.root).spaces.delete(this);
    state.view = new FlatView([]);
    if (errors.length > 0) throw errors[0];
  }

  /** The same as {@linkcode dispose}. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  #live(verb: string): SpaceState {
    if (this.#state.disposed) {
      throw new IommuError("disposed", `Cannot ${verb} address space ${this.name}: it was disposed`);
    }
    return this.#state;
  }

  #tellPresent(listener: MemoryListener, sections: readonly MemorySection[]): void {
    const told: MemorySection[] = [];
    let began = false;
    try {
      listener.begin?.();
      began = true;
      for (const section of sections) {
        listener.regionAdd?.(section);
        told.push(section);
      }
      listener.commit?.();
    } catch (error) {
      if (began) this.#tellBack(listener, told, error);
      throw error;
    }
  }

  #tellBack(listener: MemoryListener, told: readonly MemorySection[], reason: unknown): void {
    const errors = tellGone(listener, told, false);
    if (errors.length === 0) return;
    throw new IommuError("rollback-failed", `Cannot take back what a refusing listener of ${this.name} was told`, {
      cause: new AggregateError([reason, ...errors]),
    });
  }
}

function tellGone(listener: MemoryListener, sections: readonly MemorySection[], begins = true): unknown[] {
  const errors: unknown[] = [];
  const attempt = (act: () => void) => {
    try {
      act();
    } catch (error) {
      errors.push(error);
    }
  };
  if (begins) attempt(() => listener.begin?.());
  for (const section of sections.toReversed()) attempt(() => listener.regionDel?.(section));
  attempt(() => listener.commit?.());
  return errors;
}
