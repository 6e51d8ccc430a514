import type { AddressRange, Gpa } from "@giommu/core";
import { checkInstance, checkInteger, checkU64, intersect } from "@giommu/core";
import type { IommuMemoryRegion, MemoryListener, MemorySection } from "@giommu/memory-api";
import { AddressSpace, registerNotifier, unregisterNotifier } from "@giommu/memory-api";
import { IommuNotifier, IommuNotifierFlag, IommuPerm } from "@giommu/notifiers";
import { RangeMap } from "./_range_map.ts";

/** How an {@linkcode UnmapOnlyConsumer} is made. */
export interface UnmapOnlyConsumerOptions {
  /** How many translations it keeps; the oldest goes first. 4096 unless given. */
  readonly capacity?: number;
  /** Whether it listens to `DEVIOTLB_UNMAP` (a device with a translation cache of its own) in place of `UNMAP`. */
  readonly deviceIotlb?: boolean;
  /** Told of every range of bus addresses that an UNMAP or a change of the map invalidates. It may be larger than what changed. */
  invalidated?(range: AddressRange): void;
}

/** What a device reaches at a bus address. */
export interface CachedTranslation {
  /** The address in the last address space on the way; guest-physical unless an IOMMU says otherwise. */
  readonly gpa: Gpa;
  /** What it may do. */
  readonly perm: IommuPerm;
}

interface CacheEntry {
  readonly iova: AddressRange;
  readonly gpa: bigint;
  readonly perm: IommuPerm;
}

interface Piece {
  readonly region: IommuMemoryRegion;
  readonly range: AddressRange;
  readonly delta: bigint;
  readonly notifier: IommuNotifier;
}

/**
 * A device's translation cache, as vhost has one: filled when a translation is missed, emptied by UNMAP.
 *
 * It never hears of MAP and needs no replay; an IOMMU that cannot tell of MAPs can still serve it (hw/virtio/vhost.c).
 *
 * @example
 * ```ts
 * import { AddressSpace, IommuMemoryRegion, RamRegion } from "@giommu/memory-api";
 * import { UnmapOnlyConsumer } from "@giommu/vfio-sync";
 * import { assertEquals } from "@std/assert";
 *
 * let target: bigint | undefined = 0x8000n;
 * const page = (at: bigint) =>
 *   ({ iova: { start: 0n, last: 0xfffn }, target: at, perm: 3, pageSize: 0x1000n, targetSpace: memory }) as const;
 * using memory = new AddressSpace({ name: "memory", root: new RamRegion({ name: "ram", size: 0x10000n }) });
 * const iommu = new IommuMemoryRegion({
 *   name: "iommu",
 *   size: 0x1000n,
 *   translate: () => target === undefined ? undefined : page(target),
 * });
 * using bus = new AddressSpace({ name: "bus", root: iommu });
 * using device = new UnmapOnlyConsumer(bus);
 * assertEquals(device.translate(0x10n, 1)?.gpa, 0x8010n);
 * assertEquals(device.translate(0x20n, 1)?.gpa, 0x8020n);
 * assertEquals([device.misses, device.hits], [1, 1]);
 *
 * target = undefined;
 * iommu.change({ unmaps: [page(0x8000n)], maps: [] });
 * assertEquals(device.translate(0x10n, 1), undefined);
 * ```
 */
export class UnmapOnlyConsumer implements Disposable {
  /** What the device sees. */
  readonly space: AddressSpace;
  readonly #cache = new RangeMap<CacheEntry>();
  /** The entries in the order in which they came. */
  readonly #order = new Set<CacheEntry>();
  readonly #capacity: number;
  readonly #flag: IommuNotifierFlag;
  readonly #invalidated: UnmapOnlyConsumerOptions["invalidated"];
  readonly #listener: MemoryListener;
  #pieces: Piece[] = [];
  #isDisposed = false;
  #hits = 0;
  #misses = 0;
  #invalidations = 0;

