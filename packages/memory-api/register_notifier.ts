import type { IommuNotifier } from "@giommu/notifiers";
import type { IommuMemoryRegion } from "./iommu_memory_region.ts";
import { finish } from "./replay.ts";
import type { ReplayOptions, ReplayResult } from "./replay_options.ts";
import { ReplayStepper } from "./replay_stepper.ts";

/** How a notifier is registered. */
export interface RegisterOptions {
  /** Whether, and how, it is told of the mappings that are there already; not at all unless given. */
  readonly replay?: true | ReplayOptions;
}

/**
 * Registers a notifier with an IOMMU, and tells it of the mappings that are there already if asked to.
 *
 * @param region The IOMMU.
 * @param notifier Who is told from now on.
 * @param options Whether to replay.
 * @returns What the replay told; `undefined` without one.
 * @throws {TypeError} If the notifier is registered already.
 * @throws {IommuError} `"notifier-refused"` if the region refuses its flags.
 * @throws Whatever {@linkcode replay} throws. Whenever something is thrown, the notifier is not registered.
 *
 * @example
 * ```ts
 * import { IommuMemoryRegion, registerNotifier, unregisterNotifier } from "@giommu/memory-api";
 * import { IommuNotifier, IommuNotifierFlag, IommuPerm } from "@giommu/notifiers";
 * import { assertEquals, assertThrows } from "@std/assert";
 *
 * const page = { iova: { start: 0n, last: 0xfffn }, target: 0n, perm: IommuPerm.READ, pageSize: 0x1000n };
 * const iommu = new IommuMemoryRegion({ name: "one page", size: 0x1000n, translate: () => page });
 * const picky = new IommuNotifier({
 *   flags: IommuNotifierFlag.IOTLB_EVENTS,
 *   notify: () => {
 *     throw new Error("not me");
 *   },
 * });
 * assertThrows(() => registerNotifier(iommu, picky, { replay: true }), Error, "not me");
 * assertEquals(iommu.notifiers.size, 0);
 * registerNotifier(iommu, picky);
 * assertEquals(unregisterNotifier(iommu, picky), true);
 * ```
 */
export function registerNotifier(
  region: IommuMemoryRegion,
  notifier: IommuNotifier,
  options: RegisterOptions = {},
): ReplayResult | undefined {
  const { replay } = options;
  if (replay === undefined) {
    region.notifiers.register(notifier);
    return undefined;
  }
  if (replay !== true && (typeof replay !== "object" || replay === null)) {
    throw new TypeError(`Cannot register a notifier: replay is ${String(replay)}, expected true or options`);
  }
  const how = replay === true ? {} : replay;
  return finish(new ReplayStepper(region, notifier, { ...how, register: true }));
}

/**
 * Unregisters a notifier from an IOMMU. It is told nothing more; what it holds is its own to let go.
 *
 * @param region The IOMMU.
 * @param notifier The notifier.
 * @returns Whether it was registered there.
 *
 * @example
 * ```ts
 * import { IommuMemoryRegion, registerNotifier, unregisterNotifier } from "@giommu/memory-api";
 * import { IommuNotifier, IommuNotifierFlag } from "@giommu/notifiers";
 * import { assertEquals } from "@std/assert";
 *
 * const iommu = new IommuMemoryRegion({ name: "iommu", size: 0x1000n, translate: () => undefined });
 * const notifier = new IommuNotifier({ flags: IommuNotifierFlag.UNMAP, notify: () => {} });
 * registerNotifier(iommu, notifier);
 * assertEquals([unregisterNotifier(iommu, notifier), unregisterNotifier(iommu, notifier)], [true, false]);
 * ```
 */
export function unregisterNotifier(region: IommuMemoryRegion, notifier: IommuNotifier): boolean {
  return region.notifiers.unregister(notifier);
}
