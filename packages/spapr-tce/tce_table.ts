import type { Gpa, Iova } from "@giommu/core";
import { checkInteger, checkU64, hex, IommuError } from "@giommu/core";
import { type CoreMemory, ExtentView, trappedIn } from "@giommu/core/wasm";
import { memory, RawTceTable } from "@giommu/core/wasm/table";
import type { GuestMemory } from "@giommu/memory-api";
import { IommuMemoryRegion } from "@giommu/memory-api";
import type { ChangeOutcome, IommuChange, IotlbEntry } from "@giommu/notifiers";
import { IommuNotifierFlag } from "@giommu/notifiers";
import { readExtent, readMaps, readUnmaps, type Window } from "./_batch.ts";
import { tellPageByPage } from "./_change.ts";
import { readList } from "./_list.ts";
import { callCore } from "./_trap.ts";
import { walk } from "./_walk.ts";
import { type ExtentCursor, type ExtentCursorOptions, newExtentCursor } from "./extent_cursor.ts";
import type { HcallResult, OnHostFailure } from "./hcall.ts";
import { Hcall } from "./hcall.ts";

/** How many entries of a table may be other than 0 unless its maker says so: 2^20, enough for 4 GiB in pages of 4 KiB. */
export const DEFAULT_ENTRY_LIMIT: number = 1 << 20;

/**
 * The most entries that the limit of a table may allow: 2^25.
 *
 * The core has 4 GiB for all tables of a process. One call that changes n entries in place needs n times 8.3 bytes for
 * the entries, 8 to undo them, and 24 each for what vanished and what appeared. The lists double as they grow, and what
 * they outgrow may be lost to others, so the three of them take up to twice as much: 120 bytes in all, 3.75 GiB for 2^25.
 */
export const MAX_ENTRY_LIMIT: number = 1 << 25;

/** What makes a {@linkcode TceTable}. */
export interface TceTableInit {
  /** The logical I/O bus number by which the guest names the table. */
  readonly liobn: number;
  /** How many entries it has: 1 to 2^32 - 1. */
  readonly entries: number;
  /** The bus address of entry 0; 0 unless given. */
  readonly busOffset?: Iova;
  /** The page size of an entry, as a power of two: 0 to 63; 12 (4 KiB) unless given. */
  readonly pageShift?: number;
  /**
   * How many entries may be other than 0, as a guest chooses how many it stores: at most {@linkcode MAX_ENTRY_LIMIT};
   * {@linkcode DEFAULT_ENTRY_LIMIT} unless given.
   */
  readonly entryLimit?: number;
  /** What a guest's call answers when the host refuses; `"refuse"` unless given. */
  readonly onHostFailure?: OnHostFailure;
}

/** What the other files of this package know of a table. */
export interface TceTableState {
  raw: RawTceTable | undefined;
  /** The memory of the module that holds the table. */
  readonly memory: CoreMemory;
  readonly window: Window;
}

/** The state of a table; not exported by the package. */
export let tableState: (table: TceTable) => TceTableState;

/** Raw tables that exist already, for the constructor that is about to be called with this init. */
const adopted = new WeakMap<TceTableInit, { readonly raw: RawTceTable; readonly memory: CoreMemory }>();

/** The cursor over the memory of the module that makes tables here; nothing is kept on it between two calls. */
const ownView = new ExtentView(memory);

/** Makes a table of one that exists in a module of the core; not exported by the package. */
export function adopt(raw: RawTceTable, from: CoreMemory, onHostFailure: OnHostFailure): TceTable {
  const { liobn, entries, busOffset, pageShift, entryLimit } = raw;
  const init: TceTableInit = { liobn, entries, busOffset, pageShift, entryLimit, onHostFailure };
  adopted.set(init, { raw, memory: from });
  return new TceTable(init);
}

/** What calls answer when the host refuses, if not what was asked for is neither. */
export function checkOnHostFailure(asked: OnHostFailure = "refuse"): OnHostFailure {
  if (asked === "refuse" || asked === "qemu") return asked;
  throw new RangeError(`Cannot use onHostFailure: it is ${String(asked)}, not "refuse" or "qemu"`);
}

/** Extents of one call that are worth giving their memory back to the core. */
const LARGE = 1 << 16;

const DONE: HcallResult = Object.freeze({ ret: Hcall.SUCCESS });
const NO_ENTRIES: readonly IotlbEntry[] = Object.freeze([]);

