import type { Gpa, Iova } from "@giommu/core";
import { checkInteger, checkU64, IommuError } from "@giommu/core";
import { type CoreMemory, trappedIn } from "@giommu/core/wasm";
import type { RawExtents, RawTceTable } from "@giommu/core/wasm/table";
import type { IommuPerm } from "@giommu/notifiers";

/** Which extents a cursor reads, and how they are cut. */
export interface ExtentCursorOptions {
  /** The first entry, by its number; 0 unless given. */
  readonly first?: number;
  /** The last entry, included; that of the table unless given. */
  readonly last?: number;
  /**
   * Where an extent ends: `"full"` (default) where the next entry has another permission or a target that does not adjoin,
   * `"call"` also where another guest call stored it, `"page"` at every entry.
   */
  readonly runs?: "full" | "call" | "page";
}

/** What a cursor knows of its table. */
export interface CursorTable {
  /** The table in the core; throws if it is gone. */
  live(verb: string): RawTceTable;
  readonly state: { readonly raw: RawTceTable | undefined };
  readonly memory: CoreMemory;
  readonly pageSize: bigint;
  readonly entries: number;
}

/** Makes a cursor; not exported by the package. */
export let newExtentCursor: (table: CursorTable, options: ExtentCursorOptions) => ExtentCursor;

/** How the core names the ways to cut extents. */
const RUNS = { full: 0, call: 1, page: 2 } as const;

/** The first batch is small, as a walk may be left early; each one after it is twice as large, up to what the core gives. */
const FIRST_BATCH = 16;
const LAST_BATCH = 1024;

/** A record has six words of 32 bits: target (two words), first entry, entries, permission, where a walk goes on from it. */
const WORDS = 6;

/** Says that the cursor stands on what {@linkcode ExtentCursor.find} found, which is of no batch. */
const FOUND = -1;

/** What a cursor reads that stands on nothing: zeros. */
const NO_WORDS = new Uint32Array(WORDS);
const NO_TARGETS = new BigUint64Array(1);

/**
 * Reads a table's extents one after the other without making an object of any: the fields are this cursor's, and tell of
 * the extent that it stands on. Made by {@linkcode TceTable.extentCursor}.
 *
 * {@linkcode next} and {@linkcode find} move it; after they answered false, and before they are called, it stands on nothing and
 * all fields are 0. Numbers are exact: only {@linkcode target}, {@linkcode iova} and {@linkcode last} make bigints, and only
 * when they are read.
 *
 * The table may change while a cursor is in use. The fields tell of the extent as it was when the cursor moved there;
 * the next move tells what is mapped then, behind that extent: what was fetched ahead is thrown away.
 *
 * It holds up to 25 KB of the core's memory. Dispose of it, or leave that to the garbage collector.
 *
 * @example Bytes that devices can write to
 * ```ts
 * import { TceTable } from "@giommu/spapr-tce";
 * import { IommuPerm } from "@giommu/notifiers";
 * import { assertEquals } from "@std/assert";
 *
 * using table = new TceTable({ liobn: 0x8000_0000, entries: 0x4_0000 });
 * table.putTce(0x3000n, 0x7f_0003n);
 * table.putTce(0x4000n, 0x7f_1003n);
 * table.putTce(0x9000n, 0x10_0001n);
 *
 * let pages = 0;
 * using extents = table.extentCursor();
 * while (extents.next()) if (extents.perm & IommuPerm.WRITE) pages += extents.pages;
 * assertEquals(pages * 2 ** table.pageShift, 0x2000);
 *
 * assertEquals([extents.find(0x4567n), extents.index, extents.target], [true, 4, 0x7f_1000n]);
 * assertEquals([extents.next(), extents.index, extents.next()], [true, 9, false]);
 * ```
 */
export class ExtentCursor implements Disposable {
  readonly #table: CursorTable;
  /** That of the table, whose core part is looked at in every step. */
  readonly #state: CursorTable["state"];
  readonly #last: number;
  readonly #runs: 0 | 1 | 2;
  #raw: RawExtents | undefined;
  // The fields are read where the core left them, as to copy them takes longer than all the rest of a step. No other call
  // writes there.
  #words: Uint32Array = NO_WORDS;
  #targets: BigUint64Array = NO_TARGETS;
  /** Where the record is that it stands on, in words. */
  #place = 0;
  /** Behind the last record of the batch; 0 if it stands on nothing, or {@linkcode FOUND}. */
  #end = 0;
  /** Where `find` leaves what it found, in words. */
  readonly #foundAt: number;
  readonly #versionAt: number;
  /** The table's version when the batch was made. */
  #version = 0;
  /** The entry from which the next batch begins. */
  #from: number | undefined;
  #size = FIRST_BATCH;

  static {
    newExtentCursor = (table, options) => new ExtentCursor(table, options);
  }

  private constructor(table: CursorTable, { first = 0, last = table.entries - 1, runs = "full" }: ExtentCursorOptions) {
    this.#table = table;
    this.#state = table.state;
    this.#from = checkInteger("first", first);
    this.#last = Math.min(checkInteger("last", last), table.entries - 1);
    if (!Object.hasOwn(RUNS, runs)) {
      throw new RangeError(`Cannot read extents: runs is ${String(runs)}, expected "full", "call" or "page"`);
    }
    this.#runs = RUNS[runs];
    const raw = table.live("read extents of");
    this.#raw = raw.walk();
    this.#versionAt = this.#raw.versionPointer >>> 2;
    this.#foundAt = this.#raw.foundPointer >>> 2;
  }

