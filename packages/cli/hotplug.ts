import { AddressSpace, RamRegion } from "@giommu/memory-api";
import type { RebuiltBridge, ReplayComparison } from "@giommu/qemu-trace";
import { countMaps, SimulatedHost, type Verification, verify, VfioContainer } from "@giommu/vfio-sync";
import type { AttachPoint } from "./attach_point.ts";
import type { ReplayOptions } from "./options.ts";
import type { ErrorReport, ReplayReport } from "./report.ts";
import { refusalOf, type Session } from "./session.ts";

/** A container of our own, plugged into a rebuilt guest: attached, kept in step, compared, removed. */
export class Hotplug implements Disposable {
  /** The simulated host. */
  readonly host: SimulatedHost;
  /** What was refused, where something was. */
  error: ErrorReport | undefined;
  readonly #session: Session;
  readonly #point: AttachPoint;
  readonly #memory: AddressSpace | undefined;
  readonly #bridge: RebuiltBridge;
  readonly #container: VfioContainer;
  /** Events of the log before the container was attached, and host calls by then. */
  #before = { events: 0, maps: 0, unmaps: 0 };
  #over = false;

  /**
   * Prepares a hotplug; nothing is attached yet.
   *
   * @param session The input, read up to where the container is attached.
   * @param options The host and the policy.
   * @param index The bridge.
   * @param point Where in the log.
   */
  constructor(session: Session, options: ReplayOptions, index: number, point: AttachPoint) {
    const { host, hostPageShift, iovaRanges, maxMappings, ram, liobns } = options;
    this.#session = session;
    this.#point = point;
    this.host = new SimulatedHost({
      rules: host === "sim" ? "none" : host,
      name: host,
      ...(hostPageShift !== undefined && { pageSize: 1n << BigInt(hostPageShift) }),
      ...(iovaRanges.length > 0 && { iovaRanges }),
      ...(maxMappings !== undefined && { maxMappings }),
    });
    this.#memory = ram === undefined
      ? undefined
      : new AddressSpace("memory", new RamRegion({ name: "ram", size: ram }));
    this.#bridge = session.machine.bridge(index, {
      ...(liobns.length > 0 && { liobns }),
      ...(this.#memory !== undefined && { memory: this.#memory }),
    });
    // There is no device here that a hole could hurt: holes are allowed, and counted in the report.
    this.#container = new VfioContainer({ host: this.host, coalesce: options.coalesce, allowDmaHoles: true });
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

  /**
   * Attaches the container; a refusal is in {@linkcode Hotplug.error} then.
   *
   * @returns What it did.
   */
  attach(): ReplayReport["hotplug"] {
    const { windows, space } = this.#bridge;
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
    this.#before = { events: this.#session.machine.counts.events, maps: before, unmaps };
    const unknownPages = this.comparison?.unknown ?? 0;
    const liobns = windows.map(({ liobn }) => BigInt(liobn));
    const attached = this.error === undefined;
    return { attached, line: this.#point.line, liobns, ...counts, unknownPages, maps };
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

  /** Takes the container out. */
  end(): void {
    if (this.#over) return;
    this.#over = true;
    this.#container[Symbol.dispose]();
    this.#bridge[Symbol.dispose]();
    this.#memory?.[Symbol.dispose]();
  }

  /** The same as {@linkcode end}. */
  [Symbol.dispose](): void {
    this.end();
  }

  #refuse(error: unknown, line?: number): void {
    this.error = errorReport(error, line);
  }
}

/**
 * What was refused, as reports say it.
 *
 * @param error What was thrown or reported.
 * @param line The line of the log whose change was refused, where it was one.
 * @returns The report.
 * @throws What was given, if it is no refusal but a mistake of the program.
 */
export function errorReport(error: unknown, line?: number): ErrorReport {
  const { code, range, message, remedy } = refusalOf(error);
  return {
    code,
    range: range ?? null,
    message,
    ...(remedy !== undefined && { remedy }),
    ...(line !== undefined && { line }),
  };
}

/** What a verification found, as reports say it. */
export function reported(found: Verification): ReplayReport["verify"] {
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
