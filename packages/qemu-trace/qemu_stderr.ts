import { IommuError } from "@giommu/core";
import { RawStderrReader } from "@giommu/core/wasm/hostlog";
import { given, readAll, type SideRecord, sideRecords } from "./_side_reader.ts";
import type { InputSource, TraceInput } from "./input.ts";

/** What failed, as QEMU's standard error tells it. */
export const QemuFailureKind = {
  /** A range could not be mapped (`vfio_container_dma_map`, in older releases `vfio_dma_map`). */
  MAP: "map",
  /** A range could not be unmapped. */
  UNMAP: "unmap",
  /** A map failed, as a line without addresses says (`VFIO_MAP_DMA failed: …`); one with them follows. */
  MAP_CALL: "map-call",
  /** The same of an unmap. */
  UNMAP_CALL: "unmap-call",
  /** QEMU gave up (`vfio: DMA mapping failed, unable to continue`). */
  FATAL: "fatal",
  /** A section lies across pages of the host and is not mapped. */
  UNALIGNED: "unaligned",
  /** An entry of the guest points to what is no memory. */
  NOT_MEMORY: "not-memory",
} as const;
/** One of {@linkcode QemuFailureKind}. */
export type QemuFailureKind = typeof QemuFailureKind[keyof typeof QemuFailureKind];

/** One failure that QEMU told of. Ranges have both ends included. */
export interface QemuFailure {
  /** What failed. */
  readonly kind: QemuFailureKind;
  /** Its line, from 1. */
  readonly line: number;
  /** When, in microseconds since 1970, where the line says so (`-msg timestamp=on`; not while a monitor command runs). */
  readonly time?: bigint;
  /** The first bus address; of `not-memory` the guest's address. */
  readonly start?: bigint;
  /** The last bus address. */
  readonly last?: bigint;
  /** Where the memory lies in QEMU. */
  readonly memory?: bigint;
  /** The kernel's error number, positive, where the line says it. */
  readonly errno?: number;
  /** The region that a prefix names (`Region pc.ram: …`). */
  readonly region?: string;
}

const KINDS = [
  QemuFailureKind.MAP,
  QemuFailureKind.UNMAP,
  QemuFailureKind.MAP_CALL,
  QemuFailureKind.UNMAP_CALL,
  QemuFailureKind.FATAL,
  QemuFailureKind.UNALIGNED,
  QemuFailureKind.NOT_MEMORY,
] as const;

/** What a reader of QEMU's standard error has read so far. */
export interface QemuStderrCounts {
  /** Lines. */
  readonly lines: number;
  /** Lines that told of a failure. */
  readonly failures: number;
  /** Lines that begin to tell of one and do not parse. */
  readonly unparsed: number;
}

/**
 * Reads the failures of VFIO and iommufd that QEMU printed, from bytes that come in pieces, in constant memory.
 *
 * The wording is that of QEMU 10.0 and of older releases (hw/vfio/common.c, container.c; backends/iommufd.c). What else was
 * printed is passed over.
 *
 * @example
 * ```ts
 * import { QemuStderrReader } from "@giommu/qemu-trace";
 * import { assertEquals } from "@std/assert";
 *
 * using reader = new QemuStderrReader();
 * const text = "qemu: vfio_container_dma_map(0x5655, 0x1000, 0x1000, 0x7fd8) = -17 (File exists)\n";
 * assertEquals([...reader.feed(new TextEncoder().encode(text), true)], [
 *   { kind: "map", line: 1, start: 0x1000n, last: 0x1fffn, memory: 0x7fd8n, errno: 17 },
 * ]);
 * ```
 */
export class QemuStderrReader implements Disposable {
  #raw: RawStderrReader | undefined = new RawStderrReader();

  /** What was read so far. */
  get counts(): QemuStderrCounts {
    const [lines = 0, failures = 0, unparsed = 0] = Array.from(this.#live().counts(), Number);
    return { lines, failures, unparsed };
  }

  /**
   * Reads on.
   *
   * @param bytes The next bytes. They may be used again once the failures are read.
   * @param last Whether no bytes follow.
   * @returns The failures in them. Read all of them before the next call.
   * @throws {IommuError} `"disposed"` if the reader was disposed.
   */
  *feed(bytes: Uint8Array, last = false): Generator<QemuFailure, void, void> {
    for (const record of sideRecords(this.#live(), bytes, last)) yield failure(record);
  }

  /** Frees the reader; twice is fine. */
  [Symbol.dispose](): void {
    const raw = this.#raw;
    this.#raw = undefined;
    raw?.free();
  }

  #live(): RawStderrReader {
    if (this.#raw === undefined) throw new IommuError("disposed", "Cannot use QemuStderrReader: it was disposed");
    return this.#raw;
  }
}

/** The core's record tells in `thread` whether there are addresses, in `number` the error number. */
function failure({ line, time, start, last, value, kind, number, thread, text }: SideRecord): QemuFailure {
  const memory = given(value);
  return {
    kind: KINDS[kind] ?? QemuFailureKind.FATAL,
    line,
    ...(time !== undefined && { time }),
    ...(thread !== 0 && { start, last }),
    ...(memory !== undefined && { memory }),
    ...(number !== 0 && { errno: number }),
    ...(text !== "" && { region: text }),
  };
}

/**
 * Reads the failures that QEMU printed one by one, in constant memory.
 *
 * @param source Where the text comes from: a path, bytes, a stream, or an input that is open already; plain or .gz.
 * @param reader Reads; give one to see its counts.
 * @returns The failures.
 * @throws {IommuError} `"bad-input"` if the source cannot be read.
 *
 * @example Which error numbers there are
 * ```ts
 * import { readQemuStderr } from "@giommu/qemu-trace";
 * import { assertEquals } from "@std/assert";
 *
 * const text = "vfio_dma_map(0x5, 0x0, 0x1000, 0x7) = -28 (No space left on device)\nqemu: hello\n";
 * const numbers = new Set<number | undefined>();
 * for await (const { errno } of readQemuStderr(new TextEncoder().encode(text))) numbers.add(errno);
 * assertEquals([...numbers], [28]);
 * ```
 */
export async function* readQemuStderr(
  source: InputSource | TraceInput,
  reader?: QemuStderrReader,
): AsyncGenerator<QemuFailure, void, void> {
  const used = reader ?? new QemuStderrReader();
  try {
    yield* readAll(source, (bytes, last) => used.feed(bytes, last));
  } finally {
    if (used !== reader) used[Symbol.dispose]();
  }
}