/**
 * A guest's sPAPR translation table: what one LIOBN's addresses point to, written by hypercalls.
 *
 * The table itself lives in the core and is sparse: an empty one of any size costs next to nothing, and a replay costs
 * what is mapped. Its {@linkcode region} is what an address space shows and what notifiers register at; the addresses
 * inside the region count from the window's start, while hypercalls name bus addresses.
 *
 * Calls answer as QEMU's do (`hw/ppc/spapr_iommu.c`): values are never validated, all 64 bits are kept, addresses are
 * rounded down to the page, and a call that runs off the end keeps what it stored. Where the host refuses what a call
 * maps, the call has no effect.
 *
 * @example A guest maps two pages; whoever listens is told of one run
 * ```ts
 * import { Hcall, TceTable } from "@giommu/spapr-tce";
 * import { registerNotifier } from "@giommu/memory-api";
 * import { IommuNotifier, IommuNotifierFlag } from "@giommu/notifiers";
 * import { assertEquals } from "@std/assert";
 *
 * using table = new TceTable({ liobn: 0x8000_0000, entries: 0x4_0000 });
 * assertEquals(table.putTce(0x3000n, 0x7f_0003n).ret, Hcall.SUCCESS);
 * assertEquals(table.putTce(0x4000n, 0x7f_1003n).ret, Hcall.SUCCESS);
 *
 * const runs: [bigint, bigint][] = [];
 * const notifier = new IommuNotifier({
 *   flags: IommuNotifierFlag.IOTLB_EVENTS,
 *   notify: (event) => runs.push([event.iova.start, event.iova.last]),
 * });
 * registerNotifier(table.region, notifier, { replay: true });
 * assertEquals(runs, [[0x3000n, 0x4fffn]]);
 * ```
 */
export class TceTable implements Disposable {
  /** The logical I/O bus number by which the guest names the table. */
  readonly liobn: number;
  /** The bus address of entry 0. */
  readonly busOffset: Iova;
  /** The page size of an entry, as a power of two. */
  readonly pageShift: number;
  /** How many entries it has. */
  readonly entries: number;
  /** How many entries may be other than 0; of a machine's table, those of all the machine's tables together. */
  readonly entryLimit: number;
  /** What a guest's call answers when the host refuses. */
  readonly onHostFailure: OnHostFailure;
  /** The window as a memory region, for an address space to show and notifiers to register at. */
  readonly region: IommuMemoryRegion;
  readonly #state: TceTableState;
  #quiet = false;

  static {
    tableState = (table) => table.#state;
  }

  /**
   * Creates an empty table.
   *
   * @param init Where it lies, how large it is, what it may hold.
   * @throws {TypeError} If a field has the wrong type.
   * @throws {RangeError} If a field is out of bounds, or the window would pass the top of the 64-bit space.
   * @throws {IommuError} `"core-trapped"` if the core ran out of memory, now or before.
   */
  constructor(init: TceTableInit) {
    this.liobn = checkInteger("liobn", init.liobn);
    this.busOffset = checkU64("busOffset", init.busOffset === undefined ? 0n : init.busOffset);
    this.pageShift = checkInteger("pageShift", init.pageShift === undefined ? 12 : init.pageShift, 0, 63);
    this.entries = checkInteger("entries", init.entries, 1);
    const existing = adopted.get(init);
    const entryLimit = init.entryLimit === undefined ? DEFAULT_ENTRY_LIMIT : init.entryLimit;
    this.entryLimit = checkInteger("entryLimit", entryLimit, 0, existing ? undefined : MAX_ENTRY_LIMIT);
    this.onHostFailure = checkOnHostFailure(init.onHostFailure);
    const from = existing?.memory ?? memory;
    const view = from === memory ? ownView : new ExtentView(from);
    const window: Window = { busOffset: this.busOffset, pageSize: 1n << BigInt(this.pageShift), view };
    this.#state = { raw: existing?.raw ?? this.#create(), memory: from, window };
    this.region = this.#newRegion();
  }

