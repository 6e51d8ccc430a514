import type { AddressRange } from "@giommu/core";
import { checkInstance, checkInteger, checkRange, intersect, IommuError } from "@giommu/core";
import { checkPageSize, IommuNotifier, IommuNotifierFlag, IommuPerm, NotifierWalk } from "@giommu/notifiers";
import { OwnSource } from "./_own_source.ts";
import type { Found, MappingSource } from "./_source.ts";
import { WalkSource } from "./_walk_source.ts";
import { iommuInit, IommuMemoryRegion, listOf } from "./iommu_memory_region.ts";
import type { ReplayProgress, StepwiseReplayOptions } from "./replay_options.ts";

/**
 * A replay in steps, between which the guest may run and change its mappings.
 *
 * What the guest changes behind the position reaches a registered notifier live; what it changes ahead reaches it by the walk alone, which
 * reads it when it gets there. So the notifier is told of each mapping exactly once, and in the end holds what the IOMMU holds.
 * (If it had heard of changes before the replay began, it goes on hearing all of them live, and may hear of a mapping
 * twice.)
 *
 * A run of mappings goes on over the end of a step. Only after the guest changed what lay ahead are runs cut there
 * (and so are entries that are not aligned to the granularity).
 *
 * @example
 * ```ts
 * import { IommuMemoryRegion, replaySteps, unregisterNotifier } from "@giommu/memory-api";
 * import { IommuNotifier, IommuNotifierFlag, IommuPerm } from "@giommu/notifiers";
 * import { assertEquals } from "@std/assert";
 *
 * const iommu = new IommuMemoryRegion({
 *   name: "iommu",
 *   size: 0x10_0000n,
 *   translate: (iova) => {
 *     const start = iova & ~0xfffn;
 *     return { iova: { start, last: start + 0xfffn }, target: start, perm: IommuPerm.READ, pageSize: 0x1000n };
 *   },
 * });
 * let told = 0;
 * const notifier = new IommuNotifier({ flags: IommuNotifierFlag.MAP, notify: () => told++ });
 * using stepper = replaySteps(iommu, notifier, { register: true });
 * assertEquals(stepper.step(100).done, false);
 * while (!stepper.step(100).done);
 * assertEquals([told, stepper.progress.pages], [1, 256n]);
 * unregisterNotifier(iommu, notifier);
 * ```
 */
export class ReplayStepper implements Disposable {
  /** What is walked: what the region, the notifier and the options share. `undefined` if there is nothing to tell. */
  readonly range: AddressRange | undefined;
  readonly #region: IommuMemoryRegion;
  readonly #notifier: IommuNotifier;
  readonly #granularity: bigint;
  readonly #access: IommuPerm;
  readonly #owns: boolean;
  readonly #wasRegistered: boolean;
  #walk: NotifierWalk | undefined;
  #source: MappingSource | undefined;
  #failed = false;
  /** Whether every step gives out what it has read; set once a change made what was read out of date. */
  #flushes = false;
  /** Where the source was opened anew the last time, so that a change made by every probe cannot stop the walk. */
  #reopenedAt: bigint | undefined;
  #pages = 0n;
  #extents = 0;
  #steps = 0;

