import type { AddressRange } from "@giommu/core";
import { ADDRESS_MAX, formatRange, IommuError } from "@giommu/core";
import type { RawContainer } from "@giommu/core/wasm/container";
import { IommuPerm } from "@giommu/notifiers";
import { Backings } from "./_backings.ts";
import { DirtyTracker } from "./_dirty_tracker.ts";
import { OpKind, OpView } from "./_op_view.ts";
import { hostRefusal, refusal, Refused } from "./_refusal.ts";
import type { HostIommu, HostMapAllResult, HostMapping } from "./host_iommu.ts";

/** Stops the device; returns what lets it go on. */
export type Quiesce = () => void | (() => void);

/** Makes the calls that the core asks for on a host, and reports how they went. It decides nothing. */
export class Driver {
  readonly raw: RawContainer;
  readonly backings: Backings = new Backings();
  /** Which memory devices wrote, while somebody wants to know. */
  readonly dirty: DirtyTracker;
  readonly #host: HostIommu;
  readonly #quiesce: Quiesce | undefined;
  /** Whether there are holes in which a device runs. */
  readonly #isExposing: boolean;
  readonly #view = new OpView();
  /** Lets the device go on that was stopped for a hole. */
  #resume: (() => void) | void = undefined;
  #refusal: { readonly range: AddressRange; readonly cause: unknown } | undefined;
  #failure: unknown;
  #busy = false;
  #stopped = false;
  #stuck: unknown;
  #freed = false;
  /** When the first UNMAP of the request under way was made. */
  #unmappedAt: number | undefined;
  #exposedPages = 0n;
  #exposedNanoseconds = 0;

  /** Takes the raw container over: whoever owns the driver frees it. */
  constructor(raw: RawContainer, host: HostIommu, quiesce: Quiesce | undefined, isExposing = false) {
    this.#isExposing = isExposing;
    this.raw = raw;
    this.#host = host;
    this.dirty = new DirtyTracker(raw, host);
    this.#quiesce = quiesce;
  }

  /** How long pages were exposed: from the first UNMAP of each request that made a hole to its last call. */
  get exposedNanoseconds(): number {
    return this.#exposedNanoseconds;
  }

  /** What the host answered when the container failed. */
  get failure(): unknown {
    return this.#failure;
  }

  /** Says why the container failed, where that was no answer of the host. */
  blame(cause: unknown): void {
    this.#failure ??= cause;
  }

  /**
   * Makes every pending call.
   *
   * @param lenient Whether an UNMAP may find more or less than was mapped: on the way out only what is left matters.
   */
  drain(lenient = false): void {
    const { raw } = this;
    const wasAlive = raw.failureKind === 0;
    this.#refusal = undefined;
    this.#busy = true;
    try {
      for (let count = raw.pending(); count > 0; count = raw.pending()) {
        const batch = raw.batch();
        let done = 0;
        let failure: { readonly cause: unknown } | undefined;
        while (done < count && failure === undefined) {
          try {
            const run = this.#mapsFrom(batch, done, count);
            const mapped = run.length > 1 ? this.#host.mapAll?.(run) : undefined;
            if (mapped === undefined) {
              this.#make(this.#view.at(batch, done), done, lenient);
              done++;
            } else {
              done += mappedOf(mapped, run.length);
              if (mapped.refusal !== undefined) throw mapped.refusal;
            }
          } catch (cause) {
            failure = { cause };
            if (wasAlive) this.#failure ??= cause;
          }
        }
        raw.report(done, failure !== undefined);
        if (failure !== undefined && raw.refused && this.#refusal === undefined) {
          const { start, last } = this.#view.at(batch, done);
          this.#refusal = { range: { start, last }, cause: failure.cause };
        }
      }
    } finally {
      this.#busy = false;
      this.#countExposure();
      this.#letGoOn();
    }
    if (raw.failureKind === 0) this.#failure = undefined;
  }

