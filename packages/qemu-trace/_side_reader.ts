import { memory } from "@giommu/core/wasm/hostlog";
import { put } from "@giommu/core/wasm";
import { type InputSource, openInput, TraceInput } from "./input.ts";

/** Layout of the core's records: see `SideRecord` in core-rs/crates/wasm/src/host_log.rs. */
const RECORD = { size: 64, kind: 40, number: 44, thread: 48, text: 52, textLength: 56 } as const;
const NOTHING_64 = 0xffff_ffff_ffff_ffffn;
const NOTHING_32 = 0xffff_ffff;

/** A reader of the core that gives records in batches. */
export interface RawSideReader {
  /** Where the newest batch lies. */
  readonly pointer: number;
  room(length: number): number;
  fill(length: number, last: boolean): void;
  read(): number;
}

/** One record, before it is told what it means. */
export interface SideRecord {
  readonly line: number;
  readonly time: bigint | undefined;
  readonly start: bigint;
  readonly last: bigint;
  readonly value: bigint;
  readonly kind: number;
  readonly number: number;
  readonly thread: number;
  readonly text: string;
}

/** What the core writes where a line does not say a number of 64 bits. */
export function given(value: bigint): bigint | undefined {
  return value === NOTHING_64 ? undefined : value;
}

/** The same of 32 bits. */
export function given32(value: number): number | undefined {
  return value === NOTHING_32 ? undefined : value;
}

/** The records in some bytes. */
export function* sideRecords(raw: RawSideReader, bytes: Uint8Array, last: boolean): Generator<SideRecord, void, void> {
  for (let at = 0, more = true; more;) {
    const length = put(memory, raw, bytes.subarray(at));
    at += length;
    more = at < bytes.length;
    raw.fill(length, last && !more);
    for (let count = raw.read(); count > 0; count = raw.read()) yield* batch(raw.pointer, count);
  }
}

const decoder = new TextDecoder();

/** The records of one batch, copied out before the first is given away: the memory may move between two. */
function batch(pointer: number, count: number): SideRecord[] {
  const view = new DataView(memory().buffer as ArrayBuffer);
  return Array.from({ length: count }, (_, index) => {
    const at = pointer + index * RECORD.size;
    const big = (offset: number) => view.getBigUint64(at + offset, true);
    const small = (offset: number) => view.getUint32(at + offset, true);
    return {
      line: Number(big(0)),
      time: given(big(8)),
      start: big(16),
      last: big(24),
      value: big(32),
      kind: small(RECORD.kind),
      number: small(RECORD.number),
      thread: small(RECORD.thread),
      text: decoder.decode(new Uint8Array(view.buffer, small(RECORD.text), small(RECORD.textLength))),
    };
  });
}

/** Reads all of a source with something that reads pieces of it. */
export async function* readAll<T>(
  source: InputSource | TraceInput,
  feed: (bytes: Uint8Array, last: boolean) => Iterable<T>,
): AsyncGenerator<T, void, void> {
  const input = source instanceof TraceInput ? source : await openInput(source);
  try {
    for (let bytes = await input.read(); bytes !== undefined; bytes = await input.read()) yield* feed(bytes, false);
    yield* feed(new Uint8Array(), true);
  } finally {
    if (input !== source) await input[Symbol.asyncDispose]();
  }
}
