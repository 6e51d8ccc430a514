import { checkInteger, IommuError } from "@giommu/core";
import type { IommuNotifier } from "@giommu/notifiers";
import type { IommuMemoryRegion } from "./iommu_memory_region.ts";
import type { ReplayProgress, ReplayResult, StepwiseReplayOptions } from "./replay_options.ts";
import { ReplayStepper } from "./replay_stepper.ts";

/** How a long replay is driven. */
export interface AsyncReplayOptions extends StepwiseReplayOptions {
  /** Aborts the replay; with `register`, the notifier is unregistered then. */
  readonly signal?: AbortSignal;
  /** Told after every step. */
  onProgress?(progress: ReplayProgress): void;
  /** How many units of work to do between two pauses; 16,384 unless given. */
  readonly budget?: number;
}

/**
 * Replays in the background: everything else goes on between the steps, the guest too.
 *
 * @param region The IOMMU to replay.
 * @param notifier Who is told.
 * @param options What to replay, how to hear of the progress, and how to abort.
 * @returns What was told.
 * @throws {TypeError | RangeError} If an argument is bad, or the IOMMU answers with something that is no entry.
 * @throws {IommuError} `"replay-aborted"` if the signal aborts it, with the signal's reason as `cause`; and what
 * {@linkcode ReplayStepper} throws.
 *
 * @example
 * ```ts
 * import { IommuMemoryRegion, replayAsync } from "@giommu/memory-api";
 * import { IommuNotifier, IommuNotifierFlag } from "@giommu/notifiers";
 * import { assertEquals, assertRejects } from "@std/assert";
 *
 * // 2^64 bytes, page by page: nobody waits for the end of that.
 * const endless = new IommuMemoryRegion({ name: "endless", size: 2n ** 64n, translate: () => undefined });
 * const notifier = new IommuNotifier({ flags: IommuNotifierFlag.MAP, notify: () => {} });
 * const enough = new AbortController();
 * const replaying = replayAsync(endless, notifier, {
 *   register: true,
 *   signal: enough.signal,
 *   budget: 100,
 *   onProgress: ({ steps }) => steps >= 200n && enough.abort(),
 * });
 * await assertRejects(() => replaying, Error, "aborted");
 * assertEquals(notifier.registered, false);
 * ```
 */
export async function replayAsync(
  region: IommuMemoryRegion,
  notifier: IommuNotifier,
  options: AsyncReplayOptions = {},
): Promise<ReplayResult> {
  const { signal } = options;
  const budget = checkInteger("budget", options.budget ?? 16_384, 1, Number.MAX_SAFE_INTEGER);
  checkAborted(region, signal);
  const stepper = new ReplayStepper(region, notifier, options);
  // Not `using`, which JSR hands on as it is and Node.js before 24 cannot read.
  try {
    while (true) {
      const progress = stepper.step(budget);
      options.onProgress?.(progress);
      if (progress.done) return { pages: progress.pages, extents: progress.extents, steps: progress.steps };
      checkAborted(region, signal);
      await pause();
      checkAborted(region, signal);
    }
  } finally {
    stepper[Symbol.dispose]();
  }
}

function checkAborted(region: IommuMemoryRegion, signal: AbortSignal | undefined): void {
  if (signal?.aborted !== true) return;
  throw new IommuError("replay-aborted", `Cannot finish the replay of region ${region.name}: it was aborted`, {
    cause: signal.reason,
  });
}

/** Lets timers and I/O have their turn; a mere microtask would not. */
function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0));
}
