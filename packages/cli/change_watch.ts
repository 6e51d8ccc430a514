import { registerNotifier, unregisterNotifier } from "@giommu/memory-api";
import type { AddressRange, Gpa, Iova } from "@giommu/core";
import type { AddressSpace, IommuMemoryRegion, MemoryListener } from "@giommu/memory-api";
import type { IotlbEvent, UpcomingEvents } from "@giommu/notifiers";
import { IommuNotifier, IommuNotifierFlag } from "@giommu/notifiers";
import type { HostMapping } from "@giommu/vfio-sync";

/** What the guest did to a page while the device was plugged in: the last of it. */
export type TouchedKind = "new" | "changed-in-place" | "unmapped" | "neighbour";

/** A page of the bus that the guest touched, or that lies beside one. */
export interface TouchedPage {
  /** The bus address. */
  readonly iova: Iova;
  /** Its size in bytes. */
  readonly size: bigint;
  /** Where a device got to before, if that is not where it gets to now. */
  readonly was: Gpa | undefined;
}

/** How many pages of each kind are kept, the newest. */
const KEPT = 4096;
/** How many pages at either end stand for a run that was touched as one. */
const ENDS = 8n;

/**
 * Notes which pages a guest maps, changes in place and unmaps, and which live ones lie beside those that it took away.
 *
 * A page is noted by what happened to it last. What a device reached before is asked of the container, before it
 * follows the change.
 */
export class ChangeWatch implements Disposable {
  readonly #space: AddressSpace;
  readonly #mappings: (range: AddressRange) => Iterable<HostMapping>;
  readonly #touched: Record<TouchedKind, Map<Iova, TouchedPage>> = {
    "new": new Map(),
    "changed-in-place": new Map(),
    "unmapped": new Map(),
    "neighbour": new Map(),
  };
  readonly #notifiers: { region: IommuMemoryRegion; notifier: IommuNotifier; delta: bigint }[] = [];
  readonly #listener: MemoryListener = { commit: () => this.#sync() };
  /** What the change under way does, once it is complete. */
  #pending: (() => void) | undefined;
  #isOver = false;

  /**
   * Begins to watch.
   *
   * @param space What the device sees.
   * @param mappings What the device's container, which is attached already, has mapped in a range.
   */
  constructor(space: AddressSpace, mappings: (range: AddressRange) => Iterable<HostMapping>) {
    this.#space = space;
    this.#mappings = mappings;
    space.addListener(this.#listener);
  }

  /**
   * The pages that were touched.
   *
   * @param kind How.
   * @returns The newest of them, in the order in which that happened; the guest may have unmapped neighbours since.
   */
  pages(kind: TouchedKind): readonly TouchedPage[] {
    return [...this.#touched[kind].values()];
  }

  /** Watches no more; twice is fine. */
  [Symbol.dispose](): void {
    this.#isOver = true;
    for (const { region, notifier } of this.#notifiers.splice(0)) unregisterNotifier(region, notifier);
    this.#space.removeListener(this.#listener);
  }

  /** Listens to the IOMMUs that the space shows now. */
  #sync(): void {
    if (this.#isOver) return;
    for (const { region, notifier } of this.#notifiers.splice(0)) unregisterNotifier(region, notifier);
    for (const { region, range: { start, last }, offsetWithinRegion: first } of this.#space.sections) {
      if (region.kind !== "iommu") continue;
      const delta = start - first;
      const notifier = new IommuNotifier({
        flags: IommuNotifierFlag.IOTLB_EVENTS,
        range: { start: first, last: last - delta },
        begin: (upcoming) => this.#begin(upcoming, delta),
        notify: () => {},
        commit: () => {
          this.#pending?.();
          this.#pending = undefined;
        },
        rollback: () => {
          this.#pending = undefined;
        },
      });
      registerNotifier(region, notifier);
      this.#notifiers.push({ region, notifier, delta });
    }
  }

  /** Works out what a change touches, while the device still reaches what was there. */
  #begin({ unmaps, maps }: UpcomingEvents, delta: bigint): void {
    const noted: [TouchedKind, TouchedPage][] = [];
    for (const event of unmaps) {
      for (const page of endsOf(event)) {
        const kind = holds(maps, page) ? "changed-in-place" : "unmapped";
        noted.push([kind, { iova: page + delta, size: event.pageSize, was: this.#reached(page + delta) }]);
      }
      for (const page of [event.iova.start - event.pageSize, event.iova.last + 1n]) {
        if (holds(unmaps, page) || holds(maps, page) || this.#reached(page + delta) === undefined) continue;
        noted.push(["neighbour", { iova: page + delta, size: event.pageSize, was: undefined }]);
      }
    }
    for (const event of maps) {
      for (const page of endsOf(event)) {
        if (holds(unmaps, page)) continue;
        noted.push(["new", { iova: page + delta, size: event.pageSize, was: undefined }]);
      }
    }
    this.#pending = () => {
      for (const { iova: { start, last }, pageSize } of [...unmaps, ...maps]) {
        this.#forget({ start: start + delta, last: last + delta }, pageSize);
      }
      for (const [kind, page] of noted) this.#note(kind, page);
    };
  }

  /** Where a device gets to; `undefined` where it does not. */
  #reached(iova: Iova): Gpa | undefined {
    if (iova < 0n) return undefined;
    for (const { iova: range, gpa } of this.#mappings({ start: iova, last: iova })) return gpa + (iova - range.start);
    return undefined;
  }

  #note(kind: TouchedKind, page: TouchedPage): void {
    const pages = this.#touched[kind];
    pages.delete(page.iova);
    pages.set(page.iova, page);
    for (const oldest of pages.keys()) {
      if (pages.size <= KEPT) break;
      pages.delete(oldest);
    }
  }

  /** What happened to pages before does not count any more. */
  #forget({ start, last }: AddressRange, pageSize: bigint): void {
    for (const pages of Object.values(this.#touched)) {
      if ((last - start) / pageSize < BigInt(pages.size)) {
        for (let page = start; page <= last; page += pageSize) pages.delete(page);
      } else {
        for (const page of pages.keys()) {
          if (start <= page && page <= last) pages.delete(page);
        }
      }
    }
  }
}

/** The first and the last pages of a run. */
function* endsOf({ iova: { start, last }, pageSize }: IotlbEvent): Generator<bigint> {
  const pages = (last - start) / pageSize + 1n;
  for (let page = 0n; page < pages; page++) {
    if (page === ENDS && pages > 2n * ENDS) page = pages - ENDS;
    yield start + page * pageSize;
  }
}

/** Whether one of some ascending events is about a page. */
function holds(events: readonly IotlbEvent[], page: bigint): boolean {
  let low = 0;
  let high = events.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const event = events[middle];
    if (event !== undefined && event.iova.last < page) low = middle + 1;
    else high = middle;
  }
  const event = events[low];
  return event !== undefined && event.iova.start <= page;
}
