import type { AddressRange } from "@giommu/core";
import { WHOLE_SPACE } from "@giommu/core";
import type { Driver } from "./_driver.ts";
import type { DirtyPrecision } from "./host_dirty.ts";

/** What devices may have written since it was collected the last time; see {@linkcode DirtyTracking.collect}. */
export interface DirtyPages {
  /** How much is known: `"pinned"` counts everything that devices could have written, so that nothing is missed. */
  readonly precision: DirtyPrecision;
  /** Why it is not known better, where that is so. */
  readonly reason?: string;
  /** The size of a page here: the host's smallest, in bytes. */
  readonly pageSize: bigint;
  /** How many pages of guest memory. */
  readonly pages: bigint;
  /** Which: guest-physical ranges of whole pages, both ends included, ascending, not adjoining. */
  readonly ranges: readonly AddressRange[];
}

/** Makes the tracking of a container; not exported by the package. */
export let dirtyTrackingOf: (driver: Driver, check: () => void) => DirtyTracking;

/**
 * Which guest memory the devices of a container write, for a migration; it is `VfioContainer.dirty`.
 *
 * Hosts tell written pages by bus address, and only while they are mapped. Here each write is translated by the mapping
 * through which it was made, also where that is gone or another one is there now. Where the host cannot tell, everything counts
 * that devices could write, and `precision` and `reason` say so.
 *
 * @example
 * ```ts
 * import { AddressSpace, RamRegion } from "@giommu/memory-api";
 * import { SimulatedHost, VfioContainer } from "@giommu/vfio-sync";
 * import { assertEquals } from "@std/assert";
 *
 * using bus = new AddressSpace({ name: "bus", root: new RamRegion({ name: "ram", size: 0x10_0000n }) });
 * const host = new SimulatedHost({ rules: "type1" });
 * using container = new VfioContainer({ host });
 * container.attach(bus);
 * assertEquals(container.dirty.start(), "written");
 * host.write(0x5ffen, new Uint8Array(4)); // a device, across the border of two pages
 * container.detach(); // what is unmapped since is not forgotten
 * assertEquals(container.dirty.collect().ranges, [{ start: 0x5000n, last: 0x6fffn }]);
 * assertEquals(container.dirty.collect().pages, 0n);
 * ```
 */
export class DirtyTracking {
  readonly #driver: Driver;
  readonly #check: () => void;

  static {
    dirtyTrackingOf = (driver, check) => new DirtyTracking(driver, check);
  }

  private constructor(driver: Driver, check: () => void) {
    this.#driver = driver;
    this.#check = check;
  }

  /** How much is known; `undefined` while nothing is tracked. */
  get precision(): DirtyPrecision | undefined {
    return this.#driver.dirty.precision;
  }

  /**
   * Begins. What was written before counts as copied. Once more changes nothing.
   *
   * @returns How much will be known.
   * @throws {IommuError} `"disposed"` if the container was; `"change-in-progress"` from inside a call of the host;
   * `"host-refused"` if the host fails otherwise than by not being able to.
   */
  start(): DirtyPrecision {
    this.#idle();
    return this.#driver.dirty.start();
  }

  /**
   * Tells which guest memory was written since the start, or since this was asked the last time, and forgets it.
   *
   * @returns Guest-physical pages.
   * @throws {IommuError} `"disposed"` if the container was; `"not-started"` if nothing is tracked; `"change-in-progress"` from inside
   * a call of the host.
   */
  collect(): DirtyPages {
    this.#idle();
    return this.#driver.dirty.collect(this.#driver.maps(WHOLE_SPACE));
  }

  /**
   * Ends, and forgets what was not collected. Once more changes nothing.
   *
   * @throws {IommuError} `"disposed"` if the container was; `"change-in-progress"` from inside a call of the host;
   * `"host-refused"` if the host does not end it; here it is ended all the same.
   */
  stop(): void {
    this.#idle();
    this.#driver.dirty.stop();
  }

  #idle(): void {
    this.#check();
    this.#driver.checkIdle();
  }
}
