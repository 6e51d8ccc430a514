import type { AddressRange } from "@giommu/core";
import { checkRange, IommuError, WHOLE_SPACE } from "@giommu/core";
import type { RawContainer } from "@giommu/core/wasm/container";
import type { AddressSpace } from "@giommu/memory-api";
import { Attachment } from "./_attachment.ts";
import { headroomOf } from "./_budget.ts";
import { Driver } from "./_driver.ts";
import { Mirror } from "./_mirror.ts";
import { newRaw, policyOf, runsOf } from "./_policy.ts";
import { planAttach } from "./_plan.ts";
import type { AttachPlan, AttachReport, ContainerPolicy } from "./attach_report.ts";
import type { AttachStepper } from "./attach_stepper.ts";
import { stepperOf } from "./attach_stepper.ts";
import type { DirtyTracking } from "./dirty_tracking.ts";
import { dirtyTrackingOf } from "./dirty_tracking.ts";
import { checkAttachOptions, checkContainerOptions, checkSpace } from "./_checks.ts";
import type {
  AttachOptions,
  AttachStepsOptions,
  ContainerCounters,
  VfioContainerOptions,
} from "./container_options.ts";
import type { HostIommu, HostMapping } from "./host_iommu.ts";

/**
 * One host address space that mirrors what devices on a guest's bus reach.
 *
 * Attached to an address space, it maps RAM sections whole, and for each IOMMU section registers a notifier, replays the mappings that
 * are there already, and then follows the guest. It remembers exactly what it mapped.
 *
 * *A host call made for one guest entry never removes, even for an instant, the translation of an entry that the guest
 * did not change*, unless holes were allowed explicitly.
 *
 * On a host that maps only inside of windows of its own, and only memory that it knows (sPAPR), it creates and removes a window
 * for each of the guest's, and registers system memory first. A window that the host cannot hold is refused to whoever adds
 * it. Where the host exchanges, a change in place never leaves a device without a translation.
 *
 * An attach is a transaction: what can be checked is checked before the first host call, and any failure undoes
 * everything. A live MAP that the host refuses is refused to the guest, both sides are as before. An UNMAP that fails
 * cannot be: the container is {@linkcode failed} then, its device is cut off, and it does nothing more.
 *
 * @example A device is plugged onto a bus whose guest has mapped pages already
 * ```ts
 * import { AddressSpace, IommuMemoryRegion } from "@giommu/memory-api";
 * import { SimulatedHost, verify, VfioContainer } from "@giommu/vfio-sync";
 * import { assertEquals } from "@std/assert";
 *
 * const page = (iova: bigint) => ({
 *   iova: { start: iova & ~0xfffn, last: iova | 0xfffn }, target: 0x80000n + (iova & ~0xfffn), perm: 3, pageSize: 0x1000n,
 * } as const);
 * const mapped = new Set([1n, 2n, 7n]);
 * const iommu = new IommuMemoryRegion({
 *   name: "iommu",
 *   size: 0x10000n,
 *   translate: (iova) => mapped.has(iova >> 12n) ? page(iova) : undefined,
 * });
 * using bus = new AddressSpace("bus", iommu);
 *
 * const host = new SimulatedHost({ rules: "type1" });
 * using container = new VfioContainer({ host });
 * const report = container.attach(bus);
 * assertEquals([report.pages, report.extents, report.hostMaps], [3n, 2, 3]);
 *
 * // The guest goes on: page 2 goes, page 3 comes.
 * mapped.delete(2n);
 * mapped.add(3n);
 * assertEquals(iommu.change({ unmaps: [page(0x2000n)], maps: [page(0x3000n)] }).status, "done");
 * assertEquals(host.translate(0x3010n), { gpa: 0x83010n, perm: 3 });
 * assertEquals(verify(container).agrees, true);
 * ```
 */
