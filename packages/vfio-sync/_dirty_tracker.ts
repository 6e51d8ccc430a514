import type { AddressRange } from "@giommu/core";
import { formatRange, IommuError } from "@giommu/core";
import type { RawContainer } from "@giommu/core/wasm/container";
import { fromPairs, lowestBit } from "./_arithmetic.ts";
import type { DirtyPages } from "./dirty_tracking.ts";
import type { DirtyPrecision } from "./host_dirty.ts";
import { HostError } from "./host_error.ts";
import type { HostIommu, HostMapping } from "./host_iommu.ts";

/** How many pages one bitmap is about, unless a single mapping has more: 128 KiB of bits, 4 GiB in pages of 4 KiB. */
const CLUB = 1n << 20n;

/** The most pages that Linux makes a bitmap of (`DIRTY_BITMAP_PAGES_MAX` of vfio_iommu_type1.c). */
const BITMAP_MAX = (1n << 31n) - 1n;

/** Finds out which guest memory devices wrote: asks the host by bus address, and has the core translate. */
export class DirtyTracker {
  readonly #raw: RawContainer;
  readonly #host: HostIommu;
  readonly #page: bigint;
  #precision: DirtyPrecision | undefined;
  /** Whether the host takes notes. */
  #asks = false;
  /** Why something since the last collect is not known. */
  #reason: string | undefined;

  constructor(raw: RawContainer, host: HostIommu) {
    this.#raw = raw;
    this.#host = host;
    this.#page = lowestBit(host.info.pageSizes);
  }

  /** How much is known; `undefined` while nobody wants to. */
  get precision(): DirtyPrecision | undefined {
    return this.#precision;
  }

  /** Begins. Once more changes nothing. */
  start(): DirtyPrecision {
    if (this.#precision !== undefined) return this.#precision;
    this.#asks = this.#startHost();
    this.#precision = this.#asks ? this.#host.dirty?.precision ?? "pinned" : "pinned";
    this.#raw.startDirty();
    return this.#precision;
  }

  /** Asks for everything that is mapped, and takes it together with what was unmapped since. */
  collect(mappings: Iterable<HostMapping>): DirtyPages {
    const precision = this.#precision;
    if (precision === undefined) {
      throw new IommuError("bad-input", `Cannot collect dirty pages of ${this.#host.info.name}: it was not started`, {
        remedy: "call dirty.start first",
      });
    }
    const { dirty } = this.#host;
    const mapped = [...mappings].map(({ iova }) => iova);
    for (const club of clubs(mapped, this.#page)) {
      const bitmap = dirty !== undefined && this.#asks ? this.#ask(club, () => dirty.collect(club)) : undefined;
      this.#raw.markWritten(club.start, club.last, bitmap);
    }
    const ranges = fromPairs(this.#raw.takeDirty());
    const reason = this.#reason ?? this.#why();
    this.#reason = undefined;
    return {
      precision: reason === undefined ? precision : "pinned",
      ...(reason !== undefined && { reason }),
      pageSize: this.#page,
      pages: ranges.reduce((sum, { start, last }) => sum + (last - start + 1n) / this.#page, 0n),
      ranges,
    };
  }

  /** Ends, and forgets. Once more changes nothing. */
  stop(): void {
    if (this.#precision === undefined) return;
    this.#precision = undefined;
    this.#reason = undefined;
    this.#raw.stopDirty();
    const asked = this.#asks;
    this.#asks = false;
    if (!asked) return;
    try {
      this.#host.dirty?.stop();
    } catch (cause) {
      throw this.#refusal("stop", cause);
    }
  }

  /**
   * Unmaps, and takes note of what was written there until then.
   *
   * @param index Which call of the batch under way it is.
   * @returns How many bytes were unmapped.
   */
  unmap(index: number, range: AddressRange): bigint {
    const host = this.#host;
    const { dirty } = host;
    if (this.#precision === undefined) return host.unmap(range);
    if (dirty === undefined || !this.#asks) {
      const bytes = host.unmap(range);
      this.exchanged(index, range);
      return bytes;
    }
    const isShort = (range.last - range.start) / this.#page < CLUB;
    // A wide one passes gaps, and a bitmap has bits for them: it is cut where those would be too many.
    const parts = isShort ? [range] : clubs(fromPairs(this.#raw.leaving(index)), this.#page);
    let bytes = 0n;
    for (const part of parts) bytes += this.#unmapPart(index, part, (one) => dirty.unmap(one));
    return bytes;
  }

  /** A MAP took the place of what was mapped in a range: all of that may have been written. */
  exchanged(index: number, range: AddressRange): void {
    if (this.#precision !== undefined) this.#raw.markLeaving(index, range.start, range.last, undefined);
  }

  #unmapPart(
    index: number,
    part: AddressRange,
    unmap: (part: AddressRange) => { readonly bytes: bigint; readonly bitmap: Uint8Array },
  ): bigint {
    if (!this.#fits(part)) {
      const bytes = this.#host.unmap(part);
      this.exchanged(index, part);
      return bytes;
    }
    const { bytes, bitmap } = unmap(part);
    this.#raw.markLeaving(index, part.start, part.last, bitmap);
    return bytes;
  }

  #ask(range: AddressRange, collect: () => Uint8Array): Uint8Array | undefined {
    if (!this.#fits(range)) return undefined;
    try {
      return collect();
    } catch (error) {
      // Too much is safe, too little is not.
      this.#reason ??= error instanceof Error ? error.message : String(error);
      return undefined;
    }
  }

  #fits(range: AddressRange): boolean {
    if ((range.last - range.start) / this.#page < BITMAP_MAX) return true;
    this.#reason ??= `${formatRange(range)} is too large for a bitmap`;
    return false;
  }

  #why(): string | undefined {
    const { name } = this.#host.info;
    if (this.#precision === "written") return undefined;
    return this.#asks ? `${name} counts every page that it pinned` : `${name} does not tell what devices wrote`;
  }

  #startHost(): boolean {
    const { dirty } = this.#host;
    if (dirty === undefined) return false;
    try {
      dirty.start();
      return true;
    } catch (cause) {
      if (cause instanceof HostError && cause.errno === "EOPNOTSUPP") return false;
      throw this.#refusal("start", cause);
    }
  }

  #refusal(verb: string, cause: unknown): IommuError {
    const why = cause instanceof Error ? cause.message : String(cause);
    return new IommuError("host-refused", `Cannot ${verb} to track dirty pages: ${why}`, { cause });
  }
}

/** Joins ascending ranges, with the gaps between them, as long as one bitmap is about no more than a club of pages. */
function clubs(ranges: readonly AddressRange[], page: bigint): AddressRange[] {
  const joined: { start: bigint; last: bigint }[] = [];
  for (const { start, last } of ranges) {
    const end = joined.at(-1);
    if (end !== undefined && (last - end.start) / page < CLUB) end.last = last;
    else joined.push({ start, last });
  }
  return joined;
}
