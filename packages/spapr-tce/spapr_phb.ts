import type { Iova } from "@giommu/core";
import { checkInstance, checkInteger, checkOptions, hex, IommuError } from "@giommu/core";
import { AddressSpace } from "@giommu/memory-api";
import { PHB_INDEX_MAX, WindowBus } from "./_window_bus.ts";
import type { OnHostFailure } from "./hcall.ts";
import { TceTable } from "./tce_table.ts";

/** How many windows the 8 bits of a LIOBN tell apart. */
const WINDOWS = 0x100;

const FIELDS: Readonly<Record<keyof SpaprPhbInit, true>> = {
  index: true,
  dmaWindow: true,
  memory: true,
  entryLimit: true,
  onHostFailure: true,
};
const WINDOW_FIELDS: Readonly<Record<keyof AddWindowInit, true>> = {
  window: true,
  busOffset: true,
  size: true,
  pageShift: true,
};

/** Where a DMA window lies and how large it is. */
export interface DmaWindowInit {
  /** The bus address of its first page; 0 unless given. */
  readonly busOffset?: Iova;
  /** How many bytes; rounded down to whole pages. */
  readonly size: bigint;
  /** The page size as a power of two; 12 (4 KiB) unless given. */
  readonly pageShift?: number;
}

/** What makes a {@linkcode SpaprPhb}. */
export interface SpaprPhbInit {
  /** The bridge's number; its LIOBNs are 0x80000000 | index << 8 | window. */
  readonly index: number;
  /** The default window, number 0; 1 GiB in pages of 4 KiB from bus address 0 unless given; `false` for none. */
  readonly dmaWindow?: DmaWindowInit | false;
  /** System memory: where the guest's entries point to. */
  readonly memory?: AddressSpace;
  /** How many entries of one table may be other than 0; see {@linkcode TceTable}. */
  readonly entryLimit?: number;
  /** What a guest's call answers when the host refuses; `"refuse"` unless given. */
  readonly onHostFailure?: OnHostFailure;
}

/** How a window is added. */
export interface AddWindowInit extends DmaWindowInit {
  /** Its number, the low 8 bits of its LIOBN; the lowest free one unless given. */
  readonly window?: number;
}

/**
 * A PCI host bridge of a pseries machine: a bus whose devices see the guest's memory through DMA windows.
 *
 * Each window is a {@linkcode TceTable}. Where windows overlap, the one with the higher LIOBN hides the other, as in QEMU.
 * The bridge owns its tables and disposes of them.
 *
 * @example A device's access goes through the guest's table
 * ```ts
 * import { AddressSpace, RamRegion } from "@giommu/memory-api";
 * import { IommuPerm } from "@giommu/notifiers";
 * import { SpaprPhb } from "@giommu/spapr-tce";
 * import { assert, assertEquals } from "@std/assert";
 *
 * using memory = new AddressSpace({ name: "memory", root: new RamRegion({ name: "ram", size: 0x1000_0000n }) });
 * using phb = new SpaprPhb({ index: 0, memory });
 * phb.defaultWindow.putTce(0x5000n, 0x80_0003n);
 * const found = phb.space.translate(0x5678n, IommuPerm.WRITE);
 * assert(found.kind === "memory");
 * assertEquals(found.offset, 0x80_0678n);
 * ```
 */
export class SpaprPhb implements Disposable {
  readonly #init: SpaprPhbInit;
  readonly #bus: WindowBus;

  /**
   * Creates a bridge with its default window, all of whose entries are 0.
   *
   * @param init Its number, its window, system memory.
   * @throws {TypeError} If a field has the wrong type, or there is one that is not known.
   * @throws {RangeError} If a field is out of bounds.
   */
  constructor(init: SpaprPhbInit) {
    checkOptions("the options of a PCI host bridge", init, FIELDS);
    if (typeof init.dmaWindow === "object") checkOptions("dmaWindow", init.dmaWindow, WINDOW_FIELDS);
    if (init.memory !== undefined) checkInstance("memory", init.memory, AddressSpace);
    this.#init = init;
    this.#bus = new WindowBus(checkInteger("index", init.index, 0, PHB_INDEX_MAX), init.memory);
    if (init.dmaWindow !== false) {
      this.addWindow({ window: 0, ...(init.dmaWindow === undefined ? { size: 0x4000_0000n } : init.dmaWindow) });
    }
  }

  /** The bridge's number. */
  get index(): number {
    return this.#bus.index;
  }

  /** The bridge's name towards the guest's firmware: 0x800000020000000 + index, as QEMU numbers them. */
  get buid(): bigint {
    return this.#bus.buid;
  }

  /** What devices on the bus see. Disposed of with the bridge. */
  get space(): AddressSpace {
    return this.#bus.space;
  }

  /**
   * The table of the default window, number 0.
   *
   * Reading it throws an `IommuError` `"no-window"` while the bridge has none: it was made without, or it was removed.
   */
  get defaultWindow(): TceTable {
    return this.#bus.defaultWindow;
  }