export class VfioContainer implements Disposable {
  /** Where its mappings go. */
  readonly host: HostIommu;
  /** How neighbouring pages share mappings here. */
  readonly policy: ContainerPolicy;
  /** Which guest memory the devices write; nothing is tracked until it is started. */
  readonly dirty: DirtyTracking;
  readonly #options: VfioContainerOptions;
  readonly #mirror: Mirror;
  #raw: RawContainer | undefined;
  #attachment: Attachment | undefined;

  /**
   * Creates a container that is attached to nothing.
   *
   * @param options The host and the policy.
   * @throws {TypeError} If a field has the wrong type.
   * @throws {RangeError} If the policy is unknown, the host has no page size, or a range is empty.
   * @throws {IommuError} `"dma-holes-not-allowed"` if mappings are to be coalesced on a host that does not split, without
   * `quiesce` or `allowDmaHoles`.
   */
  constructor(options: VfioContainerOptions) {
    checkContainerOptions(options);
    const { host, staticWindows = [] } = options;
    this.host = host;
    this.#options = options;
    this.policy = policyOf(options);
    for (const window of staticWindows) checkRange("staticWindows", window);
    this.#raw = newRaw(host, this.policy);
    const driver = new Driver(
      this.#raw,
      host,
      options.quiesce && (() => options.quiesce?.()),
      this.policy.holes === "allowed",
    );
    const statics = this.policy.asked === "static" ? staticWindows : [];
    this.#mirror = new Mirror(
      driver,
      host,
      statics,
      (error) => this.#cutOff(error),
      () => this.#attachment?.stop(),
    );
    this.dirty = dirtyTrackingOf(driver, () => void this.#live("track dirty pages of"));
  }

  /** The address space that it is attached to. */
  get space(): AddressSpace | undefined {
    return this.#attachment?.space;
  }

  /** System memory, in which targets lie; `undefined` where every target is RAM. */
  get memory(): AddressSpace | undefined {
    return this.#mirror.memory ?? this.#options.memory;
  }

  /** How many devices share its mappings. */
  get devices(): number {
    return this.#attachment?.devices ?? 0;
  }

  /**
   * Why it failed; `undefined` while it lives. `ranges` are the bus addresses where host and guest differ. A failed container
   * makes no more host calls but those of `detach`.
   */
  get failed(): IommuError | undefined {
    return this.#mirror.failure;
  }

  /** The newest of what could not be mapped and refused nothing (`not-ram`), at most 100; `counters.problems` has how many. */
  get problems(): readonly IommuError[] {
    return this.#mirror.problems.kept;
  }

  /** How many host mappings it made and did not remove. */
  get size(): number {
    return this.#live("look at").size;
  }

