import type { AddressRange, Iova } from "@giommu/core";
import { formatRange, hex, IommuError } from "@giommu/core";
import { AddressSpace, RamRegion } from "@giommu/memory-api";
import { devicesInGroup, EduDevice, Iommufd, LinuxVfio, PinnedMemory, type VfioDevice } from "@giommu/vfio-linux";
import type { DmaEngine } from "./dma_engine.ts";
import type { RealHostChoice } from "./hotplug_options.ts";
import { LedgerHost } from "./ledger_host.ts";
import type { PlugHost } from "./plug_host.ts";
import { UsageError } from "./usage_error.ts";

/** The smallest page of the hosts that there are, and what the edu device needs for itself. */
const PAGE = 0x1000n;
/** As much RAM as any recorded guest may have had; what no device is given takes no memory. */
const DEFAULT_RAM = 1n << 40n;

/** A real host with a real device, and memory that the kernel can pin. */
export class RealPlug implements PlugHost {
  /** The host, with a ledger of what it took. */
  readonly host: LedgerHost;
  /** The guest's memory map. */
  readonly memory: AddressSpace;
  /** Its bytes. */
  readonly bytes: PinnedMemory;
  /** The device that is plugged in. */
  readonly device: VfioDevice;
  readonly #real: LinuxVfio | Iommufd;
  readonly #resources: DisposableStack;

  /**
   * Opens the host and the device; nothing is mapped.
   *
   * @param choice Which.
   * @param ram The guest's RAM in bytes, from address 0.
   * @throws {IommuError} `"backend-unavailable"` with what is missing.
   * @throws {RangeError} If the device's address is none.
   * @throws {UsageError} If the group has several devices, and none was named.
   */
  constructor(choice: RealHostChoice, ram: bigint = DEFAULT_RAM) {
    using resources = new DisposableStack();
    this.bytes = resources.use(new PinnedMemory({ size: ram }));
    this.memory = resources.use(
      new AddressSpace({
        name: "memory",
        root: new RamRegion({ name: "ram", size: this.bytes.size, memory: this.bytes }),
      }),
    );
    const real = resources.use(
      choice.kind === "iommufd" ? new Iommufd({ device: choice.device }) : new LinuxVfio({ group: choice.group }),
    );
    if (real instanceof LinuxVfio && choice.kind === "vfio") real.addDevice(choice.device ?? onlyDevice(choice.group));
    const [device] = real.devices;
    if (device === undefined) throw new IommuError("backend-unavailable", "Cannot plug a device in: none is open");
    this.device = device;
    this.#real = real;
    this.host = new LedgerHost(real);
    this.#resources = resources.move();
  }

  /** The edu device's engine; see {@linkcode PlugHost.dmaEngine}. */
  async dmaEngine(taken: readonly AddressRange[]): Promise<DmaEngine> {
    using resources = new DisposableStack();
    const own = resources.use(new PinnedMemory({ size: PAGE }));
    const ram = new RamRegion({ name: "scratch", size: PAGE, memory: own });
    const iova = freePage(this.host.info.iovaRanges, taken);
    // Beside the container, and only as long as the guest does nothing.
    this.#real.map({ iova, gpa: 0n, perm: 3, ram, ramOffset: 0n });
    resources.defer(() => void this.#real.unmap(iova));
    const edu = resources.use(new EduDevice(this.device, { memory: own, offset: 0n, iova: iova.start }));
    resources.defer(() => this.cutOff());
    await this.#checkReach(edu, iova.start);
    const all = resources.move();
    return {
      pagesPerKind: 2, // an access takes the device 200 or 300 ms
      read: (at) => edu.read(at),
      write: (at, value) => edu.write(at, value),
      [Symbol.dispose]: () => all.dispose(),
    };
  }

  /** Stops the device's DMA. */
  cutOff(): void {
    this.device.busMaster = false;
  }

  /** Unplugs the device, closes the host, lets go of the memory; twice is fine. */
  [Symbol.dispose](): void {
    this.#resources.dispose();
  }

  /** A device that does not drive all address bits would do its DMA elsewhere. */
  async #checkReach(edu: EduDevice, scratch: Iova): Promise<void> {
    try {
      await edu.takeBuffer();
    } catch (cause) {
      if (!(cause instanceof IommuError)) throw cause;
      throw new IommuError(
        "backend-unavailable",
        `Cannot check DMA: device ${this.device.address} does not reach ${hex(scratch)}, the top of what the host maps`,
        { remedy: "let it drive all address bits: -device edu,dma_mask=0xffffffffffffffff", cause },
      );
    }
  }
}

function onlyDevice(group: number): string {
  const [device, ...more] = devicesInGroup(group);
  if (device === undefined) {
    throw new IommuError("backend-unavailable", `Cannot plug a device in: IOMMU group ${group} has none`);
  }
  if (more.length === 0) return device;
  throw new UsageError(`--device is missing: IOMMU group ${group} has ${[device, ...more].join(", ")}`);
}

/** The highest page that a host can map and that is not taken. */
function freePage(ranges: readonly AddressRange[], taken: readonly AddressRange[]): AddressRange {
  for (const range of ranges.toReversed()) {
    let { last } = range;
    for (const { start, last: end } of taken.toReversed()) {
      if (start <= last && end > last - PAGE) last = start - 1n;
    }
    const page = { start: (last + 1n & ~(PAGE - 1n)) - PAGE, last: (last + 1n & ~(PAGE - 1n)) - 1n };
    if (page.start >= range.start) return page;
  }
  throw new IommuError(
    "backend-unavailable",
    `Cannot check DMA: the guest's windows cover all that the host maps, ${ranges.map(formatRange).join(", ")}`,
    { remedy: "attach fewer tables (--liobn)" },
  );
}
