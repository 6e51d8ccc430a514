import type { AddressRange } from "@giommu/core";
import { checkInstance, checkInteger, checkU64, formatRange, hex } from "@giommu/core";
import type { ChangeOutcome, IommuChange, IotlbEntry, IotlbEvent } from "@giommu/notifiers";
import type { IommuNotifierFlag, RegisteredNotifiers } from "@giommu/notifiers";
import { checkEntry, checkPageSize, IommuPerm, NotifierList } from "@giommu/notifiers";
import type { MemoryRegionInit } from "./memory_region.ts";
import { MemoryRegion } from "./memory_region.ts";

/** The page size of an IOMMU that does not tell its own: 4 KiB. */
export const DEFAULT_PAGE_SIZE = 0x1000n;

/** What a replay asks of an IOMMU that walks its mappings itself. */
export interface OwnReplayOptions {
  /** The addresses inside the region to be walked, both ends included; they lie inside the region. */
  readonly range: AddressRange;
  /** How to cut what is told: in maximal runs, or in runs that one guest call stored. */
  readonly runs: "full" | "call";
  /** The access that is asked for; `NONE` asks for all mappings. Entries that allow less are left out by the replay. */
  readonly access: IommuPerm;
  /** The granularity that the replay's caller asked for. */
  readonly granularity: bigint;
  /** Which translation context. */
  readonly iommuIndex: number;
}

/** What makes an {@linkcode IommuMemoryRegion}. Its methods are called on this object. */
export interface IommuMemoryRegionInit extends MemoryRegionInit {
  /**
   * Translates one address.
   *
   * @param iova An address inside the region, 0 to size - 1.
   * @param access What the device is about to do. `NONE` asks for the entry with its full permissions, whatever they are.
   * @param iommuIndex Which translation context.
   * @returns The entry that contains the address; `undefined`, or one with permission `NONE`, if nothing is mapped.
   */
  translate(iova: bigint, access: IommuPerm, iommuIndex: number): IotlbEntry | undefined;
  /** The smallest page that it maps, in bytes, a power of two; 4 KiB where absent. */
  minPageSize?(): bigint;
  /** The union of all notifiers' flags is about to change; to throw while a notifier joins refuses it. */
  flagsChanged?(old: IommuNotifierFlag, next: IommuNotifierFlag): void;
  /**
   * Walks the mappings of a range in ascending order; much faster than asking `translate` page by page.
   *
   * It may be left early and called again for what remains, and must tell what is mapped when it is asked for the next entry.
   */
  replay?(options: OwnReplayOptions): Iterable<IotlbEntry>;
  /**
   * Where the next mapping is, so that a walk need not probe holes.
   *
   * @returns The least mapped address that is not below `iova`; `undefined` if there is none.
   */
  nextMapped?(iova: bigint, iommuIndex: number): bigint | undefined;
}

/** What the other files of this package know of an IOMMU region; not exported by the package. */
export let iommuInit: (region: IommuMemoryRegion) => IommuMemoryRegionInit;

/** The notifiers of an IOMMU region, to be altered; not exported by the package. */
export let listOf: (region: IommuMemoryRegion) => NotifierList;

/**
 * A region whose accesses are translated: a window of an IOMMU that the guest can see and program.
 *
 * All addresses here are offsets inside the region. Any IOMMU can be written with `translate` alone.
 *
 * @example An IOMMU with one mapped page
 * ```ts
 * import { IommuMemoryRegion, replay } from "@giommu/memory-api";
 * import { IommuNotifier, IommuNotifierFlag, IommuPerm } from "@giommu/notifiers";
 * import { assertEquals } from "@std/assert";
 *
 * const iommu = new IommuMemoryRegion({
 *   name: "iommu",
 *   size: 0x10000n,
 *   translate: (iova) =>
 *     iova >> 12n === 3n
 *       ? { iova: { start: 0x3000n, last: 0x3fffn }, target: 0x8000n, perm: IommuPerm.READ_WRITE, pageSize: 0x1000n }
 *       : undefined,
 * });
 * const heard: bigint[] = [];
 * const notifier = new IommuNotifier({ flags: IommuNotifierFlag.MAP, notify: (event) => heard.push(event.iova.start) });
 * assertEquals(replay(iommu, notifier).pages, 1n);
 * assertEquals(heard, [0x3000n]);
 * ```
 */
