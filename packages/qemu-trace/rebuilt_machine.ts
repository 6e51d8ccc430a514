import type { FeedOptions } from "./log_reader.ts";
import { checkInteger, checkU64, hex, IommuError } from "@giommu/core";
import { ExtentView, put } from "@giommu/core/wasm";
import { memory, RawLogMachine } from "@giommu/core/wasm/log";
import type { TceTable } from "@giommu/spapr-tce";
import { tableFromRaw } from "@giommu/spapr-tce/raw";
import * as read from "./_findings.ts";
import { Followers, mappedRange } from "./_followers.ts";
import type { Agreement, Disagreement, LogHotplug, LogProblem, StateComparison, UsagePeak } from "./finding.ts";
import type { TraceInput } from "./input.ts";
import { countsOf, type LogCounts } from "./log_reader.ts";
import { type MigrationStream, rawStream } from "./migration_stream.ts";
import type { LiveRefusal, LogStop, ReadOptions, StopPoint } from "./log_stop.ts";
import { type BridgeMirror, type BridgeOptions, newBridge, type RebuiltBridge } from "./rebuilt_bridge.ts";
import type { EntryRun, GeometrySource, RebuiltTable, WindowGeometry } from "./rebuilt_table.ts";
import type { MappedRun, TableFollower } from "./table_change.ts";

/** What makes a {@linkcode RebuiltMachine}. */
export interface RebuiltMachineInit {
  /** Geometries of tables that the input does not tell; where it does, the input counts. */
  readonly windows?: readonly WindowGeometry[];
  /** A migration stream: its tables are there from the beginning, and known. Borrowed, for the constructor only. */
  readonly stream?: MigrationStream;
}

/** The core's stops by their numbers. */
const STOPS = ["input", "end", "limit", "hotplug", "unplug", "change", "topology"] as const;
const SOURCES: readonly GeometrySource[] = ["assumed", "default", "given", "told"];
const NOWHERE = 0xffff_ffff_ffff_ffffn;
const NOTHING = new Uint8Array();
const view = new ExtentView(memory);

/**
 * The IOMMU tables of a guest, rebuilt from a QEMU log or a migration stream.
 *
 * Whatever the input does not tell is *unknown*: counted, never guessed, and nothing is mapped there. What a later line
 * reveals (QEMU's translations, what the guest reads back) becomes known, and everything that is known is compared with what
 * later lines say.
 *
 * Reading stops where a person may want to look or to act, see {@linkcode LogStop}. A {@linkcode bridge} shows the tables of a
 * PCI host bridge as an address space that follows the log: what changes in it reaches notifiers as if the guest ran.
 *
 * @example A container that is plugged in after the guest mapped two pages, and kept in step from there
 * ```ts
 * import { RebuiltMachine } from "@giommu/qemu-trace";
 * import { SimulatedHost, verify, VfioContainer } from "@giommu/vfio-sync";
 * import { assertEquals } from "@std/assert";
 *
 * const log = new TextEncoder().encode(
 *   "spapr_iommu_new_table liobn=0x80000000 table=0x7f7bbc6ab010 fd=-1\n" +
 *     "spapr_iommu_pci_put liobn=0x80000000 ioba=0x1000 tce=0x440e003 ret=0\n" +
 *     "spapr_iommu_pci_put liobn=0x80000000 ioba=0x2000 tce=0x440f003 ret=0\n" +
 *     "spapr_iommu_pci_stuff liobn=0x80000000 ioba=0x2000 tcevalue=0x0 npages=1 ret=0\n",
 * );
 * using machine = new RebuiltMachine();
 * machine.stopAt({ line: 3 });
 * assertEquals(machine.feed(log, { last: true }), "limit");
 *
 * using bridge = machine.bridge(0);
 * const host = new SimulatedHost();
 * using container = new VfioContainer({ host });
 * container.attach(bridge.space);
 * assertEquals(Array.from(host.mappings(), ({ iova }) => iova), [{ start: 0x1000n, last: 0x2fffn }]);
 *
 * machine.stopAt({});
 * assertEquals(machine.resume(), "end");
 * assertEquals(Array.from(host.mappings(), ({ iova }) => iova), [{ start: 0x2000n, last: 0x2fffn }]);
 * assertEquals(verify(container).agrees, true);
 * ```
 */
export class RebuiltMachine implements Disposable {
  #raw: RawLogMachine | undefined = new RawLogMachine();
  #rest: Uint8Array = NOTHING;
  #last = false;
  #refusal: LiveRefusal | undefined;
  /** The tables that bridges began to show at a line, and the line: what that line stored was shown with them. */
  #shown: { readonly line: number; readonly liobns: readonly number[] } | undefined;
  readonly #bridges = new Set<BridgeMirror>();
  readonly #followers = new Followers(() => this.tables);