  /** Totals since it was made. */
  get counters(): ContainerCounters {
    const [maps = 0n, unmaps = 0n, failed = 0n, holes = 0n, exposed = 0n, quiesced = 0n, widened = 0n] = this.#live(
      "look at",
    ).counters();
    return {
      maps: Number(maps),
      unmaps: Number(unmaps),
      failedCalls: Number(failed),
      holes: Number(holes),
      exposedPages: Number(exposed),
      exposedNanoseconds: this.#mirror.driver.exposedNanoseconds,
      quiesced: Number(quiesced),
      widenedPages: Number(widened),
      problems: this.#mirror.problems.total,
    };
  }

  /**
   * What it mapped and did not unmap: its own memory, not what the host says.
   *
   * @param range Bus addresses; all unless given.
   * @returns The mappings that share an address with the range, ascending.
   * @throws {IommuError} `"disposed"`.
   */
  mappings(range: AddressRange = WHOLE_SPACE): Iterable<HostMapping> {
    this.#live("look at");
    return this.#mirror.driver.maps(checkRange("range", range));
  }

  /**
   * Tries out whether an attach would be refused by what is known of the host, and what it would take. The host is asked nothing,
   * and nothing is changed.
   *
   * @param space What the device would see.
   * @returns What would be done, and the refusal if there is one.
   * @throws {TypeError} If `space` is no `AddressSpace`.
   * @throws {IommuError} `"disposed"`, also of the space.
   *
   * @example
   * ```ts
   * import { AddressSpace, MemoryRegion, RamRegion } from "@giommu/memory-api";
   * import { SimulatedHost, VfioContainer } from "@giommu/vfio-sync";
   * import { assertEquals } from "@std/assert";
   *
   * const root = new MemoryRegion({ name: "bus", size: 2n ** 64n });
   * root.addSubregion(2n ** 59n, new RamRegion({ name: "ram", size: 0x10000n }));
   * using bus = new AddressSpace("bus", root);
   * using container = new VfioContainer({ host: new SimulatedHost({ rules: "type1" }) });
   * assertEquals(container.plan(bus).refusal?.code, "iova-out-of-range");
   * ```
   */
  plan(space: AddressSpace): AttachPlan {
    this.#live("plan with");
    checkSpace(space);
    const refusal = this.#attachment?.refusal(space) ?? this.#refusal(space);
    if (refusal === undefined && this.#attachment === undefined) return this.#plan(space, { counts: true });
    const nothing = { pages: 0n, extents: 0, ramSections: 0, hostMaps: 0, bytes: 0n, problems: [] };
    return refusal === undefined ? nothing : { ...nothing, refusal };
  }

  /**
   * Attaches a device: mirrors what an address space shows, now and from now on.
   *
   * What the limits of the host forbid is found before its first call, by a {@linkcode plan}. A second attach to the same space is one more device that shares the mappings; nothing is replayed.
   *
   * @param space What the device sees.
   * @param options What to report.
   * @returns What was done.
   * @throws {TypeError} If an argument has the wrong type.
   * @throws {IommuError} `"disposed"`, also of the space; `"container-failed"`; `"already-attached"` to another space;
   * `"page-too-fine"`, `"iova-out-of-range"`, `"mapping-limit"` (also if only the headroom is missing), `"overlap"`,
   * `"host-refused"` if something cannot be mapped, with the range and a remedy. Nothing is mapped or registered then. `"rollback-failed"` if that could not be
   * undone; its `ranges` are what the host still holds.
   */
  attach(space: AddressSpace, options: AttachOptions = {}): AttachReport {
    this.#live("attach");
    checkSpace(space);
    checkAttachOptions(options);
    const attachment = this.#attachment;
    if (attachment !== undefined) return attachment.join(space);
    const mine = this.#newAttachment(space, options);
    mine.check(() => this.#plan(space));
    mine.open(false);
    return mine.finish();
  }

  /**
   * Attaches a device step by step, between which the guest may run: what it changes meanwhile is mirrored once, by the
   * walk or live.
   *
   * What the limits of the host forbid is found before its first call, as by {@linkcode attach}. That walks everything at
   * once; `plan: false` leaves it out, and a refusal comes on the way and is undone. Of an IOMMU region of more than 2^24
   * of its smallest pages only as much is tried beforehand as 65,536 units of work reach: one that has neither `replay`
   * nor `nextMapped` cannot be walked in one go.
   *
   * @param space What the device sees.
   * @param options What to report, and whether to plan.
   * @returns What is to be stepped until it is done. Dispose it to abort: nothing is left then.
   * @throws {IommuError} As {@linkcode attach}; and `"already-attached"` also to the same space.
   *
   * @example
   * ```ts
   * import { AddressSpace, IommuMemoryRegion } from "@giommu/memory-api";
   * import { SimulatedHost, VfioContainer } from "@giommu/vfio-sync";
   * import { assertEquals } from "@std/assert";
   *
   * const iommu = new IommuMemoryRegion({
   *   name: "iommu",
   *   size: 0x10_0000n,
   *   translate: (iova) => ({
   *     iova: { start: iova & ~0xfffn, last: iova | 0xfffn }, target: iova & ~0xfffn, perm: 3, pageSize: 0x1000n,
   *   }),
   * });
   * using bus = new AddressSpace("bus", iommu);
   * using container = new VfioContainer({ host: new SimulatedHost({ rules: "iommufd" }) });
   * using steps = container.attachSteps(bus);
   * while (!steps.step(100).done); // let the guest run here
   * assertEquals(steps.report?.pages, 256n);
   * ```
   */
  attachSteps(space: AddressSpace, options: AttachStepsOptions = {}): AttachStepper {
    this.#live("attach");
    checkSpace(space);
    checkAttachOptions(options);
    const refusal = this.#attachment?.refusal(space, "alone");
    if (refusal !== undefined) throw refusal;
    const attachment = this.#newAttachment(space, options);
    if (options.plan !== false) attachment.check(() => this.#plan(space, { isBounded: true }));
    attachment.open(true);
    return stepperOf(attachment);
  }

  /**
   * Detaches a device. The last one takes everything along: notifiers are unregistered, all is unmapped. Without any
   * device it does nothing, except on a failed container, where it tries to unmap what is left.
   *
   * @throws {IommuError} `"disposed"`; `"unmap-failed"` if the host did not unmap everything: `ranges` are what it still
   * holds, and {@linkcode failed} is set.
   */
  detach(): void {
    this.#live("detach");
    const attachment = this.#attachment;
    if (attachment !== undefined && attachment.leave() > 0) return;
    this.#tearDown();
  }

  /**
   * Detaches all devices and lets go of the core's memory. Twice is fine.
   *
   * @throws {IommuError} `"unmap-failed"` if the host did not unmap everything, `"host-refused"` if it did not end the
   * tracking of dirty pages; the container is disposed all the same.
   */
  dispose(): void {
    const raw = this.#raw;
    if (raw === undefined) return;
    try {
      this.#tearDown();
    } finally {
      this.#raw = undefined;
      try {
        this.#mirror.driver.dirty.stop();
      } finally {
        this.#mirror.driver.free();
      }
    }
  }

  /** The same as {@linkcode dispose}. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  /** Why nothing can be attached any more. */
  #refusal(space: AddressSpace): IommuError | undefined {
    return this.failed && new IommuError(
      "container-failed",
      `Cannot attach ${this.host.info.name} to ${space.name}: it failed earlier`,
      { remedy: "make a new container", cause: this.failed },
    );
  }

  #plan(space: AddressSpace, { isBounded = false, counts = false } = {}): AttachPlan {
    const memory = this.#options.memory ?? space.memory;
    const headroom = headroomOf(this.host.info, this.#options.headroom);
    return planAttach(this.#mirror, space, memory, runsOf(this.policy), { headroom, isBounded, counts });
  }

  #newAttachment(space: AddressSpace, options: AttachOptions): Attachment {
    const refusal = this.#refusal(space);
    if (refusal !== undefined) throw refusal;
    this.#mirror.driver.checkIdle();
    const memory = this.#options.memory ?? space.memory;
    const attachment = new Attachment(this.#mirror, space, memory, this.policy, runsOf(this.policy), options, () => {
      if (this.#attachment === attachment) this.#attachment = undefined;
    });
    this.#attachment = attachment;
    return attachment;
  }

  #tearDown(): void {
    const attachment = this.#attachment;
    this.#attachment = undefined;
    try {
      attachment?.close();
    } finally {
      this.#mirror.clear();
    }
    const left = this.failed;
    if (left !== undefined && this.#mirror.driver.raw.size > 0) {
      throw new IommuError(
        "unmap-failed",
        `Cannot detach ${this.host.info.name}: it still holds ${left.ranges.length} ranges`,
        {
          ranges: left.ranges,
          remedy: "detach again, or close the host",
          cause: left.cause ?? left,
        },
      );
    }
  }

  #cutOff(error: IommuError): void {
    try {
      this.#options.cutOff?.(error);
    } catch (cause) {
      this.#mirror.problems.add(
        new IommuError("container-failed", `Cannot cut off the device of ${this.host.info.name}`, { cause }),
      );
    }
  }

  #live(verb: string): RawContainer {
    if (this.#raw === undefined) {
      throw new IommuError("disposed", `Cannot ${verb} the container of ${this.host.info.name}: it was disposed`);
    }
    return this.#raw;
  }
}