export class IommuMemoryRegion extends MemoryRegion {
  /** It is an IOMMU. */
  override readonly kind = "iommu" as const;
  readonly #notifiers: NotifierList;
  readonly #init: IommuMemoryRegionInit;

  static {
    iommuInit = (region) => region.#init;
    listOf = (region) => checkInstance("region", region, IommuMemoryRegion).#notifiers;
  }

  /**
   * Creates an IOMMU region that lies nowhere yet.
   *
   * @param init Name, size, and how it translates.
   * @throws {TypeError} If a field has the wrong type.
   * @throws {RangeError} If the size is not 1 to 2^64.
   */
  constructor(init: IommuMemoryRegionInit) {
    super(init);
    if (typeof init.translate !== "function") {
      throw new TypeError(`Cannot make region ${init.name}: translate is ${typeof init.translate}`);
    }
    this.#init = init;
    this.#notifiers = new NotifierList({ flagsChanged: (old, next) => init.flagsChanged?.(old, next) });
  }

  /** Who is told of its changes; {@linkcode registerNotifier} adds to them. */
  get notifiers(): RegisteredNotifiers {
    return this.#notifiers;
  }

  /**
   * The smallest page that it maps, in bytes; 4 KiB where the IOMMU does not say.
   *
   * Reading it throws `TypeError` or `RangeError` if the IOMMU answers with something else than a power of two from 1 to 2^63.
   */
  get minPageSize(): bigint {
    return checkPageSize(`minPageSize of region ${this.name}`, this.#init.minPageSize?.() ?? DEFAULT_PAGE_SIZE);
  }

  /**
   * Translates one address and checks what the IOMMU answers.
   *
   * @param iova An address inside the region.
   * @param access What the device is about to do; `NONE` (default) asks for the entry with its full permissions.
   * @param iommuIndex Which translation context; 0 unless given.
   * @returns The entry that contains the address, whatever it allows; `undefined` if nothing is mapped, or the address lies beyond the region.
   * @throws {TypeError} If an argument or the IOMMU's answer has the wrong type.
   * @throws {RangeError} If an argument is out of bounds, or the answer does not contain the address.
   */
  translate(iova: bigint, access: IommuPerm = IommuPerm.NONE, iommuIndex = 0): IotlbEntry | undefined {
    checkU64("iova", iova);
    checkInteger("access", access, IommuPerm.NONE, IommuPerm.READ_WRITE);
    checkInteger("iommuIndex", iommuIndex);
    if (iova >= this.size) return undefined;
    const entry = this.#init.translate(iova, access, iommuIndex);
    if (entry === undefined || entry?.perm === IommuPerm.NONE) return undefined;
    checkEntry(() => `translation of ${hex(iova)} by region ${this.name}`, entry);
    if (iova < entry.iova.start || iova > entry.iova.last) {
      throw new RangeError(
        `Cannot use translation of ${hex(iova)} by region ${this.name}: it is for ${formatRange(entry.iova)}`,
      );
    }
    return entry;
  }

  /**
   * Tells the notifiers of one event; see {@linkcode NotifierList.notify}.
   *
   * @param event The event; its addresses are offsets inside this region.
   * @param iommuIndex Which translation context; 0 unless given.
   */
  notify(event: IotlbEvent, iommuIndex = 0): void {
    this.#notifiers.notify(event, iommuIndex);
  }

  /**
   * Tells the notifiers of what a guest call changed, all or nothing; see {@linkcode NotifierList.change}.
   *
   * @param change What vanished and what appeared; addresses are offsets inside this region.
   * @param iommuIndex Which translation context; 0 unless given.
   * @returns How it went, and which entries must become nothing.
   */
  change(change: IommuChange, iommuIndex = 0): ChangeOutcome {
    return this.#notifiers.change(change, iommuIndex);
  }
}