  /** The number of its first entry: 0 to 2^32 - 2. */
  get index(): number {
    return this.#words[this.#place + 2] ?? this.#word(2);
  }

  /** How many entries it has, each of one page of the table's. */
  get pages(): number {
    return this.#words[this.#place + 3] ?? this.#word(3);
  }

  /** What a device may do there; never `NONE` while it stands on an extent. */
  get perm(): IommuPerm {
    return (this.#words[this.#place + 4] ?? this.#word(4)) as IommuPerm;
  }

  /** The low 32 bits of the address that its first byte points to. */
  get targetLow(): number {
    return this.#words[this.#place] ?? this.#word(0);
  }

  /** The high 32 bits of the address that its first byte points to. */
  get targetHigh(): number {
    return this.#words[this.#place + 1] ?? this.#word(1);
  }

  /** Where its first byte points to. */
  get target(): Gpa {
    return this.#targets[this.#place >> 1] ?? this.#composed();
  }

  /** Its first address, counted from the window's start. */
  get iova(): Iova {
    return BigInt(this.index) * this.#table.pageSize;
  }

  /** Its last address, included, counted from the window's start; -1 while it stands on nothing. */
  get last(): Iova {
    return BigInt(this.index + this.pages) * this.#table.pageSize - 1n;
  }

  /**
   * Moves to the next extent.
   *
   * @returns Whether there is one. Once there is none, there never is again, unless {@linkcode find} is called.
   * @throws {IommuError} `"disposed"` if the table, or this cursor, was disposed; `"core-trapped"` if the core ran out of
   * memory, now or before.
   */
  next(): boolean {
    const next = this.#place + WORDS;
    // The version is read where the core keeps it; of memory that has grown since nothing is read, and no version is that.
    if (
      next < this.#end && this.#words[this.#versionAt] === this.#version && this.#state.raw !== undefined
    ) {
      this.#place = next;
      return true;
    }
    return this.#fetch();
  }

  /**
   * Moves to the page that holds an address, wherever in the table that is. {@linkcode next} goes on behind that page, up to the
   * last entry that the cursor was made for: a run is told from its next page on.
   *
   * This is a translation without an object for its answer.
   *
   * @param iova An address inside the window, counted from the window's start.
   * @returns Whether that page is mapped. An address beyond the window is not.
   * @throws {TypeError | RangeError} If the address is no bigint, or does not fit 64 bits.
   * @throws {IommuError} As {@linkcode next}.
   */
  find(iova: Iova): boolean {
    // In place: once a comparison has seen 2^63 or more, V8 makes it slower, and the one in checkU64 is everybody's.
    if (typeof iova !== "bigint" || BigInt.asUintN(64, iova) !== iova) checkU64("iova", iova);
    const raw = this.#open("translate through");
    let found: boolean;
    try {
      found = raw.find(iova);
    } catch (error) {
      throw trappedIn("translate through a TCE table", error);
    }
    this.#place = this.#foundAt;
    this.#end = FOUND;
    return found;
  }

  /** Frees its batch in the core; twice is fine. The table is not touched. */
  [Symbol.dispose](): void {
    this.#standOnNothing();
    const raw = this.#raw;
    this.#raw = undefined;
    raw?.free();
  }

  /** A word of the record where the memory has grown, which makes views void. */
  #word(at: number): number {
    this.#look();
    return this.#words[this.#place + at] as number;
  }

  /** The target, likewise. */
  #composed(): bigint {
    return BigInt(this.targetHigh) << 32n | BigInt(this.targetLow);
  }

  /** What walks in the core; throws if that or the table is gone. */
  #open(verb: string): RawExtents {
    const raw = this.#raw;
    if (raw !== undefined && this.#state.raw !== undefined) return raw;
    this.#table.live(verb);
    throw new IommuError("disposed", "Cannot read extents of a TCE table: the cursor was disposed");
  }

  /** Makes the views of the core's memory anew. */
  #look(): void {
    const { buffer } = this.#table.memory();
    if (this.#words.buffer === buffer) return;
    this.#words = new Uint32Array(buffer);
    this.#targets = new BigUint64Array(buffer);
  }

  #standOnNothing(): void {
    this.#words = NO_WORDS;
    this.#targets = NO_TARGETS;
    this.#place = 0;
    this.#end = 0;
    this.#from = undefined;
  }

  /** Goes on with a new batch, or in this one if nothing but the memory's place has changed. */
  #fetch(): boolean {
    const raw = this.#open("read extents of");
    if (this.#end !== 0) this.#look();
    if (this.#end === FOUND) {
      this.#from = this.#words[this.#foundAt + 5];
    } else if (this.#end > 0) {
      if (this.#words[this.#versionAt] !== this.#version) {
        this.#from = this.index + this.pages;
      } else if (this.#place + WORDS < this.#end) {
        this.#place += WORDS;
        return true;
      }
    }
    const from = this.#from;
    if (from === undefined || from > this.#last) return this.#over();
    let count: number;
    try {
      count = raw.batch(from, this.#last, this.#runs, this.#size);
    } catch (error) {
      this.#standOnNothing(); // the batch may be gone
      this.#from = from;
      throw trappedIn("read extents of a TCE table", error);
    }
    this.#size = Math.min(this.#size * 2, LAST_BATCH);
    this.#from = raw.cursor;
    if (count === 0) return this.#over();
    this.#look();
    this.#version = this.#words[this.#versionAt] as number;
    this.#place = raw.pointer >>> 2;
    this.#end = this.#place + count * WORDS;
    return true;
  }

  #over(): false {
    this.#standOnNothing();
    return false;
  }
}
