import { IommuError } from "@giommu/core";
import { RawKernelReader } from "@giommu/core/wasm/hostlog";
import { given, given32, readAll, type SideRecord, sideRecords } from "./_side_reader.ts";
import type { InputSource, TraceInput } from "./input.ts";

/** Where an event stands in the kernel's log, and who was running. */
export interface KernelRecordPlace {
  /** Its line, from 1. */
  readonly line: number;
  /** When, in microseconds of the tracer's clock, where that counts seconds (`local`, `mono`, `boot`). */
  readonly time?: bigint;
  /** The CPU. */
  readonly cpu?: number;
  /** The name of the thread, at most 15 bytes of it. */
  readonly task?: string;
  /** The thread. */
  readonly thread?: number;
}

/**
 * One event of the kernel's log: what it did to a host IOMMU. Ranges have both ends included.
 *
 * `map` and `unmap` are one stretch of physical memory each: a mapping that is not contiguous there has several. `lost` says that
 * the tracer's buffer ran over, and how many events that cost; 0 where it does not say.
 */
export type KernelRecord =
  | KernelRecordPlace & {
    /** Something was mapped. */
    readonly event: "map";
    /** The first bus address. */
    readonly start: bigint;
    /** The last bus address. */
    readonly last: bigint;
    /** Where it goes in the host's memory. */
    readonly paddr: bigint;
  }
  | KernelRecordPlace & {
    /** Something was unmapped. */
    readonly event: "unmap";
    /** The first bus address. */
    readonly start: bigint;
    /** The last bus address. */
    readonly last: bigint;
    /** Bytes that were mapped there. */
    readonly unmapped: bigint;
  }
  | KernelRecordPlace & {
    /** A device was refused an address. */
    readonly event: "io_page_fault";
    /** The bus address. */
    readonly start: bigint;
    /** What the IOMMU's driver says about it; its meaning is the driver's own. */
    readonly flags: bigint;
  }
  | KernelRecordPlace & {
    /** Events are missing here. */
    readonly event: "lost";
    /** How many; 0 where it does not say. */
    readonly count: number;
  };

/** What a reader of the kernel's log has read so far. */
export interface KernelLogCounts {
  /** Lines. */
  readonly lines: number;
  /** Events of the IOMMU, and places where events were lost. */
  readonly events: number;
  /** Lines that look like such an event and do not parse. */
  readonly unparsed: number;
}

/**
 * Reads the IOMMU events of a kernel log from bytes that come in pieces, in constant memory.
 *
 * The text is that of tracefs (`trace`, `trace_pipe`), `trace-cmd report` or `perf script`, with or without their headers
 * (formats: Linux, include/trace/events/iommu.h). Other events are passed over.
 *
 * @example
 * ```ts
 * import { KernelLogReader } from "@giommu/qemu-trace";
 * import { assertEquals } from "@std/assert";
 *
 * using reader = new KernelLogReader();
 * const line = " CPU 0/KVM-2201 [003] ..... 4.882146: unmap: IOMMU: iova=0x1000 - 0x3000 size=8192 unmapped_size=8192\n";
 * assertEquals([...reader.feed(new TextEncoder().encode(line), true)], [{
 *   line: 1,
 *   time: 4_882_146n,
 *   cpu: 3,
 *   task: "CPU 0/KVM",
 *   thread: 2201,
 *   event: "unmap",
 *   start: 0x1000n,
 *   last: 0x2fffn,
 *   unmapped: 8192n,
 * }]);
 * assertEquals(reader.counts, { lines: 1, events: 1, unparsed: 0 });
 * ```
 */
export class KernelLogReader implements Disposable {
  #raw: RawKernelReader | undefined = new RawKernelReader();

  /** What was read so far. */
  get counts(): KernelLogCounts {
    const [lines = 0, events = 0, unparsed = 0] = Array.from(this.#live().counts(), Number);
    return { lines, events, unparsed };
  }

  /**
   * Reads on.
   *
   * @param bytes The next bytes. They may be used again once the events are read.
   * @param last Whether no bytes follow.
   * @returns The events in them. Read all of them before the next call.
   * @throws {IommuError} `"disposed"` if the reader was disposed.
   */
  *feed(bytes: Uint8Array, last = false): Generator<KernelRecord, void, void> {
    for (const record of sideRecords(this.#live(), bytes, last)) yield kernelRecord(record);
  }

  /** Frees the reader; twice is fine. */
  [Symbol.dispose](): void {
    const raw = this.#raw;
    this.#raw = undefined;
    raw?.free();
  }

  #live(): RawKernelReader {
    if (this.#raw === undefined) throw new IommuError("disposed", "Cannot use KernelLogReader: it was disposed");
    return this.#raw;
  }
}

function kernelRecord({ line, time, number, text, thread, kind, start, last, value }: SideRecord): KernelRecord {
  const cpu = given32(number);
  const known = given32(thread);
  const place: KernelRecordPlace = {
    line,
    ...(time !== undefined && { time }),
    ...(cpu !== undefined && { cpu }),
    ...(text !== "" && { task: text }),
    ...(known !== undefined && { thread: known }),
  };
  switch (kind) {
    case 0:
      return { ...place, event: "map", start, last, paddr: value };
    case 1:
      return { ...place, event: "unmap", start, last, unmapped: value };
    case 2:
      return { ...place, event: "io_page_fault", start, flags: value };
    default:
      return { ...place, event: "lost", count: Number(given(value) ?? 0n) };
  }
}

/**
 * Reads the IOMMU events of a kernel log one by one, in constant memory.
 *
 * @param source Where the log comes from: a path, bytes, a stream, or an input that is open already; plain or .gz.
 * @param reader Reads; give one to see its counts.
 * @returns The events.
 * @throws {IommuError} `"bad-input"` if the source cannot be read.
 *
 * @example How much memory a device saw at most
 * ```ts
 * import { readKernelLog } from "@giommu/qemu-trace";
 * import { assertEquals } from "@std/assert";
 *
 * const log = new TextEncoder().encode(
 *   "qemu-7 [000] 1.000001: map: IOMMU: iova=0x0 - 0x2000 paddr=0x5000 size=8192\n" +
 *     "qemu-7 [000] 1.000002: unmap: IOMMU: iova=0x0 - 0x2000 size=8192 unmapped_size=8192\n",
 * );
 * let [now, most] = [0n, 0n];
 * for await (const record of readKernelLog(log)) {
 *   if (record.event === "map") now += record.last - record.start + 1n;
 *   if (record.event === "unmap") now -= record.unmapped;
 *   if (now > most) most = now;
 * }
 * assertEquals(most, 8192n);
 * ```
 */
export async function* readKernelLog(
  source: InputSource | TraceInput,
  reader?: KernelLogReader,
): AsyncGenerator<KernelRecord, void, void> {
  const used = reader ?? new KernelLogReader();
  try {
    yield* readAll(source, (bytes, last) => used.feed(bytes, last));
  } finally {
    if (used !== reader) used[Symbol.dispose]();
  }
}
