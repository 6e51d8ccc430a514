import type { AddressRange } from "@giommu/core";
import { formatRange, hex, intersect, IommuError } from "@giommu/core";
import type { IommuMemoryRegion, MemorySection } from "@giommu/memory-api";
import type { ReplayStepper } from "@giommu/memory-api";
import { registerNotifier, replaySteps, unregisterNotifier } from "@giommu/memory-api";
import type { IotlbEvent } from "@giommu/notifiers";
import { cropEvent, IommuNotifier, IommuNotifierFlag } from "@giommu/notifiers";
import type { Mirror } from "./_mirror.ts";

/**
 * What of a stretch of the bus that shows an IOMMU can be mapped: where something else begins or ends inside of a page of
 * the host, all of that page cannot. Where the IOMMU itself begins or ends there it counts, as its pages are refused then.
 *
 * @param shown Which part of which region is seen where.
 * @param page The host's smallest page.
 */
export function mappable(
  { region, range, offsetWithinRegion: first }: Pick<MemorySection, "region" | "range" | "offsetWithinRegion">,
  page: bigint,
): AddressRange | undefined {
  const mask = page - 1n;
  const start = first > 0n ? (range.start + mask) & ~mask : range.start;
  const isLast = first + (range.last - range.start) >= region.size - 1n;
  const last = isLast ? range.last : ((range.last + 1n) & ~mask) - 1n;
  return start <= last ? { start, last } : undefined;
}

/** A stretch of the bus in which one IOMMU region is seen, with the notifier that listens there. */
export class IommuPiece {
  readonly region: IommuMemoryRegion;
  /** The bus addresses. */
  readonly range: AddressRange;
  /** What bus addresses lie above region addresses; may be negative. */
  readonly delta: bigint;
  readonly #mirror: Mirror;
  readonly #runs: "full" | "call";
  readonly #notifier: IommuNotifier;
  /** What of it can be mapped, by the region's addresses. */
  readonly #whole: AddressRange | undefined;
  #stepper: ReplayStepper | undefined;

  /** A piece that listens to nothing yet. */
  constructor(mirror: Mirror, region: IommuMemoryRegion, range: AddressRange, delta: bigint, runs: "full" | "call") {
    this.region = region;
    this.range = range;
    this.delta = delta;
    this.#mirror = mirror;
    this.#runs = runs;
    const whole = mappable({ region, range, offsetWithinRegion: range.start - delta }, mirror.page);
    this.#whole = whole && this.#within(whole);
    this.#notifier = new IommuNotifier({
      flags: IommuNotifierFlag.IOTLB_EVENTS,
      range: this.#within(range),
      runs,
      notify: (event) => this.#take(event),
      begin: ({ maps }) => mirror.begin(mirror.info.exchange === true ? this.#wholeOf(maps) : [], delta),
      commit: () => mirror.commit(),
      rollback: () => mirror.rollback(range).flatMap((lost) => this.#inRegion(lost)),
    });
  }

  /** Its replay, while that is under way. */
  get stepper(): ReplayStepper | undefined {
    return this.#stepper;
  }

  /** Registers the notifier and begins the replay of what is mapped already; nothing is told yet. */
  start(ahead?: AddressRange): void {
    this.#stepper = replaySteps(this.region, this.#notifier, {
      register: true,
      ...(ahead !== undefined && { range: this.#within(ahead) }),
    });
  }

  /** Goes on with the replay. Returns what of it was done in all; `done` if it is over. If it throws, the notifier is unregistered. */
  step(budget: number): { readonly done: boolean; readonly pages: bigint; readonly extents: number } {
    const stepper = this.#stepper;
    if (stepper === undefined) return { done: true, pages: 0n, extents: 0 };
    const mirror = this.#mirror;
    mirror.replaying = true;
    try {
      const progress = stepper.step(budget);
      if (progress.done) this.#stepper = undefined;
      return progress;
    } catch (error) {
      this.#stepper = undefined;
      throw error;
    } finally {
      mirror.replaying = false;
    }
  }

  /** Hears nothing more. */
  stop(): void {
    this.#stepper?.abort();
    this.#stepper = undefined;
    unregisterNotifier(this.region, this.#notifier);
  }

  /**
   * Goes on as the parts that are left when a stretch of the bus is taken away: each with a notifier of its own, and
   * with its part of a replay that is under way. Nothing that is mapped is touched.
   */
  without(gone: AddressRange): IommuPiece[] {
    const { start, last } = this.range;
    const rests: AddressRange[] = [];
    if (start < gone.start) rests.push({ start, last: gone.start - 1n });
    if (gone.last < last) rests.push({ start: gone.last + 1n, last });
    const position = this.#stepper?.progress.position;
    const ahead = position === undefined ? undefined : { start: position + this.delta, last };
    const pieces: IommuPiece[] = [];
    for (const rest of rests) {
      const piece = new IommuPiece(this.#mirror, this.region, rest, this.delta, this.#runs);
      const toWalk = ahead && intersect(rest, ahead);
      // The new one joins before the old one leaves: the union of flags, which an IOMMU may watch, stays as it is.
      if (toWalk !== undefined) piece.start(toWalk);
      else registerNotifier(this.region, piece.#notifier);
      pieces.push(piece);
    }
    this.stop();
    return pieces;
  }

  /** Takes an event in, but for the parts of the host's pages that the bus shows something else in. */
  #take(event: IotlbEvent): void {
    if (event.type !== IommuNotifierFlag.MAP) return this.#mirror.take(event, this.delta);
    const inside = this.#whole && cropEvent(event, this.#whole);
    if (inside !== event) this.#mirror.problems.add(this.#partial(event.iova));
    if (inside !== undefined) this.#mirror.take(inside, this.delta);
  }

  /** MAPs without the parts of the host's pages that cannot be mapped. */
  #wholeOf(maps: readonly IotlbEvent[]): IotlbEvent[] {
    const whole = this.#whole;
    return whole === undefined ? [] : maps.flatMap((event) => cropEvent(event, whole) ?? []);
  }

  #partial({ start, last }: AddressRange): IommuError {
    const range = { start: start + this.delta, last: last + this.delta };
    const { info, page } = this.#mirror;
    return new IommuError(
      "page-too-fine",
      `Cannot map all of ${formatRange(range)}: the bus shows only a part of a page of ${info.name}, ${
        hex(page)
      }, there`,
      { range, remedy: "place regions at multiples of the host's page size" },
    );
  }

  /**
   * One piece in the place of adjoining ones, none of which is being replayed. Nothing that is mapped is touched.
   *
   * @param pieces Ascending, at least one; all show the same region at the same place.
   */
  static joined(pieces: readonly IommuPiece[]): IommuPiece | undefined {
    const [first, last] = [pieces[0], pieces.at(-1)];
    if (first === undefined || last === undefined || first === last) return first;
    const range = { start: first.range.start, last: last.range.last };
    const joined = new IommuPiece(first.#mirror, first.region, range, first.delta, first.#runs);
    registerNotifier(first.region, joined.#notifier);
    for (const piece of pieces) piece.stop();
    return joined;
  }

  /** A stretch of the bus by the region's addresses, without what lies outside the region. */
  #inRegion(lost: AddressRange): AddressRange[] {
    const inside = intersect(this.#within(lost), { start: 0n, last: this.region.size - 1n });
    return inside === undefined ? [] : [inside];
  }

  #within({ start, last }: AddressRange): AddressRange {
    return { start: start - this.delta, last: last - this.delta };
  }
}
