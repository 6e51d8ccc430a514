import type { QemuRecord, RebuiltMachine, TableChange } from "@giommu/qemu-trace";
import { CallTrack } from "./call_track.ts";
import { HostTrack } from "./host_track.ts";
import type { LogVisitor } from "./log_walk.ts";
import type { ExportOutput } from "./output.ts";
import { ReplayTrack } from "./replay_track.ts";
import { TraceClock } from "./trace_clock.ts";
import { TraceEvents } from "./trace_events.ts";

/** So many threads get tracks of their own; those beyond share one. A real log has as many as QEMU, a damaged one any number. */
const THREADS = 256;
/** The track of threads that are not told, or too many. */
const NO_THREAD = 0;
const GUEST = 1;

/** Draws a log as a trace: the guest's calls, QEMU's replays and what it asks its host for, with what is mapped as counters. */
export class PerfettoTrace implements LogVisitor {
  readonly #machine: RebuiltMachine;
  readonly #trace: TraceEvents;
  readonly #clock = new TraceClock();
  readonly #calls: CallTrack;
  readonly #replays: ReplayTrack;
  readonly #host: HostTrack;
  readonly #threads = new Set<number>();
  readonly #mapped = new Map<number, number>();
  #places = new Map<bigint, { readonly busOffset: bigint; readonly pageShift: number }>();
  #untimed = 0;

  /**
   * Creates a visitor.
   *
   * @param output Where the trace goes.
   * @param machine The machine that the log is read into. Borrowed.
   */
  constructor(output: ExportOutput, machine: RebuiltMachine) {
    this.#machine = machine;
    this.#trace = new TraceEvents(output);
    this.#calls = new CallTrack(this.#trace);
    this.#replays = new ReplayTrack(this.#trace);
    this.#host = new HostTrack(this.#trace);
  }

  /** How many events the trace has. */
  get rows(): number {
    return this.#trace.events;
  }

  /** Whether any event had a timestamp. */
  get isTimed(): boolean {
    return this.#clock.first !== undefined;
  }

  replaced(record: QemuRecord | undefined): void {
    if (record !== undefined) this.#clock.at(record.time);
    const { tables } = this.#machine;
    this.#places = new Map(tables.map((table) => [BigInt(table.liobn), table]));
    const now = new Map(tables.map(({ liobn, mapped }) => [liobn, mapped]));
    for (const liobn of new Set([...this.#mapped.keys(), ...now.keys()])) this.#count(liobn, now.get(liobn) ?? 0);
  }

  event(record: QemuRecord): void {
    const ts = this.#clock.at(record.time);
    if (!this.isTimed) {
      this.#untimed++; // there is no place for it yet
      return;
    }
    this.#trace.settle(ts);
    const thread = this.#threadOf(record);
    const isReplay = this.#replays.event(record, ts);
    const isNotify = record.event === "vfio_iommu_map_notify";
    if (isNotify && !isReplay) this.#calls.tells(thread, ts);
    const isCall = !isNotify && this.#calls.event(record, thread, ts, this.#places);
    this.#host.event(record, thread, ts, isReplay ? "replay" : isCall ? "call" : undefined);
    if (record.event === "spapr_iommu_post_load" || record.event === "spapr_iommu_pre_save") {
      const track = { pid: GUEST, tid: thread };
      this.#trace.instant(track, record.event, ts, { line: record.line, liobn: `0x${record.liobn.toString(16)}` });
    }
  }

  changed({ liobn, unmaps, maps }: TableChange): void {
    let mapped = this.#mapped.get(liobn) ?? 0;
    for (const { pages } of unmaps()) mapped -= pages;
    for (const { pages } of maps()) mapped += pages;
    this.#count(liobn, mapped);
  }

  /** Ends what is under way, and the trace: after that it is complete. */
  end(): void {
    this.#replays.close();
    this.#host.finish();
    this.#trace.finish({
      source: "a log of QEMU, exported by giommu",
      first_timestamp_us: this.#clock.first?.toString() ?? null,
      clock_steps: this.#clock.steps,
      events_before_the_first_timestamp: this.#untimed,
    });
  }

  #count(liobn: number, mapped: number): void {
    if ((this.#mapped.get(liobn) ?? -1) === mapped) return;
    this.#mapped.set(liobn, mapped);
    if (!this.isTimed) return; // the first change with a time tells it
    this.#trace.nameProcess(GUEST, "guest");
    this.#trace.counter(GUEST, `mapped pages of 0x${liobn.toString(16)}`, this.#clock.now, mapped);
  }

  #threadOf({ thread = NO_THREAD }: QemuRecord): number {
    if (this.#threads.size < THREADS) this.#threads.add(thread);
    return this.#threads.has(thread) ? thread : NO_THREAD;
  }
}
