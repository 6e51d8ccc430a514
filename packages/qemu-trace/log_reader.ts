import { IommuError } from "@giommu/core";
import { put } from "@giommu/core/wasm";
import { memory, RawLogReader } from "@giommu/core/wasm/log";
import { shapes } from "./_shapes.ts";
import { type InputSource, openInput, TraceInput } from "./input.ts";
import type { QemuRecord } from "./record.ts";

/** What a reader has read so far. */
export interface LogCounts {
  /** Lines. */
  readonly lines: number;
  /** Lines that are events in one of the known formats. */
  readonly events: number;
  /** Lines that begin as such an event does and do not parse. */
  readonly unparsed: number;
  /** Bytes, after inflating. */
  readonly bytes: number;
}

/** The counts as the core gives them. */
export function countsOf(counts: BigUint64Array): LogCounts {
  const [lines, events, unparsed, bytes] = Array.from(counts, Number);
  return { lines: lines ?? 0, events: events ?? 0, unparsed: unparsed ?? 0, bytes: bytes ?? 0 };
}

/** Layout of the core's records: see `EventRecord` in core-rs/crates/wasm/src/trace/reader.rs. */
const RECORD = { size: 96, time: 8, kind: 16, thread: 20, text: 24, textLength: 28, fields: 32 } as const;
const NO_TIME = 0xffff_ffff_ffff_ffffn;
const NO_THREAD = 0xffff_ffff;

/**
 * Reads the events of a QEMU log from bytes that come in pieces, in constant memory.
 *
 * Lines that others wrote are passed over, however long they are.
 *
 * @example
 * ```ts
 * import { QemuLogReader } from "@giommu/qemu-trace";
 * import { assertEquals } from "@std/assert";
 *
 * using reader = new QemuLogReader();
 * const log = new TextEncoder().encode("7@1.000002:spapr_iommu_ddw_remove liobn=0x80000001\nqemu: hello\n");
 * assertEquals([...reader.feed(log.subarray(0, 30))], []);
 * assertEquals([...reader.feed(log.subarray(30), true)], [
 *   { event: "spapr_iommu_ddw_remove", line: 1, time: 1_000_002n, thread: 7, liobn: 0x8000_0001n },
 * ]);
 * assertEquals(reader.counts, { lines: 2, events: 1, unparsed: 0, bytes: log.length });
 * ```
 */
export class QemuLogReader implements Disposable {
  #raw: RawLogReader | undefined = new RawLogReader();
  #busy = false;

  /** What was read so far. */
  get counts(): LogCounts {
    return countsOf(this.#live().counts());
  }

  /**
   * Reads on.
   *
   * @param bytes The next bytes. They may be used again once the events are read.
   * @param last Whether no bytes follow: then the last line counts without its end, too.
   * @returns The events in them. Read all of them before the next call.
   * @throws {IommuError} `"disposed"` if the reader was disposed.
   */
  *feed(bytes: Uint8Array, last = false): Generator<QemuRecord, void, void> {
    if (this.#busy) throw new TypeError("Cannot feed the reader: the events of the last call are not all read");
    this.#busy = true;
    try {
      for (let at = 0, more = true; more;) {
        const raw = this.#live();
        const length = put(memory, raw, bytes.subarray(at));
        at += length;
        more = at < bytes.length;
        raw.fill(length, last && !more);
        for (let count = raw.read(); count > 0; count = raw.read()) yield* records(raw.pointer, count);
      }
    } finally {
      this.#busy = false;
    }
  }

  /**
   * Reads on as {@linkcode feed} does, and only counts the events: several times faster.
   *
   * @param bytes The next bytes.
   * @param last Whether no bytes follow.
   * @throws {IommuError} `"disposed"` if the reader was disposed.
   */
  skip(bytes: Uint8Array, last = false): void {
    let rest = bytes;
    do {
      const raw = this.#live();
      const length = put(memory, raw, rest);
      rest = rest.subarray(length);
      raw.fill(length, last && rest.length === 0);
      raw.skip();
    } while (rest.length > 0);
  }

  /** Frees the reader; twice is fine. */
  [Symbol.dispose](): void {
    const raw = this.#raw;
    this.#raw = undefined;
    raw?.free();
  }

  #live(): RawLogReader {
    if (this.#raw === undefined) throw new IommuError("disposed", "Cannot use QemuLogReader: it was disposed");
    return this.#raw;
  }
}

/** The events of one batch. They are copied out before the first is given away: the memory may move between two. */
function records(pointer: number, count: number): QemuRecord[] {
  const view = new DataView(memory().buffer as ArrayBuffer);
  const list: QemuRecord[] = [];
  for (let i = 0; i < count; i++) list.push(record(view, pointer + i * RECORD.size));
  return list;
}

const decoder = new TextDecoder();

function record(view: DataView<ArrayBuffer>, at: number): QemuRecord {
  const shape = shapes()[view.getUint32(at + RECORD.kind, true)];
  if (shape === undefined) throw new Error("the core knows a kind of event that this package does not");
  const time = view.getBigUint64(at + RECORD.time, true);
  const thread = view.getUint32(at + RECORD.thread, true);
  const fields: Record<string, unknown> = {
    event: shape.event,
    line: Number(view.getBigUint64(at, true)),
    ...(time !== NO_TIME && { time }),
    ...(thread !== NO_THREAD && { thread }),
  };
  let place = at + RECORD.fields;
  for (const [name, kind] of shape.fields) {
    if (kind === "text") {
      const length = view.getUint32(at + RECORD.textLength, true);
      fields[name] = decoder.decode(new Uint8Array(view.buffer, view.getUint32(at + RECORD.text, true), length));
      continue;
    }
    if (kind === "hex") fields[name] = view.getBigUint64(place, true);
    else if (kind === "flag") fields[name] = view.getBigUint64(place, true) !== 0n;
    else fields[name] = Number(view.getBigInt64(place, true));
    place += 8;
  }
  return fields as unknown as QemuRecord;
}

/**
 * Reads the events of a QEMU log one by one, in constant memory.
 *
 * @param source Where the log comes from; a path, bytes, a stream, or an input that is open already.
 * @param reader Reads; give one to see its counts.
 * @returns The events.
 * @throws {IommuError} `"bad-input"` if the source cannot be read.
 *
 * @example Which entries a guest wrote itself
 * ```ts
 * import { readQemuLog } from "@giommu/qemu-trace";
 * import { assertEquals } from "@std/assert";
 *
 * const log = new TextEncoder().encode(
 *   "spapr_iommu_pci_put liobn=0x80000000 ioba=0x1000 tce=0x440e003 ret=0\n" +
 *     "spapr_iommu_xlate liobn=0x80000000 0x1000 -> 0x440e000 perm=3 mask=0xfff\n",
 * );
 * const written: bigint[] = [];
 * for await (const record of readQemuLog(log)) {
 *   if (record.event === "spapr_iommu_pci_put") written.push(record.ioba);
 * }
 * assertEquals(written, [0x1000n]);
 * ```
 */
export async function* readQemuLog(
  source: InputSource | TraceInput,
  reader?: QemuLogReader,
): AsyncGenerator<QemuRecord, void, void> {
  const input = source instanceof TraceInput ? source : await openInput(source);
  const used = reader ?? new QemuLogReader();
  try {
    for (let bytes = await input.read(); bytes !== undefined; bytes = await input.read()) yield* used.feed(bytes);
    yield* used.feed(new Uint8Array(), true);
  } finally {
    if (used !== reader) used[Symbol.dispose]();
    if (input !== source) await input[Symbol.asyncDispose]();
  }
}
