import type { Iova } from "@giommu/core";
import { checkInteger, hex, IommuError } from "@giommu/core";
import { AddressSpace, IoRegion, MemoryRegion, transaction } from "@giommu/memory-api";
import type { OnHostFailure } from "./hcall.ts";
import { TceTable } from "./tce_table.ts";

/** The most PCI host bridges whose LIOBNs fit their 32 bits. */
const INDEX_MAX = 0x7f_ffff;

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
  #windows: readonly TceTable[] = [];
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
    if (init.dmaWindow !== false) this.addWindow({ window: 0, ...(init.dmaWindow ?? { size: 0x4000_0000n }) });
    this.space = new AddressSpace(`pci@${this.buid.toString(16)}`, this.#root, {
      ...(init.memory !== undefined && { memory: init.memory }),
    });
  }

  /** The windows' tables, by ascending LIOBN. */
  get windows(): readonly TceTable[] {
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
    return this.#windows.find((table) => BigInt(table.liobn) === wanted);
  }

  /**
   * Adds a window with an empty table.
   *
   * @param init Where it lies, how large it is, its number.
   * @returns The table. The bridge owns it.
   * @throws {TypeError} If a field has the wrong type.
   * @throws {RangeError} If a field is out of bounds.
   * @throws {IommuError} `"duplicate-liobn"` if the number is taken.
   * @throws Whatever a listener of the bus throws, such as a container whose host cannot hold the window. Nothing is left
   * over then.
   */
  addWindow(init: AddWindowInit): TceTable {
    const window = checkInteger("window", init.window ?? this.#freeWindow(), 0, 0xff);
    const pageShift = checkInteger("pageShift", init.pageShift ?? 12, 0, 63);
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
      table[Symbol.dispose]();
      throw error;
    }
    return table;
  }

  /**
   * Adds a window whose table exists already, with the mappings that it has.
   *
   * @param table A table with one of the bridge's LIOBNs. The bridge owns it from now on, unless this throws.
   * @throws {RangeError} If the LIOBN is of another bridge.
   * @throws {IommuError} `"duplicate-liobn"` if there is a window with this LIOBN; `"disposed"`.
   * @throws Whatever a listener of the bus throws. The window is not there then.
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
    // The higher LIOBN hides the lower one.
    this.#root.addSubregion(table.busOffset, table.region, { priority: window });
    this.#windows = [...this.#windows, table].sort((a, b) => a.liobn - b.liobn);
  }

  /**
   * Removes a window and disposes of its table. Listeners of the bus unmap what they had mapped of it.
   *
   * @param table The table.
   * @returns Whether it was a window of this bridge.
   * @throws Whatever a listener of the bus throws; the window is gone all the same.
   */
  removeWindow(table: TceTable): boolean {
    if (!this.#windows.includes(table)) return false;
    this.#windows = this.#windows.filter((other) => other !== table);
    try {
      this.#root.removeSubregion(table.region);
    } finally {
      table[Symbol.dispose]();
    }
    return true;
  }

  /** Removes all windows and disposes of their tables and of the bus's address space; twice is fine. */
  [Symbol.dispose](): void {
    if (this.#disposed) return;
    this.#disposed = true;
    const tables = this.#windows;
    this.#windows = [];
    try {
      transaction(() => tables.forEach((table) => this.#root.removeSubregion(table.region)));
    } finally {
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
    let window = 0;
    while (this.table(this.#liobn(window)) !== undefined) window++;
    return window;
  }
}
