import type { Gpa, Iova } from "@giommu/core";
import type { GuestMemory } from "@giommu/memory-api";
import type { IotlbEntry } from "@giommu/notifiers";
import { Hcall, type HcallResult, type TceTable } from "@giommu/spapr-tce";
import type { QemuLogWriter } from "./log_writer.ts";

/** Where PCI host bridge 0 begins among the names that firmware uses; see `SpaprPhb.buid`. */
const BUID = 0x800_0000_2000_0000n;
/** Entries of the tables that QEMU makes unless it is told otherwise: 1 GiB and 256 MiB in pages of 4 KiB. */
const DEFAULT_ENTRIES = { pci: 0x4_0000, vio: 0x1_0000 } as const;
/** The most entries of a list. */
const LIST_MAX = 512n;

/**
 * A table whose calls are logged as QEMU logs them.
 *
 * Made by {@linkcode logTable}. It answers as the table does; calls that are made on the table itself are not logged.
 *
 * @example A call that fails is logged as QEMU does, with its return code
 * ```ts
 * import { logTable, QemuLogWriter } from "@giommu/qemu-trace";
 * import { Hcall, TceTable } from "@giommu/spapr-tce";
 * import { assertEquals } from "@std/assert";
 *
 * const lines: string[] = [];
 * using table = new TceTable({ liobn: 0x7100_0003, entries: 0x1_0000 });
 * const logged = logTable(table, new QemuLogWriter({ write: (line) => lines.push(line) }));
 * assertEquals(logged.putTce(0x1000_0000n, 3n).ret, Hcall.PARAMETER);
 * assertEquals(lines.at(-1), "spapr_iommu_put liobn=0x71000003 ioba=0x10000000 tce=0x3 ret=-4\n");
 * ```
 */
export class LoggedTable {
  /** The table. */
  readonly table: TceTable;
  readonly #writer: QemuLogWriter;
  readonly #liobn: bigint;
  readonly #pci: boolean;

  /** @ignore Use {@linkcode logTable}. */
  constructor(table: TceTable, writer: QemuLogWriter) {
    this.table = table;
    this.#writer = writer;
    this.#liobn = BigInt(table.liobn);
    this.#pci = table.liobn >= 0x8000_0000;
    this.#describe();
  }

  /**
   * H_PUT_TCE; see `TceTable.putTce`.
   *
   * @param ioba The bus address.
   * @param tce The entry.
   * @returns How it ended.
   */
  putTce(ioba: Iova, tce: bigint): HcallResult {
    const result = this.table.putTce(ioba, tce);
    this.#put(this.#page(ioba), tce, result.ret);
    return result;
  }

