import type { Iova } from "@giommu/core";
import { checkInteger, hex, IommuError } from "@giommu/core";
import type { Subregion } from "@giommu/memory-api";
import { AddressSpace, IoRegion, MemoryRegion, transaction } from "@giommu/memory-api";
import type { OnHostFailure } from "./hcall.ts";
import { tableState, TceTable } from "./tce_table.ts";

/** The most PCI host bridges whose LIOBNs fit their 32 bits. */
const INDEX_MAX = 0x7f_ffff;

/** How many windows the 8 bits of a LIOBN tell apart. */
const WINDOWS = 0x100;

/** Where QEMU's bridges take message-signalled interrupts (`SPAPR_PCI_MSI_WINDOW`, include/hw/pci-host/spapr.h). */
const MSI_START = 0x400_0000_0000n;
const MSI_SIZE = 0x1000n;

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
 * using memory = new AddressSpace("memory", new RamRegion({ name: "ram", size: 0x1000_0000n }));
 * using phb = new SpaprPhb({ index: 0, memory });
 * phb.table(0x8000_0000)?.putTce(0x5000n, 0x80_0003n);
 * const found = phb.space.translate(0x5678n, IommuPerm.WRITE);
 * assert(found.kind === "memory");
 * assertEquals(found.offset, 0x80_0678n);
 * ```
 */
export class SpaprPhb implements Disposable {
  /** The bridge's number. */
  readonly index: number;
  /** The bridge's name towards the guest's firmware: 0x800000020000000 + index, as QEMU numbers them. */
  readonly buid: bigint;
  /** What devices on the bus see. Disposed of with the bridge. */
  readonly space: AddressSpace;
  readonly #root: MemoryRegion;
  readonly #init: SpaprPhbInit;
  /** All tables that the bridge owns, by their regions. Those whose region lies in the root are its windows. */
  readonly #tables = new Map<MemoryRegion, TceTable>();
  /** Tables of removed windows that a transaction may still put back. */
  readonly #removed = new Set<TceTable>();
  /** The windows as they were when last asked for, and the subregions that they were made of. */
  #windows: readonly TceTable[] = [];
  #subregions: readonly Subregion[] = [];
  #disposed = false;

  /**
   * Creates a bridge with its default window, all of whose entries are 0.
   *
   * @param init Its number, its window, system memory.
   * @throws {TypeError} If a field has the wrong type.
   * @throws {RangeError} If a field is out of bounds.
   */
  constructor(init: SpaprPhbInit) {
    this.index = checkInteger("index", init.index, 0, INDEX_MAX);
    this.buid = 0x800_0000_2000_0000n + BigInt(this.index);
    this.#init = init;
    this.#root = new MemoryRegion({ name: `pci@${this.buid.toString(16)}`, size: 1n << 64n });
    this.#root.addSubregion(MSI_START, new IoRegion({ name: "msi", size: MSI_SIZE }), { priority: -1 });
    if (init.dmaWindow !== false) {
      this.addWindow({ window: 0, ...(init.dmaWindow === undefined ? { size: 0x4000_0000n } : init.dmaWindow) });
    }
    this.space = new AddressSpace(`pci@${this.buid.toString(16)}`, this.#root, {
      ...(init.memory !== undefined && { memory: init.memory }),
    });
  }

  /** The windows' tables, by ascending LIOBN: those that lie on the bus right now. */
  get windows(): readonly TceTable[] {
    const { subregions } = this.#root;
    if (subregions !== this.#subregions) {
      const found = subregions.map(({ region }) => this.#tables.get(region)).filter((table) => table !== undefined);
      this.#windows = found.sort((a, b) => a.liobn - b.liobn);
      this.#subregions = subregions;
    }
    return this.#windows;
  }

  /**
   * Finds a window's table.
   *
   * @param liobn The LIOBN as a guest names it.
   * @returns The table; `undefined` if no window has this LIOBN.
   */
  table(liobn: number | bigint): TceTable | undefined {
    const wanted = typeof liobn === "bigint" ? liobn : BigInt(checkInteger("liobn", liobn));
    return this.windows.find((table) => BigInt(table.liobn) === wanted);
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
      liobn: this.#liobn(window),
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
    this.#live("add a window to");
    const window = table.liobn & 0xff;
    if (table.liobn !== this.#liobn(window)) {
      throw new RangeError(`Cannot add ${table} to ${this}: its LIOBNs begin at ${hex(this.#liobn(0))}`);
    }
    if (this.table(table.liobn) !== undefined) {
      throw new IommuError("duplicate-liobn", `Cannot add ${table} to ${this}: there is a window with this LIOBN`);
    }
    if (tableState(table).raw === undefined) {
      throw new IommuError("disposed", `Cannot add ${table} to ${this}: the table was disposed`);
    }
    const owned = this.#tables.has(table.region);
    this.#tables.set(table.region, table);
    try {
      // The higher LIOBN hides the lower one.
      this.#root.addSubregion(table.busOffset, table.region, { priority: window });
    } finally {
      if (table.region.parent !== this.#root && !owned) this.#tables.delete(table.region);
    }
    this.#disposeRemoved();
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
    if (!this.windows.includes(table)) return false;
    try {
      this.#root.removeSubregion(table.region);
    } finally {
      if (table.region.parent !== this.#root) {
        this.#removed.add(table);
        this.#disposeRemoved();
      }
    }
    return true;
  }

  /**
   * Removes all windows and disposes of their tables and of the bus's address space; twice is fine.
   *
   * It must not happen inside a transaction that is undone later: the tables do not come back.
   *
   * @throws {IommuError} `"change-in-progress"` from inside a listener's callback; nothing is done then.
   * @throws The first error that a listener throws, once all is done.
   */
  [Symbol.dispose](): void {
    if (this.#disposed) return;
    transaction(() => {}); // throws from inside a listener's callback
    this.#disposed = true;
    const tables = [...this.#tables.values()];
    try {
      transaction(() => this.windows.forEach((table) => this.#root.removeSubregion(table.region)));
    } finally {
      this.#tables.clear();
      this.#removed.clear();
      this.#windows = [];
      this.#subregions = this.#root.subregions;
      for (const table of tables) table[Symbol.dispose]();
      this.space[Symbol.dispose]();
    }
  }

  /** How messages name the bridge. */
  toString(): string {
    return `PCI host bridge ${this.index}`;
  }

  #live(verb: string): void {
    if (this.#disposed) throw new IommuError("disposed", `Cannot ${verb} ${this}: the bridge was disposed`);
  }

  #liobn(window: number): number {
    return (0x8000_0000 | this.index << 8 | window) >>> 0;
  }

  #freeWindow(): number {
    for (let window = 0; window < WINDOWS; window++) {
      if (this.table(this.#liobn(window)) === undefined) return window;
    }
    throw new IommuError("duplicate-liobn", `Cannot add a window to ${this}: all ${WINDOWS} are taken`, {
      remedy: "remove one first",
    });
  }

  /** Disposes of the tables of removed windows, unless a transaction may still put them back. No delivery is under way. */
  #disposeRemoved(): void {
    if (this.#removed.size === 0 || inTransaction()) return;
    for (const table of this.#removed) {
      if (table.region.parent !== undefined) continue; // the transaction was undone, or the window added again
      this.#tables.delete(table.region);
      table[Symbol.dispose]();
    }
    this.#removed.clear();
  }
}

/** Whether a transaction is open: a space that is made inside one is empty until its end. */
function inTransaction(): boolean {
  using probe = new AddressSpace("probe", new IoRegion({ name: "probe", size: 1n }));
  return probe.sections.length === 0;
}