  /**
   * Creates a machine of which nothing is known, or what a migration stream holds.
   *
   * @param init Geometries that the caller knows, a stream.
   * @throws {TypeError} If a field has the wrong type.
   * @throws {RangeError} If a geometry is not one that a table can have.
   */
  constructor(init: RebuiltMachineInit = {}) {
    const raw = this.#live("make");
    for (const { liobn, size, pageShift = 12, busOffset = 0n } of init.windows ?? []) {
      checkInteger("liobn", liobn);
      checkInteger("pageShift", pageShift, 0, 63);
      checkU64("busOffset", busOffset);
      // 2^64 bytes at 0 do not fit 64 bits and have too many pages for any shift but the largest.
      if (!raw.give(liobn, busOffset, pageShift, checkU64("size", size))) {
        throw new RangeError(
          `Cannot use a window of ${hex(size)} bytes at ${hex(busOffset)} for table ${hex(liobn)}: ` +
            `it is not 1 to 2^32 - 1 pages of 2^${pageShift} below 2^64`,
        );
      }
    }
    if (init.stream !== undefined) raw.load(rawStream(init.stream));
  }

  /** What was read so far. */
  get counts(): LogCounts {
    return countsOf(this.#live("count").counts());
  }

  /** Whether any event so far had a timestamp. */
  get timed(): boolean {
    return this.#live("look at").timed;
  }

  /** The tables that exist now, by ascending LIOBN. */
  get tables(): readonly RebuiltTable[] {
    return read.list(this.#live("look at").tables(), (rest) => ({
      liobn: rest.number(),
      serial: rest.number(),
      busOffset: rest.big(),
      pageShift: rest.number(),
      entries: rest.number(),
      mapped: rest.number(),
      unknown: rest.number(),
      inUse: rest.number(),
      geometry: SOURCES[rest.number()] ?? "assumed",
    }));
  }

  /** How often QEMU's translations and the rebuilt tables agreed so far. */
  get translations(): Agreement {
    return read.agreements(this.#live("look at").agreement())[0];
  }

  /** How often what guests read back and the rebuilt tables agreed so far. */
  get reads(): Agreement {
    return read.agreements(this.#live("look at").agreement())[1];
  }

  /** The first ten lines that contradict the rebuilt tables. */
  get disagreements(): readonly Disagreement[] {
    return read.disagreements(this.#live("look at").disagreements());
  }

  /** How many lines could not be taken as they stand. */
  get problemCount(): number {
    return read.problems(this.#live("look at").problems()).count;
  }

  /** The first ten of them. */
  get problems(): readonly LogProblem[] {
    return read.problems(this.#live("look at").problems()).shown;
  }

  /** The log's hotplugs so far. */
  get hotplugs(): readonly LogHotplug[] {
    return read.hotplugs(this.#live("look at").hotplugs());
  }

  /** The peaks of the PCI host bridges so far, by ascending index. */
  get peaks(): readonly UsagePeak[] {
    return read.peaks(this.#live("look at").peaks());
  }

  /** The newest live change that a notifier refused. */
  get refusal(): LiveRefusal | undefined {
    return this.#refusal;
  }

  /**
   * Says where reading stops before the end, instead of where it was to stop before.
   *
   * @param point The first of what it names. `{}` for nowhere.
   * @throws {TypeError} If a field has the wrong type.
   * @throws {RangeError} If a number is out of bounds.
   */
  stopAt(point: StopPoint): void {
    const most = Number.MAX_SAFE_INTEGER;
    this.#live("stop").setLimits(
      point.line === undefined ? NOWHERE : BigInt(checkInteger("line", point.line, 0, most)),
      point.offset === undefined ? NOWHERE : BigInt(checkInteger("offset", point.offset, 0, most)),
      point.time === undefined ? NOWHERE : checkU64("time", point.time),
    );
  }

  /**
   * Reads on with more bytes.
   *
   * @param bytes The next bytes of the log. They must not change before `"input"` or `"end"` is returned.
   * @param options Whether no bytes follow.
   * @returns Why it stopped. After anything but `"input"` and `"end"`, {@linkcode resume} reads on.
   * @throws {TypeError} If the bytes before are not all read.
   * @throws {IommuError} `"disposed"` if the machine was disposed.
   */
  feed(bytes: Uint8Array, { last = false }: FeedOptions = {}): LogStop {
    if (this.#rest.length > 0) {
      throw new TypeError("Cannot feed the machine: the bytes of the last call are not all read");
    }
    this.#rest = bytes;
    this.#last = last;
    return this.#feedRest();
  }

  /**
   * Reads on after a stop.
   *
   * @returns Why it stopped again.
   * @throws {IommuError} `"disposed"` if the machine was disposed.
   */
  resume(): LogStop {
    const stop = this.#run(this.#live("read with").resume());
    return stop === "input" && (this.#rest.length > 0) ? this.#feedRest() : stop;
  }

  /**
   * Reads on in an input until there is a reason to stop.
   *
   * @param input The log. Borrowed.
   * @param options How to hear of the progress.
   * @returns Why it stopped: anything but `"input"`.
   * @throws {IommuError} `"bad-input"` if the input cannot be read; `"disposed"`.
   */
  async read(input: TraceInput, options: ReadOptions = {}): Promise<Exclude<LogStop, "input">> {
    let stop = this.resume();
    while (stop === "input") {
      const bytes = await input.read();
      stop = bytes === undefined ? this.feed(NOTHING, { last: true }) : this.feed(bytes);
      options.onProgress?.();
    }
    return stop;
  }

  /**
   * A handle on a table as it is now. It shows what the machine does to the table, but its notifiers are not told of that:
   * {@linkcode bridge} does so.
   *
   * @param liobn The table.
   * @returns The table, which the caller disposes of; `undefined` if there is none.
   */
  table(liobn: number): TceTable | undefined {
    const raw = this.#live("look at").table(checkInteger("liobn", liobn));
    return raw && tableFromRaw(raw, memory);
  }

  /**
   * The runs of mapped pages of a table, as long as targets adjoin and permissions are equal.
   *
   * @param liobn The table.
   * @returns The runs, in ascending order; none if there is no such table.
   */
  *mappedRuns(liobn: number): Generator<MappedRun, void, void> {
    const raw = this.#live("look at").table(checkInteger("liobn", liobn));
    if (raw === undefined) return;
    try {
      const { busOffset, pageShift } = raw;
      for (let from: number | undefined = 0; from !== undefined; from = raw.cursor) {
        const runs: MappedRun[] = [];
        for (let count = raw.replayBatch(from, 0xffff_ffff, 0, 4096), i = 0; i < count; i++) {
          view.at(raw.pointer, i);
          runs.push({ first: Number((view.iova - busOffset) >> BigInt(pageShift)), ...mappedRange(view) });
        }
        yield* runs;
      }
    } finally {
      raw.free();
    }
  }

  /**
   * The runs of entries of a table whose content the input does not tell.
   *
   * @param liobn The table.
   * @returns The runs, in ascending order; none if there is no such table.
   */
  *unknownRuns(liobn: number): Generator<EntryRun, void, void> {
    checkInteger("liobn", liobn);
    const most = 4096;
    for (let from = 0, more = true; more;) {
      const runs = this.#live("look at").unknownRuns(liobn, from, most);
      more = runs.length === 2 * most;
      for (let i = 0; i + 1 < runs.length; i += 2) {
        const run = { first: runs[i] ?? 0, pages: runs[i + 1] ?? 0 };
        from = run.first + run.pages;
        yield run;
      }
      more &&= from <= 0xffff_ffff;
    }
  }

  /**
   * Shows the tables of a PCI host bridge as an address space that follows the log from now on.
   *
   * @param index The bridge's index: bits 8 to 15 of its LIOBNs.
   * @param options Which of its tables; where targets lie.
   * @returns The bridge, which the caller disposes of.
   * @throws {RangeError} If the index is out of bounds.
   */
  bridge(index: number, options: BridgeOptions = {}): RebuiltBridge {
    const raw = this.#live("look at");
    checkInteger("index", index, 0, 0x7f_ffff);
    const mirror = newBridge(index, options.liobns, options.memory, {
      tables: () => this.tables,
      handle: (liobn) => raw.table(liobn),
      closed: () => {
        this.#bridges.delete(mirror);
        if (![...this.#bridges].some((other) => other.owner === mirror.owner)) this.#raw?.watch(mirror.owner, false);
      },
    });
    this.#bridges.add(mirror);
    raw.watch(mirror.owner, true);
    return mirror.bridge;
  }

  /**
   * Tells of all changes of the tables from now on, of those that are yet to come too.
   *
   * Beside a {@linkcode bridge} a follower hears of what remained: a change that a notifier refused is none.
   *
   * @param follower Who is told. It must not read on.
   * @returns Ends it when disposed.
   *
   * @example How long a page was mapped
   * ```ts
   * import { RebuiltMachine } from "@giommu/qemu-trace";
   * import { assertEquals } from "@std/assert";
   *
   * using machine = new RebuiltMachine();
   * const seen: string[] = [];
   * using _following = machine.follow({
   *   changed({ line, unmaps, maps }) {
   *     for (const { iova } of unmaps()) seen.push(`line ${line}: ${iova.start} gone`);
   *     for (const { iova, target } of maps()) seen.push(`line ${line}: ${iova.start} to ${target}`);
   *   },
   *   replaced: (line) => seen.push(`line ${line}: ${machine.tables.length} table`),
   * });
   * machine.feed(
   *   new TextEncoder().encode(
   *     "spapr_iommu_new_table liobn=0x80000000 table=(nil) fd=-1\n" +
   *       "spapr_iommu_pci_put liobn=0x80000000 ioba=0x1000 tce=0x8003 ret=0\n" +
   *       "spapr_iommu_pci_stuff liobn=0x80000000 ioba=0x2000 tcevalue=0x0 npages=1 ret=0\n",
   *   ),
   *   { last: true },
   * );
   * assertEquals(seen, ["line 1: 1 table", "line 2: 4096 to 32768", "line 3: 4096 gone"]);
   * ```
   */
  follow(follower: TableFollower): Disposable {
    const raw = this.#live("follow");
    const leave = this.#followers.add(follower);
    raw.watchAll(true);
    return {
      [Symbol.dispose]: () => {
        leave();
        if (!this.#followers.any) this.#raw?.watchAll(false);
      },
    };
  }

  /**
   * Compares the tables as they are now with those of a migration stream.
   *
   * @param stream The stream. Borrowed.
   * @returns One comparison per table of the stream, by ascending LIOBN.
   */
  compareState(stream: MigrationStream): StateComparison[] {
    return read.stateComparisons(this.#live("compare").compareState(rawStream(stream)));
  }

  /** Frees the machine and disposes of its bridges; twice is fine. Tables that were handed out stay. */
  dispose(): void {
    const raw = this.#raw;
    this.#followers.clear();
    for (const { bridge } of [...this.#bridges]) bridge[Symbol.dispose]();
    this.#raw = undefined;
    raw?.free();
  }

  /** The same as {@linkcode dispose}. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  #live(verb: string): RawLogMachine {
    if (this.#raw === undefined) throw new IommuError("disposed", `Cannot ${verb} RebuiltMachine: it was disposed`);
    return this.#raw;
  }

  /** Feeds what is left of the newest bytes. */
  #feedRest(): LogStop {
    const raw = this.#live("feed");
    let stop: LogStop;
    do {
      const length = put(memory, raw, this.#rest);
      this.#rest = this.#rest.subarray(length);
      const more = this.#rest.length > 0;
      stop = this.#run(raw.feed(length, this.#last && !more));
    } while (stop === "input" && this.#rest.length > 0);
    return stop;
  }

  /** Carries out what the core stopped for, and reads on until somebody else must know. */
  #run(code: number): LogStop {
    const raw = this.#live("read with");
    for (;; code = raw.resume()) {
      const stop = STOPS[code] ?? "end";
      const refused = stop === "change" ? this.#change(raw) : stop === "topology" ? this.#topology() : undefined;
      if (refused !== undefined) {
        this.#refusal = refused;
        return "refused";
      }
      if (stop !== "change" && stop !== "topology") return stop;
    }
  }

  /** Tells the notifiers of what the newest line changed; takes it back if they refuse. */
  #change(raw: RawLogMachine): LiveRefusal | undefined {
    const liobn = raw.changedLiobn;
    const refused = this.#tellBridges(raw, liobn);
    if (!this.#followers.any) return refused;
    if (refused === undefined) this.#followers.changed(raw, this.counts.lines);
    else this.#followers.replaced(this.counts.lines, true);
    return refused;
  }

  #tellBridges(raw: RawLogMachine, liobn: number): LiveRefusal | undefined {
    const shown = this.#shown;
    this.#shown = undefined;
    if (this.#bridges.size === 0) return undefined;
    if (shown?.liobns.includes(liobn) && shown.line === this.counts.lines) return undefined;
    const unmaps = { pointer: raw.unmapsPointer, length: raw.unmapsLength };
    const maps = { pointer: raw.mapsPointer, length: raw.mapsLength };
    for (const mirror of this.#bridges) {
      const outcome = mirror.change(liobn, unmaps, maps);
      if (outcome === undefined || outcome.status === "done") continue;
      if (outcome.status === "refused") raw.undoChange();
      else raw.clearChanged();
      const handle = raw.table(liobn);
      for (const { start, last } of outcome.lost) handle?.clearAddresses(start, last);
      handle?.free();
      return { line: this.counts.lines, liobn, error: outcome.error };
    }
    return undefined;
  }

  /** Gives the bridges the windows that are there now. */
  #topology(): LiveRefusal | undefined {
    const line = this.counts.lines;
    if (this.#followers.any) this.#followers.replaced(line);
    for (const mirror of this.#bridges) {
      const { added, refused } = mirror.sync();
      if (refused !== undefined) return { line, ...refused };
      this.#shown = { line, liobns: [...this.#shown?.line === line ? this.#shown.liobns : [], ...added] };
    }
    return undefined;
  }
}
