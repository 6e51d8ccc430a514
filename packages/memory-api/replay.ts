import type { IommuNotifier } from "@giommu/notifiers";
import type { IommuMemoryRegion } from "./iommu_memory_region.ts";
import type { ReplayOptions, ReplayResult } from "./replay_options.ts";
import { ReplayStepper } from "./replay_stepper.ts";

/**
 * Tells one notifier of every mapping that an IOMMU holds, as MAP events in ascending order.
 *
 * This is for who joins late: a device plugged into a bus whose guest has mapped memory already. Neighbouring entries
 * with the same permission, page size and adjoining targets come as one event, cropped to the notifier's range. Holes are told of by nobody.
 * Entries finer than the notifier can use are told as they are: `pageSize` says so.
 *
 * An IOMMU with its own `replay` is asked for its mappings; any other is probed through `translate`, which for a region
 * of 2^64 bytes without `nextMapped` takes longer than anybody waits: use {@linkcode startReplay} there.
 *
 * The notifier's `begin`, `commit` and `rollback` are not called: the caller brackets a replay as it sees fit.
 *
 * @param region The IOMMU to replay.
 * @param notifier Who is told; registered or not. One that does not listen to MAP is told nothing.
 * @param options What to replay, and how finely to look for it.
 * @returns What was told.
 * @throws {TypeError | RangeError} If an argument is bad, or the IOMMU answers with something that is no entry.
 * @throws {IommuError} `"replay-in-progress"` if another replay to the same notifier is under way;
 * `"change-in-progress"` from inside the delivery of a change of the region.
 * @throws Whatever the notifier throws. The replay ends there; what the notifier took before is its own to give back.
 *
 * @example A sparse IOMMU of 2^64 bytes
 * ```ts
 * import { IommuMemoryRegion, replay } from "@giommu/memory-api";
 * import { IommuNotifier, IommuNotifierFlag, IommuPerm } from "@giommu/notifiers";
 * import { assertEquals } from "@std/assert";
 *
 * const mapped = [0x5000n, 0xffff_ffff_ffff_f000n];
 * const iommu = new IommuMemoryRegion({
 *   name: "sparse",
 *   size: 2n ** 64n,
 *   translate: (iova) => {
 *     const start = mapped.find((page) => page === (iova & ~0xfffn));
 *     return start === undefined
 *       ? undefined
 *       : { iova: { start, last: start + 0xfffn }, target: 0n, perm: IommuPerm.READ, pageSize: 0x1000n };
 *   },
 *   nextMapped: (iova) => mapped.find((page) => page >= iova),
 * });
 * const heard: bigint[] = [];
 * const notifier = new IommuNotifier({ flags: IommuNotifierFlag.MAP, notify: (event) => heard.push(event.iova.start) });
 * assertEquals(replay(iommu, notifier), { pages: 2n, extents: 2, steps: 4n });
 * assertEquals(heard, mapped);
 * ```
 */
export function replay(region: IommuMemoryRegion, notifier: IommuNotifier, options: ReplayOptions = {}): ReplayResult {
  const { granularity, access, range } = options;
  const stepper = new ReplayStepper(region, notifier, {
    ...(granularity !== undefined && { granularity }),
    ...(access !== undefined && { access }),
    ...(range !== undefined && { range }),
  });
  return finish(stepper);
}

/** Goes on to the end, and disposes of the stepper. */
export function finish(stepper: ReplayStepper): ReplayResult {
  // Not `using`, which JSR hands on as it is and Node.js before 24 cannot read.
  try {
    while (!stepper.step(Number.MAX_SAFE_INTEGER).done);
    const { pages, extents, steps } = stepper.progress;
    return { pages, extents, steps };
  } finally {
    stepper[Symbol.dispose]();
  }
}