  /**
   * Creates a cache and listens to every IOMMU of a space, now and from now on.
   *
   * @param space What the device sees. Borrowed until this is disposed.
   * @param options The size of the cache, and which events empty it.
   * @throws {TypeError} If `space` is no `AddressSpace`.
   * @throws {RangeError} If the capacity is not a whole number from 1 on.
   * @throws {IommuError} `"notifier-refused"` if an IOMMU refuses it; nothing is registered then.
   */
  constructor(space: AddressSpace, options: UnmapOnlyConsumerOptions = {}) {
    this.space = checkInstance("space", space, AddressSpace);
    this.#capacity = checkInteger("capacity", options.capacity ?? 4096, 1);
    this.#flag = options.deviceIotlb === true ? IommuNotifierFlag.DEVIOTLB_UNMAP : IommuNotifierFlag.UNMAP;
    this.#invalidated = options.invalidated;
    this.#listener = {
      regionAdd: (section) => this.#add(section),
      regionDel: (section) => this.#remove(section),
    };
    space.addListener(this.#listener);
  }

  /** Translations that were found in the cache. */
  get hits(): number {
    return this.#hits;
  }

  /** Translations for which the space was asked. */
  get misses(): number {
    return this.#misses;
  }

  /** Entries that an UNMAP, or a change of the map, took out. */
  get invalidations(): number {
    return this.#invalidations;
  }

  /** How many translations are cached. */
  get size(): number {
    return this.#cache.size;
  }

  /**
   * Translates an access of the device.
   *
   * @param iova A bus address.
   * @param access What it is about to do.
   * @returns What it reaches; `undefined` if it would fault.
   * @throws {TypeError} If an argument has the wrong type.
   * @throws {RangeError} If an argument is out of bounds.
   */
  translate(iova: bigint, access: IommuPerm): CachedTranslation | undefined {
    checkU64("iova", iova);
    checkInteger("access", access, IommuPerm.NONE, IommuPerm.READ_WRITE);
    const cached = this.#cache.find(iova);
    if (cached !== undefined && (access & ~cached.perm) === 0) {
      this.#hits++;
      return { gpa: cached.gpa + (iova - cached.iova.start), perm: cached.perm };
    }
    this.#misses++;
    const found = this.space.translate(iova, access);
    if (found.kind === "fault") return undefined;
    const { address: gpa, length, perm } = found;
    const entry: CacheEntry = { iova: { start: iova, last: iova + length - 1n }, gpa, perm };
    for (const old of this.#cache.overlapping(entry.iova)) this.#drop(old);
    for (const oldest of this.#order) {
      if (this.#order.size < this.#capacity) break;
      this.#drop(oldest);
    }
    this.#cache.add(entry);
    this.#order.add(entry);
    return { gpa, perm };
  }

  /** Listens to nothing more, and forgets everything, of which `invalidated` is not told. Twice is fine. */
  dispose(): void {
    this.#isDisposed = true;
    this.space.removeListener(this.#listener);
    for (const { region, notifier } of this.#pieces.splice(0)) unregisterNotifier(region, notifier);
    this.#cache.clear();
    this.#order.clear();
  }

  /** The same as {@linkcode dispose}. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  #add({ region, range, offsetWithinRegion }: MemorySection): void {
    if (region.kind === "iommu") this.#listen(region, range, range.start - offsetWithinRegion);
  }

  #listen(region: IommuMemoryRegion, range: AddressRange, delta: bigint): void {
    const notifier = new IommuNotifier({
      flags: this.#flag,
      range: { start: range.start - delta, last: range.last - delta },
      notify: ({ iova }) => this.#invalidate({ start: iova.start + delta, last: iova.last + delta }),
    });
    registerNotifier(region, notifier);
    this.#pieces.push({ region, range, delta, notifier });
  }

  #remove({ region, range, offsetWithinRegion }: MemorySection): void {
    if (region.kind === "io" || this.#isDisposed) return; // nothing is reached there, so nothing was cached
    this.#invalidate(range);
    const delta = range.start - offsetWithinRegion;
    for (const piece of [...this.#pieces]) {
      if (piece.region !== region || piece.delta !== delta || intersect(piece.range, range) === undefined) continue;
      const { start, last } = piece.range;
      if (start < range.start) this.#listen(piece.region, { start, last: range.start - 1n }, delta);
      if (range.last < last) this.#listen(piece.region, { start: range.last + 1n, last }, delta);
      this.#pieces.splice(this.#pieces.indexOf(piece), 1);
      unregisterNotifier(piece.region, piece.notifier);
    }
  }

  #invalidate(range: AddressRange): void {
    for (const entry of this.#cache.overlapping(range)) {
      this.#drop(entry);
      this.#invalidations++;
    }
    this.#invalidated?.(range);
  }

  #drop(entry: CacheEntry): void {
    this.#cache.delete(entry);
    this.#order.delete(entry);
  }
}
