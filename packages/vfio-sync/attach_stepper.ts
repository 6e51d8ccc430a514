import { checkInteger, IommuError } from "@giommu/core";
import type { Attachment } from "./_attachment.ts";
import type { AttachReport } from "./attach_report.ts";

/** How far an attach is. */
export interface AttachProgress {
  /** Whether everything is mapped. */
  readonly done: boolean;
  /** Pages replayed so far. */
  readonly pages: bigint;
  /** Runs that they came in. */
  readonly extents: number;
}

/** Makes a stepper; not exported by the package. */
export let stepperOf: (attachment: Attachment) => AttachStepper;

/**
 * An attach in steps; made by `VfioContainer.attachSteps`.
 *
 * The device must not run before it is done. Between steps the guest may: what it changes is mirrored exactly once.
 *
 * @example Aborting leaves nothing
 * ```ts
 * import { AddressSpace, IommuMemoryRegion } from "@giommu/memory-api";
 * import { SimulatedHost, VfioContainer } from "@giommu/vfio-sync";
 * import { assertEquals } from "@std/assert";
 *
 * const iommu = new IommuMemoryRegion({
 *   name: "iommu",
 *   size: 0x10_0000n,
 *   translate: (iova) => iova & 0x1000n ? undefined : {
 *     iova: { start: iova & ~0xfffn, last: iova | 0xfffn }, target: iova & ~0xfffn, perm: 3, pageSize: 0x1000n,
 *   },
 * });
 * using bus = new AddressSpace({ name: "bus", root: iommu });
 * const host = new SimulatedHost();
 * using container = new VfioContainer({ host });
 * {
 *   using steps = container.attachSteps(bus);
 *   steps.step(50);
 *   assertEquals(host.size, 25);
 * }
 * assertEquals([host.size, iommu.notifiers.size, container.space], [0, 0, undefined]);
 * ```
 */
export class AttachStepper implements Disposable {
  readonly #attachment: Attachment;
  #report: AttachReport | undefined;

  static {
    stepperOf = (attachment) => new AttachStepper(attachment);
  }

  private constructor(attachment: Attachment) {
    this.#attachment = attachment;
  }

  /** What was done; `undefined` until all is. */
  get report(): AttachReport | undefined {
    return this.#report;
  }

  /** How far it is. */
  get progress(): AttachProgress {
    const { pages, extents } = this.#attachment.told;
    return { done: this.#report !== undefined, pages, extents };
  }

  /**
   * Goes on for a while.
   *
   * @param budget How many units of work to do at most: probes of `translate`, or entries of an IOMMU's own replay.
   * @returns How far it is now.
   * @throws {RangeError} If the budget is not a whole number from 1 on.
   * @throws {IommuError} As `VfioContainer.attach`: nothing is left then. If the container failed since the last step,
   * what it failed of. `"replay-aborted"` if it is over without being done; the reason is the `cause`.
   */
  step(budget: number): AttachProgress {
    checkInteger("budget", budget, 1, Number.MAX_SAFE_INTEGER);
    if (this.#report !== undefined) return this.progress;
    const { isClosed, refused: cause } = this.#attachment;
    if (isClosed) {
      throw new IommuError(
        "replay-aborted",
        `Cannot go on attaching to ${this.#attachment.space.name}: it ${
          cause === undefined ? "was aborted" : "failed"
        }`,
        { ...(cause !== undefined && { cause }) },
      );
    }
    if (this.#attachment.step(budget)) this.#report = this.#attachment.finish();
    return this.progress;
  }

  /**
   * Ends the attach where it is, and undoes it, also on a container that failed meanwhile. One that is done stays as it
   * is. Twice is fine.
   *
   * What the host does not unmap is what `VfioContainer.failed` names; a `detach` tries again.
   *
   * @throws {IommuError} `"change-in-progress"` from inside a call of the host; nothing is undone then.
   */
  abort(): void {
    if (this.#report === undefined && !this.#attachment.isClosed) this.#attachment.abort();
  }

  /** The same as {@linkcode abort}. */
  [Symbol.dispose](): void {
    this.abort();
  }
}
