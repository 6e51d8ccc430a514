import type { AddressRange } from "@giommu/core";
import { IommuError } from "@giommu/core";
import { AddressSpace, RamRegion } from "@giommu/memory-api";
import type { RebuiltBridge } from "@giommu/qemu-trace";
import { devicesInGroup, EduDevice, Iommufd, LinuxVfio, PinnedMemory } from "@giommu/vfio-linux";
import type { HostIommu } from "@giommu/vfio-sync";
import { SimulatedHost, verify, VfioContainer } from "@giommu/vfio-sync";
import { checkDma } from "./dma_check.ts";
import { errorReport, reported } from "./hotplug.ts";
import { LedgerHost } from "./ledger_host.ts";
import type { HotplugOptions } from "./options.ts";
import type { DmaReport, ErrorReport, HotplugReport } from "./report.ts";
import type { Session } from "./session.ts";

const PAGE = 0x1000n;

/** A recorded guest with real memory, and a host, real or simulated, that is plugged into it. */
export class Plug implements Disposable {
  /** What was refused, where something was. */
  error: ErrorReport | undefined;
  readonly #session: Session;
  readonly #resources: DisposableStack;
  readonly #memory: PinnedMemory | undefined;
  readonly #real: LinuxVfio | Iommufd | undefined;
  readonly #ledger: LedgerHost;
  readonly #bridge: RebuiltBridge;
  readonly #container: VfioContainer;
  #before = { events: 0, maps: 0, unmaps: 0 };

