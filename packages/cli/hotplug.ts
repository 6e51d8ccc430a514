import type { AddressRange } from "@giommu/core";
import { IommuError } from "@giommu/core";
import type { AddressSpace } from "@giommu/memory-api";
import type { RebuiltBridge, ReplayComparison } from "@giommu/qemu-trace";
import type { AttachPlan, HostIommu, HostMapping, Verification } from "@giommu/vfio-sync";
import { countMaps, verify, VfioContainer } from "@giommu/vfio-sync";
import type { AttachPoint } from "./attach_point.ts";
import type { AttachChoice } from "./options.ts";
import type { PlugHost } from "./plug_host.ts";
import type { CommitReport, ErrorReport, ReplayReport } from "./report.ts";
import { refusalOf, type Session } from "./session.ts";
import { UsageError } from "./usage_error.ts";

/** How a {@linkcode Hotplug} is made. */
export interface HotplugInit {
  /** The input, read up to where the container is attached. */
  readonly session: Session;
  /** What is attached, and how neighbouring pages share mappings. */
  readonly choice: Pick<AttachChoice, "liobns" | "coalesce">;
  /** The bridge's index. */
  readonly index: number;
  /** Where in the log. */
  readonly point: AttachPoint;
  /** The host and the guest's memory. Borrowed. */
  readonly plug: PlugHost;
  /** Whether live neighbours may be without their translation for a moment. */
  readonly allowDmaHoles: boolean;
}

/** A container of our own, plugged into a rebuilt guest: attached, kept in step, compared, removed. */
export class Hotplug implements Disposable {
  /** The host. */
  readonly host: HostIommu;
  /** What was refused, where something was. */
  error: ErrorReport | undefined;
  readonly #session: Session;
  readonly #point: AttachPoint;
  readonly #bridge: RebuiltBridge;
  readonly #container: VfioContainer;
  /** Events of the log before the container was attached, host calls by then, and how long that took. */
  #before = { events: 0, maps: 0, unmaps: 0, nanoseconds: 0 };
  #over = false;