  /**
   * Begins a replay; nothing is told yet.
   *
   * @param region The IOMMU to replay.
   * @param notifier Who is told. One that does not listen to MAP is told nothing.
   * @param options What to replay, and whether to register the notifier first.
   * @throws {TypeError} If an argument has the wrong type.
   * @throws {RangeError} If an argument is out of bounds, or the region's minimum page size is.
   * @throws {IommuError} `"notifier-refused"` if the region refuses the notifier; `"replay-in-progress"` if another
   * replay to the same notifier is under way. Nothing is registered then.
   */
  constructor(region: IommuMemoryRegion, notifier: IommuNotifier, options: StepwiseReplayOptions = {}) {
    this.#region = checkInstance("region", region, IommuMemoryRegion);
    this.#notifier = checkInstance("notifier", notifier, IommuNotifier);
    this.#access = checkInteger("access", options.access ?? IommuPerm.NONE, 0, IommuPerm.READ_WRITE) as IommuPerm;
    const page = region.minPageSize;
    const granularity = checkPageSize("granularity", options.granularity ?? page);
    this.#granularity = granularity < page ? granularity : page;
    this.range = rangeOf(region, notifier, options.range);
    this.#owns = options.register === true;
    if (this.#owns) listOf(region).register(notifier);
    this.#wasRegistered = region.notifiers.has(notifier);
    if (this.range === undefined) return;
    try {
      this.#walk = new NotifierWalk(notifier, this.range);
    } catch (error) {
      if (this.#owns) listOf(region).unregister(notifier);
      throw error;
    }
  }

  /** How far it is. */
  get progress(): ReplayProgress {
    const position = this.#walk?.position;
    return {
      done: position === undefined,
      position,
      pages: this.#pages,
      extents: this.#extents,
      steps: BigInt(this.#steps),
    };
  }

  /**
   * Goes on for a while.
   *
   * @param budget How many units of work to do at most: probes of `translate`, or entries of the IOMMU's own replay.
   * @returns How far it is now.
   * @throws {RangeError} If the budget is not a whole number from 1 on.
   * @throws {TypeError | RangeError} If the IOMMU answers with something that is no entry; the message names the region.
   * @throws {IommuError} `"replay-aborted"` if it failed or was aborted before; `"change-in-progress"` from inside the
   * delivery of a change of the region.
   * @throws Whatever the notifier throws. The replay is over then, and if it registered the notifier, that is
   * unregistered. What the notifier took before is its own to give back.
   */
  step(budget: number): ReplayProgress {
    checkInteger("budget", budget, 1, Number.MAX_SAFE_INTEGER);
    if (this.#failed) {
      const range = this.range;
      throw new IommuError("replay-aborted", `Cannot go on replaying region ${this.#region.name}: it was aborted`, {
        ...(range !== undefined && { range }),
      });
    }
    const walk = this.#walk;
    if (walk === undefined) return this.progress;
    try {
      // Also where nothing is mapped that could be told: a change that is refused later would put entries back unheard.
      checkQuiet(this.#region, walk.range);
      this.#run(walk, budget);
    } catch (error) {
      this.#fail();
      throw error;
    }
    if (walk.position === undefined) this.#end();
    return this.progress;
  }

  /**
   * Ends the replay where it is; if it registered the notifier, that is unregistered. A replay that is over stays as it is.
   */
  abort(): void {
    if (this.#walk !== undefined) this.#fail();
  }

  /** The same as {@linkcode abort}. */
  [Symbol.dispose](): void {
    this.abort();
  }

  #run(walk: NotifierWalk, budget: number): void {
    const registered = this.#region.notifiers.has(this.#notifier);
    // Of a notifier that nobody tells of changes it is not known whether what was read ahead is still true.
    if (walk.stale) this.#flushes = true;
    if (walk.stale || !registered) this.#close();
    walk.refresh();
    for (let left = budget; left > 0 && walk.position !== undefined; left--) {
      if (this.#wasRegistered && !this.#region.notifiers.has(this.#notifier)) {
        walk.end(); // it left, perhaps from inside its own callback: it wants to hear nothing more
        return;
      }
      const source = this.#source ??= this.#open(walk.position);
      const { asked } = source;
      const found = source.advance();
      this.#steps += source.asked - asked;
      this.#tell(walk, found);
      this.#settle(walk, source);
    }
    if (walk.position !== undefined && this.#source !== undefined && (this.#flushes || !registered)) {
      this.#tell(walk, this.#source.flush());
      this.#settle(walk, this.#source);
    }
  }

  #open(start: bigint): MappingSource {
    const region = this.#region;
    const { runs, iommuIndex } = this.#notifier;
    const range = { start, last: this.range?.last ?? start };
    const { replay } = iommuInit(region);
    const [access, granularity] = [this.#access, this.#granularity];
    if (replay !== undefined) {
      return new OwnSource(region, replay, { range, runs, access, granularity, iommuIndex });
    }
    return new WalkSource(region, { range, granularity, access, iommuIndex, joins: runs === "full" });
  }

  #tell(walk: NotifierWalk, found: Found | undefined): void {
    if (found === undefined || walk.tell(found.entry) === undefined) return;
    this.#pages += found.pages;
    this.#extents++;
  }

  /** Brings the walk up to where the source is; or, if the IOMMU changed meanwhile, has it read anew. */
  #settle(walk: NotifierWalk, source: MappingSource): void {
    if (walk.stale && walk.position !== this.#reopenedAt) {
      this.#reopenedAt = walk.position;
      this.#close();
      walk.refresh();
      return;
    }
    const { position } = source;
    if (position === undefined) walk.pass(walk.range.last);
    else if (position > 0n) walk.pass(position - 1n);
  }

  #close(): void {
    this.#source?.close();
    this.#source = undefined;
  }

  #end(): void {
    this.#close();
    this.#walk?.end();
    this.#walk = undefined;
  }

