import type { QemuEventName, QemuRecord } from "@giommu/qemu-trace";
import { type EventCells, eventCells } from "./event_rows.ts";
import type { Args, TraceEvents, Track } from "./trace_events.ts";

/** The guest's calls by the event that logs them. */
const CALLS: Readonly<Partial<Record<QemuEventName, string>>> = {
  spapr_iommu_put: "H_PUT_TCE",
  spapr_iommu_pci_put: "H_PUT_TCE",
  spapr_iommu_get: "H_GET_TCE",
  spapr_iommu_pci_get: "H_GET_TCE",
  spapr_iommu_indirect: "H_PUT_TCE_INDIRECT",
  spapr_iommu_pci_indirect: "H_PUT_TCE_INDIRECT",
  spapr_iommu_stuff: "H_STUFF_TCE",
  spapr_iommu_pci_stuff: "H_STUFF_TCE",
  spapr_iommu_ddw_query: "ibm,query-pe-dma-window",
  spapr_iommu_ddw_create: "ibm,create-pe-dma-window",
  spapr_iommu_ddw_remove: "ibm,remove-pe-dma-window",
  spapr_iommu_ddw_reset: "ibm,reset-pe-dma-window",
};

const PID = 1;

/**
 * Draws the guest's calls, a track for each thread of QEMU.
 *
 * QEMU logs a call when it is done, after what it made of it for VFIO. So a call that reached VFIO begins with the first of
 * these lines, and one that did not is a moment.
 */
export class CallTrack {
  readonly #trace: TraceEvents;
  /** Since when each thread tells VFIO of a change, and of how many. */
  readonly #telling = new Map<number, { readonly since: number; notified: number }>();

  /** Draws on tracks of the trace. */
  constructor(trace: TraceEvents) {
    this.#trace = trace;
  }

  /** A thread tells VFIO of a live change. */
  tells(thread: number, ts: number): void {
    const telling = this.#telling.get(thread);
    if (telling === undefined) this.#telling.set(thread, { since: ts, notified: 1 });
    else telling.notified++;
  }

  /**
   * Looks at another event.
   *
   * @param record The event.
   * @param thread Its thread, as the trace has it.
   * @param ts When it was.
   * @param places Where the tables lie.
   * @returns Whether it is a call.
   */
  event(record: QemuRecord, thread: number, ts: number, places: Parameters<typeof eventCells>[1]): boolean {
    const telling = this.#telling.get(thread);
    const name = CALLS[record.event];
    if (name === undefined) {
      // What a call told VFIO stands directly before it: anything but a translation ends that.
      if (record.event !== "spapr_iommu_xlate") this.#telling.delete(thread);
      return false;
    }
    this.#telling.delete(thread);
    const track: Track = { pid: PID, tid: thread };
    this.#trace.nameProcess(PID, "guest");
    this.#trace.nameTrack(track, `calls (thread ${thread})`);
    const args = { line: record.line, ...argsOf(eventCells(record, places)), notified: telling?.notified };
    this.#trace.slice(track, name, telling?.since ?? ts, ts, args);
    return true;
  }
}

/** What an event says, as arguments: JSON has no room for 64 bits. */
export function argsOf({ more, ...cells }: EventCells): Args {
  const args: Record<string, string | number | boolean> = {};
  for (const [name, cell] of Object.entries(cells)) {
    args[name] = typeof cell === "bigint" ? `0x${cell.toString(16)}` : cell;
  }
  return { ...args, ...more };
}