  #create(): RawTceTable {
    try {
      return new RawTceTable(this.liobn, this.busOffset, this.pageShift, this.entries, this.entryLimit);
    } catch (error) {
      if (error instanceof IommuError) throw trappedIn(`make ${this}`, error);
      throw new RangeError(`Cannot make ${this}: ${error instanceof Error ? error.message : error}`, { cause: error });
    }
  }

  #newRegion(): IommuMemoryRegion {
    const { window } = this.#state;
    return new IommuMemoryRegion({
      name: `tce-iommu-${this.liobn.toString(16).padStart(8, "0")}`,
      size: BigInt(this.entries) << BigInt(this.pageShift),
      translate: (iova) => {
        const raw = this.#live("translate through");
        return raw.translate(iova) ? readExtent(raw.singlePointer, 0, window) : undefined;
      },
      minPageSize: () => window.pageSize,
      flagsChanged: (_old, next) => {
        if (next & IommuNotifierFlag.DEVIOTLB_UNMAP) {
          throw new Error("an sPAPR TCE table does not tell devices to forget translations");
        }
      },
      replay: ({ range, runs }) => walk(() => this.#live("replay"), window, range, runs),
    });
  }

  /** Whether it was disposed. */
  get disposed(): boolean {
    return this.#state.raw === undefined;
  }

  /** How many entries are not 0, whatever they say. */
  get stored(): number {
    return this.#live("count entries of").stored;
  }

  /** How many entries map a page. */
  get mapped(): number {
    return this.#live("count entries of").mapped;
  }

  /** How many runs of neighbouring entries with the same permission and adjoining targets there are. */
  get extents(): number {
    return this.#live("count runs of").countRuns(0);
  }

  /**
   * Reads one entry.
   *
   * @param index The entry's number.
   * @returns All 64 bits as the guest stored them; 0 beyond the end.
   * @throws {RangeError} If the index is no whole number from 0 to 2^32 - 1.
   */
  entry(index: number): bigint {
    return this.#live("read").get(checkInteger("index", index));
  }

  /**
   * Translates one address.
   *
   * @param iova An address inside the window, counted from the window's start.
   * @returns The page that it points to; `undefined` if nothing is mapped there, or it lies beyond the window.
   */
  translate(iova: Iova): IotlbEntry | undefined {
    return this.region.translate(iova);
  }

  /**
   * A cursor over the table's extents: runs of neighbouring entries with the same permission and adjoining targets.
   *
   * For who reads many: a replay makes an object of each, a cursor none. It tells nobody of anything; to mirror a table
   * while its guest changes it, replay it to a notifier.
   *
   * @param options Which entries, and where extents are cut; all in maximal runs unless given.
   * @returns The cursor, which stands on nothing yet. The caller disposes of it, or lets the garbage collector.
   * @throws {TypeError} If an option has the wrong type.
   * @throws {RangeError} If an option is out of bounds.
   * @throws {IommuError} `"disposed"`; `"core-trapped"` if the core ran out of memory before.
   *
   * @example
   * ```ts
   * import { TceTable } from "@giommu/spapr-tce";
   * import { assertEquals } from "@std/assert";
   *
   * using table = new TceTable({ liobn: 0x8000_0000, entries: 0x4_0000 });
   * table.stuffTce(0x2000n, 0x55_5003n, 3n); // three pages that point to one
   * const seen: number[] = [];
   * using extents = table.extentCursor({ first: 3 });
   * while (extents.next()) seen.push(extents.index, extents.pages);
   * assertEquals(seen, [3, 1, 4, 1]);
   * ```
   */
  extentCursor(options: ExtentCursorOptions = {}): ExtentCursor {
    const { memory, window: { pageSize } } = this.#state;
    const live = (verb: string) => this.#live(verb);
    return newExtentCursor({ live, state: this.#state, memory, pageSize, entries: this.entries }, options);
  }

  /**
   * H_PUT_TCE: the guest stores one entry.
   *
   * @param ioba The bus address of the page, rounded down to it.
   * @param tce The entry: bit 0 lets devices read, bit 1 lets them write.
   * @returns How it ended.
   * @throws {RangeError} If an argument does not fit 64 bits.
   * @throws {IommuError} `"disposed"`, also if a notifier that refuses disposes of the table; `"change-in-progress"` from
   * inside a notifier of this table; `"core-trapped"` if the core ran out of memory, now or before.
   */
  putTce(ioba: Iova, tce: bigint): HcallResult {
    // In place: once a comparison has seen 2^63 or more, V8 makes it slower, and the one in checkU64 is everybody's.
    if (typeof ioba !== "bigint" || BigInt.asUintN(64, ioba) !== ioba) checkU64("ioba", ioba);
    if (typeof tce !== "bigint" || BigInt.asUintN(64, tce) !== tce) checkU64("tce", tce);
    const raw = this.#writable();
    let ret: number;
    try { // by hand, as this is called for every page
      ret = raw.putTce(ioba, tce);
    } catch (error) {
      throw trappedIn(`write ${this}`, error);
    }
    if (ret === Hcall.SUCCESS) return DONE;
    return ret > 0 ? this.#tellEntry(raw, ret) : this.#failed(ret as Hcall);
  }

  /**
   * H_GET_TCE: the guest reads one entry.
   *
   * @param ioba The bus address of the page, rounded down to it.
   * @returns How it ended, and the entry with all its bits.
   * @throws {RangeError} If the address does not fit 64 bits.
   */
  getTce(ioba: Iova): HcallResult {
    const value = this.#live("read").getTce(checkU64("ioba", ioba));
    return value === undefined ? { ret: Hcall.PARAMETER } : { ret: Hcall.SUCCESS, value };
  }

  /**
   * H_PUT_TCE_INDIRECT: the guest stores up to 512 entries from a list in its memory.
   *
   * @param ioba The bus address of the first page, rounded down to it.
   * @param list Where the list lies, on a 4 KiB boundary: big-endian 64-bit entries. What lies outside `memory` reads as 0, as
   * in QEMU.
   * @param npages How many entries: 1 to 512.
   * @param memory The guest's memory. It is read before anything else is done.
   * @returns How it ended.
   * @throws {RangeError} If an argument does not fit 64 bits.
   * @throws {IommuError} `"disposed"`, also if `memory` or a notifier that refuses disposes of the table;
   * `"change-in-progress"` from inside a notifier of this table; `"core-trapped"` if the core ran out of memory, now or
   * before.
   */
  putTceIndirect(ioba: Iova, list: Gpa, npages: bigint, memory: GuestMemory): HcallResult {
    checkU64("ioba", ioba);
    checkU64("list", list);
    checkU64("npages", npages);
    this.#idle();
    const count = RawTceTable.checkIndirect(list, npages);
    if (count < 0) return { ret: count as Hcall, stored: 0 };
    const words = readList(memory, list, count);
    // Only now, as reading may have run anything: a notifier may have joined, or the table be gone.
    const raw = this.#writable();
    const ret = this.#core(() => raw.putTceIndirect(ioba, words)) as Hcall;
    return this.#tell(raw, ret, raw.lastStored);
  }

  /**
   * H_STUFF_TCE: the guest stores one value in consecutive entries.
   *
   * @param ioba The bus address of the first page, rounded down to it.
   * @param tce The value of every entry; 0 clears them.
   * @param npages How many entries, at most as many as the table has.
   * @returns How it ended.
   * @throws {RangeError} If an argument does not fit 64 bits.
   * @throws {IommuError} `"disposed"`, also if a notifier that refuses disposes of the table; `"change-in-progress"` from
   * inside a notifier of this table; `"core-trapped"` if the core ran out of memory, now or before.
   */
  stuffTce(ioba: Iova, tce: bigint, npages: bigint): HcallResult {
    checkU64("ioba", ioba);
    checkU64("tce", tce);
    checkU64("npages", npages);
    const raw = this.#writable();
    const ret = this.#core(() => raw.stuffTce(ioba, tce, npages)) as Hcall;
    return this.#tell(raw, ret, raw.lastStored);
  }

  /**
   * Clears all entries and tells the notifiers, as a reset of the device that owns the table does.
   *
   * @returns How it ended: {@linkcode Hcall.HARDWARE} and an error if a mapping could not be removed from the host.
   * @throws {IommuError} `"disposed"`, also if a notifier that refuses disposes of the table; `"change-in-progress"` from
   * inside a notifier of this table; `"core-trapped"` if the core ran out of memory, now or before.
   */
  reset(): HcallResult {
    return this.stuffTce(this.busOffset, 0n, BigInt(this.entries));
  }

  /** Frees the table in the core; twice is fine. Its region translates nothing from then on: remove it first. */
  dispose(): void {
    const { raw } = this.#state;
    this.#state.raw = undefined;
    raw?.free();
  }

  /** The same as {@linkcode dispose}. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  /** How messages name the table. */
  toString(): string {
    return `TCE table ${hex(this.liobn)}`;
  }

  #live(verb: string): RawTceTable {
    const { raw } = this.#state;
    if (raw === undefined) throw new IommuError("disposed", `Cannot ${verb} ${this}: the table was disposed`);
    return raw;
  }

  /** Makes a call into the core that may need memory. */
  #core<T>(call: () => T): T {
    return callCore(call, () => `write ${this}`);
  }

  /** The raw table, if nobody is being told of a change. */
  #idle(): RawTceTable {
    const raw = this.#live("write");
    if (this.region.notifiers.changing) {
      throw new IommuError(
        "change-in-progress",
        `Cannot write ${this}: its notifiers are being told of another change`,
        { remedy: "a notifier must not alter the IOMMU that it listens to" },
      );
    }
    return raw;
  }

  /** The raw table, ready to record what a call changes if anybody listens. No callback may run before that call. */
  #writable(): RawTceTable {
    const raw = this.#idle();
    const quiet = this.region.notifiers.size === 0;
    if (quiet !== this.#quiet) {
      raw.setQuiet(quiet);
      this.#quiet = quiet;
    }
    return raw;
  }

  /** What a call answers that stored nothing. */
  #failed(ret: Hcall, stored?: number): HcallResult {
    const failed: HcallResult = stored === undefined ? { ret } : { ret, stored };
    return ret === Hcall.NOT_ENOUGH_RESOURCES ? { ...failed, error: this.#full() } : failed;
  }

  /** Tells the notifiers of the only entry that a call changed; `told` is the core's answer: 1 an UNMAP, 2 a MAP, 3 both. */
  #tellEntry(raw: RawTceTable, told: number): HcallResult {
    const { window } = this.#state;
    const { singlePointer } = raw;
    const unmaps = told & 1 ? [readExtent(singlePointer, 0, window)] : NO_ENTRIES;
    const maps = told & 2 ? [readExtent(singlePointer, 1, window)] : NO_ENTRIES;
    return this.#deliver({ unmaps, maps }, DONE);
  }

  /** Tells the notifiers what a call changed. `raw` is of use until they are told. */
  #tell(raw: RawTceTable, ret: Hcall, stored: number): HcallResult {
    if (ret === Hcall.NOT_ENOUGH_RESOURCES) return this.#failed(ret, stored);
    const { window } = this.#state;
    const done: HcallResult = { ret, stored };
    if (this.#quiet) return done;
    const change: IommuChange = this.#core(() => ({ unmaps: readUnmaps(raw, window), maps: readMaps(raw, window) }));
    const extents = change.unmaps.length + change.maps.length;
    if (extents === 0) return done;
    if (extents > LARGE) this.#core(() => raw.shrink());
    return this.#deliver(change, done);
  }

  /** Tells the notifiers of a change that is not empty, and makes it undone if they refuse. */
  #deliver(change: IommuChange, done: HcallResult): HcallResult {
    if (this.onHostFailure === "qemu") {
      const error = tellPageByPage(this.region, change);
      return error === undefined ? done : { ...done, error };
    }
    const outcome = this.region.change(change);
    if (outcome.status === "done") return done;
    this.#takeBack(outcome);
    const failed = outcome.status === "refused" || change.maps.length > 0 ? Hcall.NOT_ENOUGH_RESOURCES : Hcall.HARDWARE;
    return {
      ret: failed,
      ...(done.stored !== undefined && { stored: 0 }),
      ...(outcome.error !== undefined && { error: outcome.error }),
    };
  }

  #takeBack(outcome: ChangeOutcome): void {
    // Asked for anew: a notifier may have disposed of the table.
    const raw = this.#live("take back a write of");
    this.#core(() => {
      if (outcome.status === "refused") raw.undo();
      else raw.clearChanged();
      for (const { start, last } of outcome.lost) raw.clearAddresses(start, last);
    });
  }

  #full(): IommuError {
    const { stored, sharedStored } = this.#live("count entries of");
    const held = sharedStored === undefined
      ? `it holds ${stored}`
      : `the tables of its machine hold ${sharedStored}, itself ${stored},`;
    return new IommuError(
      "entry-limit",
      `Cannot store entries in ${this}: ${held} of ${this.entryLimit} entries that may be other than 0`,
      { remedy: "raise entryLimit" },
    );
  }
}