  #fail(): void {
    this.#failed = true;
    try {
      this.#end();
    } finally {
      if (this.#owns) listOf(this.#region).unregister(this.#notifier);
    }
  }
}

/**
 * Begins a replay in steps; see {@linkcode ReplayStepper}.
 *
 * @param region The IOMMU to replay.
 * @param notifier Who is told.
 * @param options What to replay, and whether to register the notifier first.
 * @returns The replay; nothing is told yet. Dispose it to abort.
 * @throws {TypeError} If an argument has the wrong type.
 * @throws {RangeError} If an argument is out of bounds, or the region's minimum page size is.
 * @throws {IommuError} `"notifier-refused"`, `"replay-in-progress"`; nothing is registered then.
 *
 * @example
 * ```ts
 * import { IommuMemoryRegion, replaySteps } from "@giommu/memory-api";
 * import { IommuNotifier, IommuNotifierFlag } from "@giommu/notifiers";
 * import { assertEquals } from "@std/assert";
 *
 * const iommu = new IommuMemoryRegion({ name: "empty", size: 0x4000n, translate: () => undefined });
 * const notifier = new IommuNotifier({ flags: IommuNotifierFlag.MAP, notify: () => {} });
 * using stepper = replaySteps(iommu, notifier);
 * assertEquals(stepper.step(3).position, 0x3000n); // pages 0 to 2 are not mapped
 * assertEquals(stepper.step(3).done, true);
 * ```
 */
export function replaySteps(
  region: IommuMemoryRegion,
  notifier: IommuNotifier,
  options: StepwiseReplayOptions = {},
): ReplayStepper {
  return new ReplayStepper(region, notifier, options);
}

/** Throws from inside the delivery of a change: what is read then may be taken back. */
function checkQuiet(region: IommuMemoryRegion, range: AddressRange): void {
  if (!region.notifiers.changing) return;
  throw new IommuError(
    "change-in-progress",
    `Cannot replay region ${region.name}: its notifiers are being told of a change`,
    { range, remedy: "replay after the guest's call has returned" },
  );
}

/** What region, notifier and caller have in common. */
function rangeOf(
  region: IommuMemoryRegion,
  notifier: IommuNotifier,
  range: AddressRange | undefined,
): AddressRange | undefined {
  if (range !== undefined) checkRange("range", range);
  if ((notifier.flags & IommuNotifierFlag.MAP) === 0) return undefined;
  const wanted = range === undefined ? notifier.range : intersect(notifier.range, range);
  return wanted && intersect(wanted, { start: 0n, last: region.size - 1n });
}
