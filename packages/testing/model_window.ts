import type { Gpa, Iova } from "@giommu/core";

/** Where a window of a {@linkcode SpaprModel} lies and how large it is. */
export interface ModelGeometry {
  /** The LIOBN. */
  readonly liobn: number;
  /** The bus address of its first page. */
  readonly busOffset: Iova;
  /** The page size as a power of two. */
  readonly pageShift: number;
  /** How many pages it has. */
  readonly entries: number;
}

/**
 * A window of a {@linkcode SpaprModel}: a plain map of the entries that are not 0.
 *
 * @example
 * ```ts
 * import { ModelWindow } from "@giommu/testing";
 * import { assertEquals } from "@std/assert";
 *
 * const window = new ModelWindow({ liobn: 0x8000_0000, busOffset: 0x10000n, pageShift: 12, entries: 16 });
 * window.tces.set(2, 0x80_0001n); // readable, not writable
 * assertEquals(window.index(0x12fffn), 2);
 * assertEquals(window.index(0x20000n), undefined);
 * assertEquals(window.target(0x12345n, 1), 0x80_0345n);
 * assertEquals(window.target(0x12345n, 2), undefined);
 * ```
 */
export class ModelWindow {
  /** Where it lies. */
  readonly geometry: ModelGeometry;
  /** The entries that are not 0, by their number, with all 64 bits. */
  readonly tces: Map<number, bigint>;

  /**
   * Makes a window.
   *
   * @param geometry Where it lies.
   * @param tces Its entries; copied. None unless given.
   */
  constructor(geometry: ModelGeometry, tces: ReadonlyMap<number, bigint> = new Map()) {
    this.geometry = geometry;
    this.tces = new Map(tces);
  }

  /**
   * The number of the entry that a bus address belongs to.
   *
   * @param bus A bus address; rounded down to the page.
   * @returns The number; `undefined` outside the window. An address below it does not come out at its end.
   */
  index(bus: Iova): number | undefined {
    const { busOffset, pageShift, entries } = this.geometry;
    const page = bus >> BigInt(pageShift) << BigInt(pageShift);
    const index = BigInt.asUintN(64, page - busOffset) >> BigInt(pageShift);
    return index < BigInt(entries) ? Number(index) : undefined;
  }

  /**
   * Where a device's access to one byte goes.
   *
   * @param bus A bus address inside the window.
   * @param access 1 to read, 2 to write.
   * @returns The guest-physical address; `undefined` if the entry does not allow the access.
   */
  target(bus: Iova, access: 1 | 2): Gpa | undefined {
    const { busOffset, pageShift } = this.geometry;
    const offset = bus - busOffset;
    const tce = this.tces.get(Number(offset >> BigInt(pageShift))) ?? 0n;
    if ((Number(tce & 3n) & access) === 0) return undefined;
    const mask = (1n << BigInt(pageShift)) - 1n;
    return tce & ~mask | offset & mask;
  }

  /**
   * Whether a bus address lies inside.
   *
   * @param bus A bus address.
   * @returns Whether it does.
   */
  covers(bus: Iova): boolean {
    const { busOffset, pageShift, entries } = this.geometry;
    return bus >= busOffset && (bus - busOffset) >> BigInt(pageShift) < BigInt(entries);
  }
}