  /**
   * Prepares a hotplug; nothing is attached yet.
   *
   * @param init The guest, the host, the policy.
   * @throws {UsageError} If mappings are to be shared on a host that cannot split them, and holes are not allowed.
   */
  constructor({ session, choice: { liobns, coalesce }, index, point, plug, allowDmaHoles }: HotplugInit) {
    this.#session = session;
    this.#point = point;
    this.host = plug.host;
    const { memory } = plug;
    this.#bridge = session.machine.bridge(index, {
      ...(liobns.length > 0 && { liobns }),
      ...(memory !== undefined && { memory }),
    });
    try {
      this.#container = new VfioContainer({ host: plug.host, coalesce, allowDmaHoles, cutOff: () => plug.cutOff() });
    } catch (error) {
      this.#bridge[Symbol.dispose]();
      if (!(error instanceof IommuError && error.code === "dma-holes-not-allowed")) throw error;
      throw new UsageError(
        `--coalesce ${coalesce}: ${plug.host.info.name} cannot unmap a part of a mapping; leave it at auto, or give ` +
          "--allow-dma-holes: live neighbours are without their translation for a moment then",
      );
    }
  }

  /** Whether the container is attached. */
  get isAttached(): boolean {
    return !this.#over && this.#container.space !== undefined;
  }

  /** Whether it is attached and follows the guest: it did not fail. */
  get isAlive(): boolean {
    return this.isAttached && this.#container.failed === undefined;
  }

  /** What the device sees. */
  get space(): AddressSpace {
    return this.#bridge.space;
  }

  /**
   * What the container has mapped.
   *
   * @param range Bus addresses.
   * @returns The mappings that share an address with the range, ascending.
   */
  mappings(range: AddressRange): Iterable<HostMapping> {
    return this.#container.mappings(range);
  }

  /** The policy as asked for and as used. */
  get policy(): string {
    const { asked, coalesce, split } = this.#container.policy;
    const meaning = asked === coalesce ? coalesce : `${asked} = ${coalesce}`;
    return `${meaning}, on ${this.host.info.name}${
      coalesce !== "none" && split === "none" ? ", which cannot split" : ""
    }`;
  }

  /**
   * What QEMU replayed at the log's own hotplug; `undefined` where there is none, where it was onto another bridge or more
   * tables than are attached here, and where the log does not show what QEMU told VFIO.
   */
  get comparison(): ReplayComparison | undefined {
    const { hotplug } = this.#point;
    const attached = this.#bridge.windows.map(({ liobn }) => liobn);
    if (hotplug === undefined || !hotplug.liobns.every((liobn) => attached.includes(liobn))) return undefined;
    // QEMU walks whole windows: no notification at all beside mapped pages means that they were not recorded.
    const { comparison } = hotplug;
    return comparison?.replayed === 0 && comparison.extra > 0 ? undefined : comparison;
  }

  /** What an attach would take; nothing is mapped. A refusal is in {@linkcode Hotplug.error} then. */
  plan(): AttachPlan {
    const plan = this.#container.plan(this.#bridge.space);
    if (plan.refusal !== undefined) this.#refuse(plan.refusal);
    return plan;
  }

  /** What the attach did on the host, also one that was refused and undone. */
  get commit(): CommitReport {
    const { maps: hostMaps, unmaps: hostUnmaps, nanoseconds } = this.#before;
    return { hostMaps, hostUnmaps, nanoseconds };
  }

  /** What an attach would show of itself that is not made: where it would be, and what it would be onto. */
  notAttached(): ReplayReport["hotplug"] {
    return this.#attached({ pages: 0, extents: 0, hostMaps: 0, nanoseconds: 0 }, countMaps(this.#bridge.space));
  }

  /**
   * Attaches the container; a refusal is in {@linkcode Hotplug.error} then.
   *
   * @returns What it did.
   */
  attach(): ReplayReport["hotplug"] {
    const { space } = this.#bridge;
    const maps = countMaps(space);
    let counts = { pages: maps.none, extents: maps.full, hostMaps: 0, nanoseconds: 0 };
    try {
      const { pages, extents, hostMaps, nanoseconds } = this.#container.attach(space);
      // A container that maps by calls is told call by call: that says nothing of the guest's extents.
      const told = this.#container.policy.coalesce === "call" ? maps.full : extents;
      counts = { pages: Number(pages), extents: told, hostMaps, nanoseconds: Math.round(nanoseconds) };
    } catch (error) {
      this.#refuse(error);
    }
    const { maps: before, unmaps } = this.#container.counters;
    const { events } = this.#session.machine.counts;
    this.#before = { events, maps: before, unmaps, nanoseconds: counts.nanoseconds };
    return this.#attached(counts, maps);
  }

  /** Goes on with the log as live updates, up to the unplug of the log's own container, a refusal, or the end. */
  async follow(): Promise<void> {
    const { machine } = this.#session;
    machine.stopAt({});
    for (;;) {
      const stop = await this.#session.read();
      if (stop === "end") return;
      if (stop === "unplug" && this.#point.hotplug !== undefined) return;
      if (stop === "refused" && machine.refusal !== undefined) {
        return this.#refuse(machine.refusal.error, machine.refusal.line);
      }
    }
  }

  /** What came after the attach. */
  after(): ReplayReport["after"] {
    if (this.#over) throw new TypeError("Cannot count what came after the attach: the hotplug is over");
    const { hotplugs, counts } = this.#session.machine;
    const own = hotplugs.find(({ line }) => line === this.#point.hotplug?.line);
    const events = this.#container.space === undefined
      ? 0
      : (own?.unplug?.events ?? counts.events) - this.#before.events;
    const { maps, unmaps, holes } = this.#container.counters;
    return { events, hostMaps: maps - this.#before.maps, hostUnmaps: unmaps - this.#before.unmaps, holes };
  }

  /** Guest and host compared, page by page; nothing where the attach was refused. */
  verify(): ReplayReport["verify"] {
    if (this.#container.space === undefined) {
      return { guestPages: 0, hostPages: 0, missing: 0, stale: 0, differing: 0, notRam: 0, differences: [] };
    }
    return reported(verify(this.#container));
  }

  /** Takes the container out. What the host does not unmap is a refusal, in {@linkcode Hotplug.error}. */
  end(): void {
    if (this.#over) return;
    this.#over = true;
    try {
      this.#container[Symbol.dispose]();
    } catch (error) {
      if (this.error === undefined) this.#refuse(error);
      else refusalOf(error);
    } finally {
      this.#bridge[Symbol.dispose]();
    }
  }

  /** The same as {@linkcode end}. */
  [Symbol.dispose](): void {
    this.end();
  }

  #attached(
    counts: Pick<ReplayReport["hotplug"], "pages" | "extents" | "hostMaps" | "nanoseconds">,
    maps: ReplayReport["hotplug"]["maps"],
  ): ReplayReport["hotplug"] {
    const liobns = this.#bridge.windows.map(({ liobn }) => BigInt(liobn));
    const unknownPages = this.comparison?.unknown ?? 0;
    const attached = this.#container.space !== undefined;
    return { attached, line: this.#point.line, liobns, ...counts, unknownPages, maps };
  }

  #refuse(error: unknown, line?: number): void {
    this.error = errorReport(refusalOf(error), line);
  }
}

/**
 * A refusal, as reports say it.
 *
 * @param error What was thrown or reported.
 * @param line The line of the log whose change was refused, where it was one.
 * @returns The report.
 */
export function errorReport({ code, range, message, remedy }: IommuError, line?: number): ErrorReport {
  return {
    code,
    range: range ?? null,
    message,
    ...(remedy !== undefined && { remedy }),
    ...(line !== undefined && { line }),
  };
}

function reported(found: Verification): ReplayReport["verify"] {
  return {
    guestPages: Number(found.guestPages),
    hostPages: Number(found.hostPages),
    missing: Number(found.missing),
    stale: Number(found.stale),
    differing: Number(found.differing),
    notRam: Number(found.notRam),
    differences: found.ranges.map(({ kind, iova, guest, host }) => ({
      kind,
      range: iova,
      guest: guest?.gpa,
      host: host?.gpa,
    })),
  };
}
