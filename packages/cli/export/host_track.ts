import type { QemuRecord } from "@giommu/qemu-trace";
import { HostMapCount } from "./host_map_count.ts";
import type { TraceEvents, Track } from "./trace_events.ts";

/** What QEMU asked its host for, and when it logged that. */
interface Asked {
  readonly name: string;
  /** As part of a replay, of a live change, or of a section that came or went. */
  readonly as: "replay" | "live" | "section";
  readonly ts: number;
  readonly args: Readonly<Record<string, string | number>>;
}

/**
 * Microseconds. If the next line comes later than this, it says nothing of how long a change took: QEMU's thread did something
 * else meanwhile. Mapping 256 MiB of small pages, far more than an entry has, takes a type 1 host 25 ms.
 */
export const LONGEST = 100_000;

const PID = 3;
const COUNTER = "host maps";

/**
 * Draws what QEMU asks the host for, a track for each thread, and counts the mappings that this makes.
 *
 * QEMU logs a change before it makes it known to the host, and not how that ended. So a change is drawn up to the next line of
 * its thread if that goes on with the same work, the replay or the guest's call: at most that long it took. Where it does not, the
 * change is a moment.
 */
export class HostTrack {
  readonly #trace: TraceEvents;
  readonly #count = new HostMapCount();
  /** What each thread asked for last. */
  readonly #asked = new Map<number, Asked>();
  /** The sections of IOMMUs by their regions' names. */
  readonly #sections = new Map<string, { readonly start: bigint; readonly last: bigint }>();

  /** Draws on tracks of the trace. */
  constructor(trace: TraceEvents) {
    this.#trace = trace;
  }

  /** How many mappings QEMU asked for that it did not remove. */
  get maps(): number {
    return this.#count.size;
  }

  /**
   * Looks at an event.
   *
   * @param record The event.
   * @param thread Its thread, as the trace has it.
   * @param ts When it was.
   * @param part Whether it is part of a replay or a guest's call.
   */
  event(record: QemuRecord, thread: number, ts: number, part: "replay" | "call" | undefined): void {
    const isNotify = record.event === "vfio_iommu_map_notify";
    const as = part === "replay" ? "replay" : "live";
    const goesOn = record.event.startsWith("iommufd_backend_") ||
      (as === "replay" ? true : isNotify || part === "call");
    this.#done(thread, goesOn ? { ts, as } : undefined);
    const { maps } = this;
    switch (record.event) {
      case "vfio_iommu_map_notify":
        if (record.type === "MAP") this.#count.map(record.start, record.last);
        else this.#count.unmap(record.start, record.last);
        this.#asks(thread, ts, record.type, as, record);
        break;
      case "vfio_listener_region_add_ram":
        this.#count.map(record.start, record.last);
        this.#asks(thread, ts, "MAP (RAM)", "section", record);
        break;
      case "vfio_listener_region_del":
        this.#count.unmap(record.start, record.last);
        this.#asks(thread, ts, "UNMAP (section)", "section", record);
        break;
      case "vfio_listener_region_add_iommu":
        this.#sections.set(record.region, record);
        break;
      case "vfio_listener_region_del_iommu": {
        const section = this.#sections.get(record.region);
        if (section !== undefined) this.#count.unmap(section.start, section.last);
        this.#sections.delete(record.region);
        break;
      }
      case "iommufd_backend_map_dma":
      case "iommufd_backend_unmap_dma":
      case "iommufd_backend_unmap_dma_non_exist": {
        const { event, iova, size, ret, line } = record;
        // The host says how it ended: what it refused is not there, unless it was before (EEXIST).
        if (event === "iommufd_backend_map_dma" && ret !== 0 && ret !== -17) this.#count.unmap(iova, iova + size - 1n);
        this.#trace.instant(this.#track(thread), event, ts, { line, iova: hex(iova), size: hex(size), ret });
        break;
      }
      default:
    }
    if (this.maps !== maps) this.#trace.counter(PID, COUNTER, ts, this.maps);
  }

  /** Draws what is left at the log's end. */
  finish(): void {
    for (const thread of [...this.#asked.keys()]) this.#done(thread, undefined);
  }

  #asks(
    thread: number,
    ts: number,
    name: string,
    as: Asked["as"],
    { line, start, last }: { readonly line: number; readonly start: bigint; readonly last: bigint },
  ): void {
    this.#asked.set(thread, { name, as, ts, args: { line, iova: hex(start), last: hex(last) } });
  }

  /** Draws what a thread asked for last; `next` is what it does now, if that goes on with its work. */
  #done(thread: number, next: { readonly ts: number; readonly as: Asked["as"] } | undefined): void {
    const asked = this.#asked.get(thread);
    if (asked === undefined) return;
    this.#asked.delete(thread);
    const goesOn = next !== undefined && next.as === asked.as && next.ts - asked.ts <= LONGEST;
    const end = goesOn ? next.ts : asked.ts;
    this.#trace.slice(this.#track(thread), asked.name, asked.ts, end, asked.args);
  }

  #track(thread: number): Track {
    const track = { pid: PID, tid: thread };
    this.#trace.nameProcess(PID, "host, as QEMU asks it");
    this.#trace.nameTrack(track, `maps and unmaps (thread ${thread})`);
    return track;
  }
}

function hex(value: bigint): string {
  return `0x${value.toString(16)}`;
}
