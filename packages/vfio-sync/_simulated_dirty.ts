import type { AddressRange } from "@giommu/core";
import type { ScriptedCalls } from "./_scripted_calls.ts";
import type { DirtyPrecision, DirtyUnmap, HostDirtyTracking } from "./host_dirty.ts";
import type { HostErrno } from "./host_error.ts";

const NOWHERE: AddressRange = Object.freeze({ start: 0n, last: 0n });

/** The notes of a simulated host on what its devices wrote: exactly that. */
export class SimulatedDirty implements HostDirtyTracking {
  readonly precision: DirtyPrecision = "written";
  readonly #calls: ScriptedCalls;
  readonly #page: bigint;
  readonly #refuse: (range: AddressRange) => HostErrno | undefined;
  readonly #unmap: (range: AddressRange, before: () => void) => bigint;
  /** Numbers of written pages of the bus; `undefined` before the start. */
  #written: Set<bigint> | undefined;

  constructor(
    calls: ScriptedCalls,
    page: bigint,
    refuse: (range: AddressRange) => HostErrno | undefined,
    unmap: (range: AddressRange, before: () => void) => bigint,
  ) {
    this.#calls = calls;
    this.#page = page;
    this.#refuse = refuse;
    this.#unmap = unmap;
  }

  /** A device wrote to an address. */
  note(iova: bigint): void {
    this.#written?.add(iova / this.#page);
  }

  /** A range was unmapped. */
  forget(range: AddressRange): void {
    for (const page of this.#in(range)) this.#written?.delete(page);
  }

  start(): void {
    const before = this.#written;
    this.#calls.make({ call: "START", range: NOWHERE }, () => undefined, () => {
      this.#written ??= new Set();
      return 0n;
    }, () => this.#written = before);
  }

  collect(range: AddressRange): Uint8Array {
    let bitmap: Uint8Array = new Uint8Array();
    this.#calls.make({ call: "COLLECT", range }, () => this.#written ? this.#refuse(range) : "EINVAL", () => {
      bitmap = this.#bitmap(range);
      return 0n;
    }, () => {});
    this.forget(range);
    return bitmap;
  }

  unmap(range: AddressRange): DirtyUnmap {
    if (this.#written === undefined) {
      this.#calls.make({ call: "UNMAP", range }, () => "EINVAL", () => 0n, () => {});
    }
    let bitmap: Uint8Array = new Uint8Array();
    const bytes = this.#unmap(range, () => bitmap = this.#bitmap(range));
    return { bytes, bitmap };
  }

  stop(): void {
    const before = this.#written;
    this.#calls.make({ call: "STOP", range: NOWHERE }, () => undefined, () => {
      this.#written = undefined;
      return 0n;
    }, () => this.#written = before);
  }

  #bitmap(range: AddressRange): Uint8Array {
    const pages = Number((range.last - range.start + 1n) / this.#page);
    const bitmap = new Uint8Array(Math.ceil(pages / 8));
    const first = range.start / this.#page;
    for (const page of this.#in(range)) {
      const bit = Number(page - first);
      bitmap[bit >> 3] = (bitmap[bit >> 3] ?? 0) | 1 << (bit & 7);
    }
    return bitmap;
  }

  /** The written pages of a range; whichever is less is looked through. */
  *#in({ start, last }: AddressRange): Generator<bigint> {
    const written = this.#written ?? new Set();
    const [from, to] = [start / this.#page, last / this.#page];
    if (to - from > BigInt(written.size)) {
      for (const page of [...written]) if (page >= from && page <= to) yield page;
    } else {
      for (let page = from; page <= to; page++) if (written.has(page)) yield page;
    }
  }
}
