import { hex, IommuError } from "@giommu/core";
import type { Subregion } from "@giommu/memory-api";
import { AddressSpace, IoRegion, MemoryRegion, transaction } from "@giommu/memory-api";
import type { TceTable } from "./tce_table.ts";

/** The most PCI host bridges whose LIOBNs fit their 32 bits. */
export const PHB_INDEX_MAX = 0x7f_ffff;

/** Where QEMU's bridges take message-signalled interrupts (`SPAPR_PCI_MSI_WINDOW`, include/hw/pci-host/spapr.h). */
const MSI_START = 0x400_0000_0000n;
const MSI_SIZE = 0x1000n;

/**
 * The bus behind a PCI host bridge: tables that are shown as windows.
 *
 * It owns the tables and disposes of them. Where windows overlap, the one with the higher LIOBN hides the other.
 */
export class WindowBus implements Disposable {
  readonly index: number;
  /** The bridge's name towards the guest's firmware, as QEMU numbers them. */
  readonly buid: bigint;
  /** What devices on the bus see. */
  readonly space: AddressSpace;
  readonly #root: MemoryRegion;
  /** All tables that the bus owns, by their regions. Those whose region lies in the root are its windows. */
  readonly #tables = new Map<MemoryRegion, TceTable>();
  /** The windows as they were when last asked for, and the subregions that they were made of. */
  #windows: readonly TceTable[] = [];
  #subregions: readonly Subregion[] = [];
  #disposed = false;

  /** A bus without windows. */
  constructor(index: number, memory: AddressSpace | undefined) {
    this.index = index;
    this.buid = 0x800_0000_2000_0000n + BigInt(index);
    const name = `pci@${this.buid.toString(16)}`;
    this.#root = new MemoryRegion({ name, size: 1n << 64n });
    this.#root.addSubregion(MSI_START, new IoRegion({ name: "msi", size: MSI_SIZE }), { priority: -1 });
    this.space = new AddressSpace(name, this.#root, memory === undefined ? {} : { memory });
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

  /** The table of the window with this LIOBN. */
  table(liobn: bigint): TceTable | undefined {
    return this.windows.find((table) => BigInt(table.liobn) === liobn);
  }

  /** The LIOBN of one of its windows. */
  liobn(window: number): number {
    return (0x8000_0000 | this.index << 8 | window) >>> 0;
  }

  /** Shows a table as a window, and owns it from then on, unless this throws and the window is not there. */
  add(table: TceTable): void {
    if (this.#disposed) throw new IommuError("disposed", `Cannot add a window to ${this}: the bridge was disposed`);
    const window = table.liobn & 0xff;
    if (table.liobn !== this.liobn(window)) {
      throw new RangeError(`Cannot add ${table} to ${this}: its LIOBNs begin at ${hex(this.liobn(0))}`);
    }
    if (this.table(BigInt(table.liobn)) !== undefined) {
      throw new IommuError("duplicate-liobn", `Cannot add ${table} to ${this}: there is a window with this LIOBN`);
    }
    if (table.disposed) {
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
    this.sweep();
  }

  /** Takes a window away; returns whether there was one. Its table is disposed of once no transaction can put it back. */
  remove(table: TceTable): boolean {
    if (!this.windows.includes(table)) return false;
    try {
      this.#root.removeSubregion(table.region);
    } finally {
      this.sweep();
    }
    return true;
  }

  /** Disposes of the tables that are no windows, unless a transaction may still put them back. No delivery is under way. */
  sweep(): void {
    if (this.#tables.size === this.windows.length || inTransaction()) return;
    for (const [region, table] of this.#tables) {
      if (region.parent === this.#root) continue;
      this.#tables.delete(region);
      table[Symbol.dispose]();
    }
  }

  /** Removes all windows, and disposes of their tables and of the space; twice is fine. */
  [Symbol.dispose](): void {
    if (this.#disposed) return;
    transaction(() => {}); // throws from inside a listener's callback
    this.#disposed = true;
    const tables = [...this.#tables.values()];
    try {
      transaction(() => this.windows.forEach((table) => this.#root.removeSubregion(table.region)));
    } finally {
      this.#tables.clear();
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
}

/** Whether a transaction is open: a space that is made inside one is empty until its end. */
export function inTransaction(): boolean {
  const probe = new AddressSpace("probe", new IoRegion({ name: "probe", size: 1n }));
  const isEmpty = probe.sections.length === 0;
  probe[Symbol.dispose]();
  return isEmpty;
}