  /**
   * Opens the host; nothing is attached yet.
   *
   * @param session The input, read up to where the container is attached.
   * @param options The host and the policy.
   * @param index The bridge.
   * @throws {IommuError} `"backend-unavailable"` if there is no such host here.
   */
  constructor(session: Session, options: HotplugOptions, index: number) {
    this.#session = session;
    using resources = new DisposableStack();
    const { ram: size, liobns } = options;
    this.#memory = options.host.kind === "sim" ? undefined : resources.use(new PinnedMemory({ size }));
    const ram = new RamRegion({ name: "ram", size, ...(this.#memory !== undefined && { memory: this.#memory }) });
    const memory = resources.use(new AddressSpace("memory", ram));
    this.#real = open(options);
    if (this.#real !== undefined) resources.use(this.#real);
    this.#ledger = new LedgerHost(this.#real ?? new SimulatedHost({ name: "sim" }) as HostIommu);
    this.#bridge = resources.use(
      session.machine.bridge(index, { ...(liobns.length > 0 && { liobns }), memory }),
    );
    const busMaster = (on: boolean): void => this.#real?.devices.forEach((device) => device.busMaster = on);
    this.#container = resources.use(
      new VfioContainer({
        host: this.#ledger,
        coalesce: options.coalesce,
        ...(this.#real === undefined ? { allowDmaHoles: true } : {
          quiesce: () => {
            const were = this.#real?.devices.filter((device) => device.busMaster) ?? [];
            busMaster(false);
            return () => were.forEach((device) => device.busMaster = true);
          },
          cutOff: () => busMaster(false),
        }),
      }),
    );
    this.#resources = resources.move();
  }

  /** What people call the host, and how neighbouring pages share its maps. */
  get policy(): string {
    const { asked, coalesce, split } = this.#container.policy;
    return `${asked === coalesce ? coalesce : `${asked} = ${coalesce}`}, on ${this.#ledger.info.name}, split ${split}`;
  }

  /** What an attach would take; what stands against it is in {@linkcode Plug.error} then. */
  plan(): HotplugReport["plan"] {
    const { pages, extents, hostMaps, bytes, problems, refusal } = this.#container.plan(this.#bridge.space);
    if (refusal !== undefined) this.error = errorReport(refusal);
    const all = refusal === undefined ? problems : [refusal, ...problems];
    return {
      pages: Number(pages),
      extents,
      hostMaps,
      bytes: Number(bytes),
      problems: all.map((problem) => errorReport(problem)),
    };
  }

  /** Attaches the container; `null` if that is refused. */
  attach(): HotplugReport["commit"] {
    try {
      const { hostMaps, hostUnmaps, nanoseconds } = this.#container.attach(this.#bridge.space);
      const { maps, unmaps } = this.#container.counters;
      this.#before = { events: this.#session.machine.counts.events, maps, unmaps };
      this.#ledger.watch();
      return { hostMaps, hostUnmaps, nanoseconds: Math.round(nanoseconds) };
    } catch (error) {
      this.error = errorReport(error);
      return null;
    }
  }

  /** Goes on with the log as live updates, up to the next unplug, a refusal, or the end. */
  async follow(): Promise<void> {
    const { machine } = this.#session;
    machine.stopAt({});
    for (;;) {
      const stop = await this.#session.read();
      if (stop === "end" || stop === "unplug") return;
      if (stop === "refused" && machine.refusal !== undefined) {
        this.error = errorReport(machine.refusal.error, machine.refusal.line);
        return;
      }
    }
  }

  /** What came after the attach. */
  after(): NonNullable<HotplugReport["after"]> {
    const { maps, unmaps, holes } = this.#container.counters;
    return {
      events: this.#session.machine.counts.events - this.#before.events,
      hostMaps: maps - this.#before.maps,
      hostUnmaps: unmaps - this.#before.unmaps,
      holes,
    };
  }

  /** Guest and host compared, page by page. */
  verify(): NonNullable<HotplugReport["verify"]> {
    return reported(verify(this.#container));
  }

  /**
   * Lets the device read and write through a sample of the mappings.
   *
   * @throws {IommuError} `"backend-unavailable"` if the device cannot do that.
   */
  async verifyDma(): Promise<DmaReport> {
    const [device] = this.#real?.devices ?? [];
    const memory = this.#memory;
    if (this.#real === undefined || device === undefined || memory === undefined) {
      throw new IommuError("backend-unavailable", "Cannot check DMA: no device is open");
    }
    using own = new PinnedMemory({ size: PAGE });
    const ram = new RamRegion({ name: "scratch", size: PAGE, memory: own });
    const iova = this.#freePage();
    // Beside the container, at an address that no window has.
    this.#real.map({ iova: { start: iova, last: iova + PAGE - 1n }, gpa: 0n, perm: 3, ram, ramOffset: 0n });
    try {
      using edu = new EduDevice(device, { memory: own, offset: 0n, iova });
      return await checkDma(edu, this.#ledger, memory, !this.#real.info.writeOnly);
    } finally {
      device.busMaster = false;
      this.#real.unmap({ start: iova, last: iova + PAGE - 1n });
    }
  }

  /** Takes the container out and closes the host; what is left on it is in {@linkcode Plug.error} then. */
  end(): void {
    try {
      this.#resources.dispose();
    } catch (left) {
      const error = errorReport(left);
      this.error ??= error;
    }
  }

  /** The same as {@linkcode end}. */
  [Symbol.dispose](): void {
    this.end();
  }

  /** A page of the bus that no window of the guest's covers, the highest one. */
  #freePage(): bigint {
    const windows: AddressRange[] = this.#bridge.space.sections.map(({ range }) => range);
    for (const { start, last } of [...this.#ledger.info.iovaRanges].reverse()) {
      for (let page = last - PAGE + 1n; page >= start;) {
        const above = windows.find((window) => window.start <= page + PAGE - 1n && page <= window.last);
        if (above === undefined) return page;
        page = above.start - PAGE;
      }
    }
    throw new IommuError("backend-unavailable", "Cannot check DMA: every address belongs to the guest", {
      remedy: "attach fewer tables (--liobn)",
    });
  }
}

/** Opens the host that was asked for; `undefined` for a simulated one. */
function open({ host, device }: HotplugOptions): LinuxVfio | Iommufd | undefined {
  if (host.kind === "sim") return undefined;
  if (host.kind === "iommufd") return new Iommufd({ device: host.device });
  const real = new LinuxVfio({ group: host.group });
  try {
    const address = device ?? devicesInGroup(host.group)[0];
    if (address !== undefined) real.addDevice(address);
    return real;
  } catch (error) {
    real.dispose();
    throw error;
  }
}
