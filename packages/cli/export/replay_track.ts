import type { QemuRecord } from "@giommu/qemu-trace";
import { LONGEST } from "./host_track.ts";
import type { TraceEvents, Track } from "./trace_events.ts";

/** A region whose mappings QEMU shows to a newcomer. */
interface Replay {
  readonly region: string;
  readonly liobn: bigint | undefined;
  readonly thread: number | undefined;
  /** Where the region begins on the bus: translations are logged relative to it. */
  readonly start: bigint;
  /** The highest address that was shown. */
  cursor: bigint;
  /** When it was. */
  until: number;
  maps: number;
  translations: number;
}

const TRACK: Track = { pid: 2, tid: 1 };

/**
 * Draws hotplugs and, inside of them, the replay of each region that the newcomer got.
 *
 * A replay begins with `vfio_listener_region_add_iommu` and goes on as long as the same thread shows ascending addresses of that
 * region. Nothing in the log says that it is over: it ended with the last address.
 */
export class ReplayTrack {
  readonly #trace: TraceEvents;
  /** Regions that containers have. */
  readonly #regions = new Map<string, number>();
  #replay: Replay | undefined;
  #inHotplug = false;
  #until = 0;

  /** Draws on a track of the trace. */
  constructor(trace: TraceEvents) {
    this.#trace = trace;
  }

  /**
   * Looks at an event.
   *
   * @param record The event.
   * @param ts When it was.
   * @returns Whether it belongs to a replay.
   */
  event(record: QemuRecord, ts: number): boolean {
    switch (record.event) {
      case "vfio_listener_region_add_iommu":
        this.#added(record.region, record.start, record.thread, record.line, ts);
        return true;
      case "vfio_listener_region_del_iommu":
        this.close();
        this.#deleted(record.region, record.line, ts);
        return false;
      case "vfio_iommu_map_notify": {
        const replay = this.#replay;
        if (replay === undefined || record.type !== "MAP" || !shows(replay, record.thread, record.start, ts)) {
          return false;
        }
        replay.maps++;
        this.#shown(replay, record.start, ts);
        return true;
      }
      case "spapr_iommu_xlate": {
        const replay = this.#replay;
        const iova = replay === undefined ? 0n : replay.start + record.address;
        if (replay === undefined || replay.liobn !== record.liobn) return false;
        if (!shows(replay, record.thread, iova, ts)) return false;
        replay.translations++;
        this.#shown(replay, iova, ts);
        return true;
      }
      case "spapr_iommu_new_table":
        return this.#replay !== undefined; // the table moves to memory of its own for the newcomer
      default:
        if (record.event.startsWith("spapr_iommu_")) this.close();
        return false;
    }
  }

  /** Ends what is under way: something else happens, or the log ends. */
  close(): void {
    this.#closeReplay();
    if (this.#inHotplug) this.#trace.end(TRACK, this.#until, {});
    this.#inHotplug = false;
  }

  #added(region: string, start: bigint, thread: number | undefined, line: number, ts: number): void {
    this.#trace.nameProcess(TRACK.pid, "VFIO in QEMU");
    this.#trace.nameTrack(TRACK, "hotplugs and replays");
    this.#closeReplay();
    if (this.#regions.size === 0) {
      this.#trace.begin(TRACK, "hotplug", ts, { line });
      this.#inHotplug = true;
    }
    this.#regions.set(region, (this.#regions.get(region) ?? 0) + 1);
    const table = /^tce-iommu-([0-9a-f]{1,8})$/.exec(region);
    this.#trace.begin(TRACK, `replay of ${region}`, ts, { line });
    const liobn = table === null ? undefined : BigInt(`0x${table[1]}`);
    this.#replay = { region, liobn, thread, start, cursor: start, until: ts, maps: 0, translations: 0 };
    this.#until = ts;
  }

  #deleted(region: string, line: number, ts: number): void {
    this.#trace.nameProcess(TRACK.pid, "VFIO in QEMU");
    this.#trace.nameTrack(TRACK, "hotplugs and replays");
    this.#trace.instant(TRACK, `${region} removed`, ts, { line });
    const containers = this.#regions.get(region) ?? 0;
    if (containers > 1) this.#regions.set(region, containers - 1);
    else this.#regions.delete(region);
  }

  #shown(replay: Replay, iova: bigint, ts: number): void {
    replay.cursor = iova;
    replay.until = ts;
    this.#until = ts;
  }

  #closeReplay(): void {
    const replay = this.#replay;
    this.#replay = undefined;
    if (replay === undefined) return;
    const { until, maps, translations } = replay;
    this.#trace.end(TRACK, until, { maps, translations });
  }
}

/**
 * Whether an address goes on with a replay. A page that is translated is mapped right after: its address comes twice.
 *
 * A walk over the empty entries of a large sPAPR window takes seconds in which nothing is logged. Other IOMMUs walk
 * what is mapped only, and the thread that shows a replay may be one of the guest's, which goes on after it.
 */
function shows(
  { liobn, cursor, thread, until }: Replay,
  by: number | undefined,
  iova: bigint,
  ts: number,
): boolean {
  return thread === by && iova >= cursor && (liobn !== undefined || ts - until <= LONGEST);
}