  /**
   * H_GET_TCE; see `TceTable.getTce`.
   *
   * @param ioba The bus address.
   * @returns How it ended, and the entry.
   */
  getTce(ioba: Iova): HcallResult {
    const result = this.table.getTce(ioba);
    this.#writer.write({
      event: this.#pci ? "spapr_iommu_pci_get" : "spapr_iommu_get",
      liobn: this.#liobn,
      ioba: this.#page(ioba),
      ret: result.ret,
      tce: result.value ?? 0n,
    });
    return result;
  }

  /**
   * H_PUT_TCE_INDIRECT; see `TceTable.putTceIndirect`. The log shows its last entry only.
   *
   * @param ioba The bus address of the first page.
   * @param list Where the list lies.
   * @param npages How many entries.
   * @param memory The guest's memory.
   * @returns How it ended.
   */
  putTceIndirect(ioba: Iova, list: Gpa, npages: bigint, memory: GuestMemory): HcallResult {
    const result = this.table.putTceIndirect(ioba, list, npages, memory);
    // QEMU logs nothing where it refuses the list itself.
    if (npages > LIST_MAX || (list & 0xfffn) !== 0n) return result;
    const stored = BigInt(result.stored ?? 0);
    // Of a call that failed QEMU shows the entry that it failed at, and the index of the last good one.
    const shown = result.ret === Hcall.SUCCESS ? npages - 1n : stored;
    const last = result.ret === Hcall.SUCCESS ? npages - 1n : stored === 0n ? 0n : stored - 1n;
    this.#writer.write({
      event: this.#pci ? "spapr_iommu_pci_indirect" : "spapr_iommu_indirect",
      liobn: this.#liobn,
      ioba,
      tcelist: list,
      iobaN: Number(last),
      tceN: npages === 0n ? 0n : entryAt(memory, list + 8n * shown),
      ret: result.ret,
    });
    return result;
  }

  /**
   * H_STUFF_TCE; see `TceTable.stuffTce`. The log shows the address after its range.
   *
   * @param ioba The bus address of the first page.
   * @param tce The value of every entry.
   * @param npages How many entries.
   * @returns How it ended.
   */
  stuffTce(ioba: Iova, tce: bigint, npages: bigint): HcallResult {
    const result = this.table.stuffTce(ioba, tce, npages);
    // QEMU logs nothing where there are more entries than the table has.
    if (npages > BigInt(this.table.entries)) return result;
    // What ran off the end stands at the page that failed; what the host refused, after its range: no entry but those of
    // the call is in doubt then.
    const pages = result.ret === Hcall.PARAMETER ? BigInt(result.stored ?? 0) : npages;
    this.#writer.write({
      event: this.#pci ? "spapr_iommu_pci_stuff" : "spapr_iommu_stuff",
      liobn: this.#liobn,
      ioba: BigInt.asUintN(64, this.#page(ioba) + (pages << BigInt(this.table.pageShift))),
      tcevalue: tce,
      npages: Number(npages),
      ret: result.ret,
    });
    return result;
  }

  /**
   * Translates an address as a device's access does; see `TceTable.translate`.
   *
   * @param iova An address inside the window, counted from the window's start.
   * @returns The page that it points to, if it is mapped.
   */
  translate(iova: Iova): IotlbEntry | undefined {
    const entry = this.table.translate(iova);
    const index = iova >> BigInt(this.table.pageShift);
    const inside = index < BigInt(this.table.entries);
    // Beyond the window QEMU answers with a mask of all ones.
    const mask = inside ? this.#pageSize - 1n : 0xffff_ffffn;
    const tce = inside ? this.table.entry(Number(index)) : 0n;
    this.#writer.write({
      event: "spapr_iommu_xlate",
      liobn: this.#liobn,
      address: iova,
      target: entry?.target ?? (inside ? tce & ~(this.#pageSize - 1n) : 0n),
      perm: entry?.perm ?? 0,
      mask: Number(BigInt.asUintN(32, mask)),
    });
    return entry;
  }

  get #pageSize(): bigint {
    return 1n << BigInt(this.table.pageShift);
  }

  /** The page that holds an address: QEMU rounds down before it logs. */
  #page(ioba: Iova): Iova {
    return ioba & ~(this.#pageSize - 1n);
  }

  #put(ioba: Iova, tce: bigint, ret: number): void {
    const event = this.#pci ? "spapr_iommu_pci_put" : "spapr_iommu_put";
    this.#writer.write({ event, liobn: this.#liobn, ioba, tce, ret });
  }

  /** Logs that the table was made, where and how large, and what it holds already. */
  #describe(): void {
    const { busOffset, entries, pageShift, liobn } = this.table;
    this.#writer.write({ event: "spapr_iommu_new_table", liobn: this.#liobn, table: 0n, fd: -1 });
    const usual = this.#pci ? DEFAULT_ENTRIES.pci : DEFAULT_ENTRIES.vio;
    if (this.#pci && (busOffset !== 0n || pageShift !== 12 || entries !== usual || (liobn & 0xff) !== 0)) {
      this.#writer.write({
        event: "spapr_iommu_ddw_create",
        buid: BUID + (this.#liobn >> 8n & 0x7f_ffffn),
        addr: 0n,
        pageSize: this.#pageSize,
        size: BigInt(entries) << BigInt(pageShift),
        start: busOffset,
        liobn: this.#liobn,
      });
    }
    for (let index = 0, left = this.table.stored; left > 0 && index < entries; index++) {
      const tce = this.table.entry(index);
      if (tce === 0n) continue;
      left--;
      this.#put(busOffset + BigInt(index) * this.#pageSize, tce, Hcall.SUCCESS);
    }
  }
}

/** An entry of a list, big endian; what lies outside the memory reads as 0. */
function entryAt(memory: GuestMemory, address: Gpa): bigint {
  const bytes = new Uint8Array(8);
  if (!memory.read(address, bytes)) return 0n;
  return new DataView(bytes.buffer).getBigUint64(0);
}

/**
 * Logs the calls on a table as QEMU does, so that `giommu replay` and `giommu check` can examine a machine in TypeScript.
 *
 * First comes what a reader must know: that the table was made, its geometry where that is not QEMU's default (of a PCI window
 * only: there is no line for other tables), and a call for each entry that it holds already.
 *
 * @param table The table. Borrowed.
 * @param writer Where lines go.
 * @returns What to make the calls through.
 *
 * @example
 * ```ts
 * import { logTable, QemuLogWriter, RebuiltMachine } from "@giommu/qemu-trace";
 * import { TceTable } from "@giommu/spapr-tce";
 * import { assertEquals } from "@std/assert";
 *
 * let log = "";
 * using table = new TceTable({ liobn: 0x8000_0000, entries: 0x4_0000 });
 * const logged = logTable(table, new QemuLogWriter({ write: (line) => log += line }));
 * logged.putTce(0x1000n, 0x440_e003n);
 * logged.translate(0x1234n);
 *
 * using machine = new RebuiltMachine();
 * machine.feed(new TextEncoder().encode(log), { last: true });
 * assertEquals(machine.translations, { agreed: 1, disagreed: 0, learned: 0 });
 * ```
 */
export function logTable(table: TceTable, writer: QemuLogWriter): LoggedTable {
  return new LoggedTable(table, writer);
}