  /** Throws if a call is being made on the host right now: from inside it, nothing else can be asked. */
  checkIdle(): void {
    if (this.#busy) throw refusal(Refused.BUSY, this.raw, this.#host.info);
  }

  /** Throws if the newest request was refused, by the core (`code`) or by the host. */
  check(code: number): void {
    if (code !== 0) throw refusal(code, this.raw, this.#host.info);
    if (this.#refusal !== undefined && this.raw.refused) {
      throw hostRefusal("map", this.#refusal.range, this.#refusal.cause);
    }
  }

  /** What the container mapped in a range, ascending. */
  *maps(range: AddressRange): Generator<HostMapping> {
    for (let start = range.start;;) {
      if (this.#freed) throw new IommuError("disposed", "Cannot list mappings: the container was disposed");
      const count = this.raw.maps(start, range.last);
      const batch = this.raw.batch();
      // Read before the first is given out: the reader may go on using the container.
      const mappings = Array.from({ length: count }, (_, i) => this.#mapping(this.#view.at(batch, i)));
      yield* mappings;
      const end = mappings.at(-1)?.iova.last;
      if (end === undefined || end >= range.last) return;
      start = end + 1n;
    }
  }

  /** The parts of a range in which nothing is mapped, ascending. */
  unmappedIn(range: AddressRange): AddressRange[] {
    const gaps: AddressRange[] = [];
    let next = range.start;
    for (const { iova } of this.maps(range)) {
      if (iova.start > next) gaps.push({ start: next, last: iova.start - 1n });
      next = iova.last + 1n;
    }
    if (next <= range.last) gaps.push({ start: next, last: range.last });
    return gaps;
  }

  /** Why a device that was stopped did not go on, since this was asked the last time. */
  takeStuck(): unknown {
    const stuck = this.#stuck;
    this.#stuck = undefined;
    return stuck;
  }

  /** Lets go of RAM that no mapping uses. */
  forgetRam(): void {
    const used = new Set<number>();
    for (let start = 0n; start <= ADDRESS_MAX;) {
      const count = this.raw.maps(start, ADDRESS_MAX);
      const batch = this.raw.batch();
      for (let i = 0; i < count; i++) used.add(this.#view.at(batch, i).backing);
      if (count === 0) break;
      start = this.#view.last + 1n;
    }
    this.backings.retain(used);
  }

  /** Frees the core's memory. */
  free(): void {
    this.#freed = true;
    this.raw.free();
  }

  #countExposure(): void {
    const since = this.#unmappedAt;
    this.#unmappedAt = undefined;
    if (since === undefined) return;
    const exposed = this.raw.counters()[4] ?? 0n;
    if (exposed === this.#exposedPages) return;
    this.#exposedPages = exposed;
    this.#exposedNanoseconds += Math.round((performance.now() - since) * 1e6);
  }

  #letGoOn(): void {
    const resume = this.#resume;
    this.#resume = undefined;
    this.#stopped = false;
    try {
      resume?.();
    } catch (error) {
      // The mappings are as they should be: no reason to undo anything.
      this.#stuck = error ?? "it threw nothing";
    }
  }

  #make(op: OpView, index: number, lenient: boolean): void {
    switch (op.kind) {
      case OpKind.MAP: {
        const mapping = this.#mapping(op);
        this.#host.map(mapping);
        if (this.#host.info.exchange) this.dirty.exchanged(index, mapping.iova);
        return;
      }
      case OpKind.UNMAP: {
        const { start, last, bytes } = op;
        if (this.#isExposing) this.#unmappedAt ??= performance.now();
        const unmapped = this.dirty.unmap(index, { start, last });
        if (unmapped === bytes || lenient) return;
        throw new IommuError(
          "host-refused",
          `Cannot unmap ${
            formatRange({ start, last })
          }: ${this.#host.info.name} unmapped ${unmapped} of ${bytes} bytes`,
        );
      }
      default: {
        if (this.#stopped) return;
        const resume: unknown = this.#quiesce?.();
        if (resume !== undefined && typeof resume !== "function") {
          const what = resume instanceof Promise ? "a Promise" : resume === null ? "null" : typeof resume;
          throw new TypeError(
            `Cannot stop the device: quiesce returned ${what}, expected nothing or a function; it has to stop before it returns`,
          );
        }
        this.#resume = resume as (() => void) | undefined;
        this.#stopped = true;
      }
    }
  }

  /** The maps that follow each other in a batch, where the host takes several at once. */
  #mapsFrom(batch: number, first: number, count: number): HostMapping[] {
    const run: HostMapping[] = [];
    if (this.#host.mapAll === undefined || this.#host.info.exchange) return run;
    for (let at = first; at < count && this.#view.at(batch, at).kind === OpKind.MAP; at++) {
      run.push(this.#mapping(this.#view));
    }
    return run;
  }

  #mapping(op: OpView): HostMapping {
    const { start, last, target: gpa, perm } = op;
    const backing = this.backings.get(op.backing);
    return {
      iova: { start, last },
      gpa,
      perm: perm & IommuPerm.READ_WRITE ? perm : IommuPerm.NONE,
      ...(backing !== undefined && { ram: backing.ram, ramOffset: gpa - backing.delta }),
    };
  }
}

/** How many maps a host says that it made of several. Throws where it would be asked the same for ever. */
function mappedOf({ done, refusal }: HostMapAllResult, asked: number): number {
  if (Number.isInteger(done) && done >= (refusal === undefined ? 1 : 0) && done <= asked) return done;
  throw new TypeError(
    `Cannot map: mapAll did ${done} of ${asked} maps and refused ${refusal === undefined ? "nothing" : "one"}`,
  );
}