  /** The windows' tables, by ascending LIOBN: those that lie on the bus right now. */
  get windows(): readonly TceTable[] {
    return this.#bus.windows;
  }

  /**
   * Finds a window's table.
   *
   * @param liobn The LIOBN as a guest names it.
   * @returns The table; `undefined` if no window has this LIOBN.
   */
  table(liobn: number | bigint): TceTable | undefined {
    return this.#bus.table(typeof liobn === "bigint" ? liobn : BigInt(checkInteger("liobn", liobn)));
  }

  /**
   * Adds a window with an empty table.
   *
   * @param init Where it lies, how large it is, its number.
   * @returns The table. The bridge owns it.
   * @throws {TypeError} If a field has the wrong type.
   * @throws {RangeError} If a field is out of bounds.
   * @throws {IommuError} `"duplicate-liobn"` if the number is taken, or all are; `"disposed"`.
   * @throws Whatever a listener of the bus throws, such as a container whose host cannot hold the window. Nothing is left
   * over then, unless the map is changed all the same: where only what the new window hides could not be removed, it is
   * on the bus, and {@linkcode table} finds it.
   */
  addWindow(init: AddWindowInit): TceTable {
    checkOptions("the options of a window", init, WINDOW_FIELDS);
    const window = checkInteger("window", init.window === undefined ? this.#freeWindow() : init.window, 0, WINDOWS - 1);
    const pageShift = checkInteger("pageShift", init.pageShift === undefined ? 12 : init.pageShift, 0, 63);
    if (typeof init.size !== "bigint") {
      throw new TypeError(`Cannot use size: expected a bigint, got ${typeof init.size}`);
    }
    const entries = init.size >> BigInt(pageShift);
    if (init.size < 0n || entries < 1n || entries > 0xffff_ffffn) {
      throw new RangeError(
        `Cannot add a window of ${hex(init.size)} bytes: it is not 1 to 2^32 - 1 pages of 2^${pageShift}`,
      );
    }
    const { entryLimit, onHostFailure } = this.#init;
    const table = new TceTable({
      liobn: this.#bus.liobn(window),
      entries: Number(entries),
      pageShift,
      ...(init.busOffset !== undefined && { busOffset: init.busOffset }),
      ...(entryLimit !== undefined && { entryLimit }),
      ...(onHostFailure !== undefined && { onHostFailure }),
    });
    try {
      this.addTable(table);
    } catch (error) {
      if (table.region.parent === undefined) table[Symbol.dispose]();
      throw error;
    }
    return table;
  }

  /**
   * Adds a window whose table exists already, with the mappings that it has.
   *
   * @param table A table with one of the bridge's LIOBNs. The bridge owns it from now on, unless this throws and the
   * window is not there.
   * @throws {RangeError} If the LIOBN is of another bridge.
   * @throws {IommuError} `"duplicate-liobn"` if there is a window with this LIOBN; `"disposed"` if the bridge or the table
   * was.
   * @throws Whatever a listener of the bus throws. The window is not there then, unless the map is changed all the same,
   * as for {@linkcode addWindow}.
   */
  addTable(table: TceTable): void {
    this.#bus.add(table);
  }

  /**
   * Removes a window and disposes of its table. Listeners of the bus unmap what they had mapped of it.
   *
   * Inside a transaction the table lives on, as the window is back if that is undone. If it is not, the table is disposed
   * of when the next window is added or removed outside of a transaction, and with the bridge at the latest.
   *
   * @param table The table.
   * @returns Whether it was a window of this bridge.
   * @throws {IommuError} `"change-in-progress"` from inside a listener's callback; the window stays.
   * @throws Whatever a listener of the bus throws. If it refused what the window had hidden, the window stays, with its
   * table; if it could not let go of the window, that is gone all the same. {@linkcode windows} tells.
   */
  removeWindow(table: TceTable): boolean {
    return this.#bus.remove(table);
  }

  /**
   * Removes all windows and disposes of their tables and of the bus's address space; twice is fine.
   *
   * It must not happen inside a transaction that is undone later: the tables do not come back.
   *
   * @throws {IommuError} `"change-in-progress"` from inside a listener's callback; nothing is done then.
   * @throws The first error that a listener throws, once all is done.
   */
  dispose(): void {
    this.#bus[Symbol.dispose]();
  }

  /** The same as {@linkcode dispose}. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  /** How messages name the bridge. */
  toString(): string {
    return this.#bus.toString();
  }

  #freeWindow(): number {
    for (let window = 0; window < WINDOWS; window++) {
      if (this.table(this.#bus.liobn(window)) === undefined) return window;
    }
    throw new IommuError("duplicate-liobn", `Cannot add a window to ${this}: all ${WINDOWS} are taken`, {
      remedy: "remove one first",
    });
  }
}
