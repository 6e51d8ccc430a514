import { checkInteger, IommuError } from "@giommu/core";
import { must } from "./_errno.ts";
import { library } from "./_library.ts";
import { Numbers } from "./_numbers.ts";
import type { RegionOwner, VfioRegion } from "./vfio_region.ts";
import { regionOf } from "./vfio_region.ts";

/** Region numbers of a PCI device (linux/vfio.h). */
const CONFIG = 7;
/** The command register of PCI's configuration space, and its bit that lets the device do DMA (PCI 3.0, 6.2.2). */
const COMMAND = 4n;
const BUS_MASTER = 1 << 2;

/** How a device interrupts, by VFIO's numbers (linux/vfio.h). */
const INTERRUPTS = { intx: 0, msi: 1, msix: 2 } as const;

/** How a device interrupts. */
export type InterruptKind = "intx" | "msi" | "msix";

/** What a host knows of a device of its own. */
export interface OpenDevice {
  readonly address: string;
  /** The library's number. */
  readonly number: number;
  /** Takes it from the host; called once, before it is closed. */
  readonly leave: () => void;
  /** Called once, after it was closed. */
  readonly left: () => void;
}

let newDevice: (open: OpenDevice) => VfioDevice;

/**
 * A device that Linux gives to this process, in the I/O address space of a host: it reaches what the host maps.
 *
 * The host that opened it disposes of it; to dispose of it before is to unplug it. A region that is still mapped keeps it
 * open for the kernel: dispose of {@linkcode MappedRegion}s first, else opening it again is refused with EBUSY.
 *
 * @example Where there is such a device, it is used; elsewhere the error says what is missing
 * ```ts
 * import { IommuError } from "@giommu/core";
 * import { LinuxVfio } from "@giommu/vfio-linux";
 * import { assert, assertEquals } from "@std/assert";
 *
 * try {
 *   using host = new LinuxVfio({ device: "0000:00:04.0" });
 *   const [device] = host.devices;
 *   assert(device !== undefined);
 *   assertEquals([device.address, device.busMaster], ["0000:00:04.0", false]);
 *   device.busMaster = true; // from here on it reaches what the host maps
 *   if (device.resettable) device.reset();
 * } catch (error) {
 *   assert(error instanceof IommuError && error.code === "backend-unavailable");
 * }
 * ```
 */
export class VfioDevice implements Disposable {
  static {
    newDevice = (open) => new VfioDevice(open);
  }

  /** Its PCI address, as `0000:00:04.0`. */
  readonly address: string;
  /** Its regions, those without bytes left out. */
  readonly regions: readonly VfioRegion[];
  /** Whether it can be reset. */
  readonly resettable: boolean;
  readonly #open: OpenDevice;
  #signals: VfioInterrupt[] = [];
  #isOpen = true;

  private constructor(open: OpenDevice) {
    this.#open = open;
    this.address = open.address;
    const numbers = new Numbers(3);
    must(library().giommu_device_info(open.number, numbers.bytes), {
      what: `Cannot ask device ${open.address} what it has`,
      call: "VFIO_DEVICE_GET_INFO",
    });
    this.resettable = (numbers.get(0) & 1n) !== 0n;
    const owner: RegionOwner = { address: open.address, number: () => this.#live() };
    const all = Array.from({ length: Number(numbers.get(1)) }, (_, index) => regionOf(owner, index));
    this.regions = Object.freeze(all.filter((region) => region !== undefined));
  }

  /**
   * A BAR.
   *
   * @param index Which, from 0 to 5.
   * @returns The region.
   * @throws {RangeError} If there is no such BAR, or the device does not have it.
   */
  bar(index: number): VfioRegion {
    return this.#region(checkInteger("index", index, 0, 5), `BAR ${index}`);
  }

  /** PCI's configuration space. */
  get config(): VfioRegion {
    return this.#region(CONFIG, "configuration space");
  }

  /** Whether the device may do DMA; off when it was opened or reset. */
  get busMaster(): boolean {
    return (this.#command() & BUS_MASTER) !== 0;
  }

  /** Lets the device do DMA, or stops it. */
  set busMaster(on: boolean) {
    const command = this.#command();
    const wanted = on ? command | BUS_MASTER : command & ~BUS_MASTER;
    this.config.write(COMMAND, new Uint8Array([wanted & 0xff, wanted >> 8]));
  }

  /**
   * Resets the device: registers as after power-on, no DMA.
   *
   * @throws {IommuError} `"disposed"`; `"host-refused"` if the device cannot be reset.
   */
  reset(): void {
    must(library().giommu_device_reset(this.#live()), {
      what: `Cannot reset device ${this.address}`,
      call: "VFIO_DEVICE_RESET",
      code: "host-refused",
      remedies: { EINVAL: "nothing: the device has no reset of its own" },
    });
  }

  /**
   * How many interrupts of a kind the device has.
   *
   * @param kind Which kind.
   * @returns Their number; 0 where there are none.
   * @throws {IommuError} `"disposed"`.
   */
  interruptCount(kind: InterruptKind): number {
    const numbers = new Numbers(2);
    const answer = library().giommu_device_interrupts(this.#live(), kindNumber(kind), numbers.bytes);
    return answer < 0 ? 0 : Number(numbers.get(1));
  }

  /**
   * Listens to an interrupt. Only one kind can be listened to at a time.
   *
   * @param kind Which kind.
   * @param number Which of the kind, from 0.
   * @returns What counts them; the device disposes of it, or the caller before. That switches off all of the kind.
   * @throws {IommuError} `"disposed"`; `"host-refused"` if there is no such interrupt.
   */
  interrupt(kind: InterruptKind, number = 0): VfioInterrupt {
    const device = this.#live();
    const index = kindNumber(kind);
    checkInteger("number", number);
    const what = `Cannot listen to ${kind} ${number} of device ${this.address}`;
    const signal = must(library().giommu_signal_new(), { what, call: "eventfd" });
    const answer = library().giommu_device_set_interrupt(device, index, number, signal);
    if (answer < 0) library().giommu_close(signal);
    must(answer, { what, call: "VFIO_DEVICE_SET_IRQS", code: "host-refused" });
    const interrupt = newInterrupt(signal, () => {
      this.#signals = this.#signals.filter((one) => one !== interrupt);
      if (this.#isOpen) library().giommu_device_set_interrupt(device, index, 0, 0);
    });
    this.#signals.push(interrupt);
    return interrupt;
  }

  /** Unplugs the device: it does no more DMA and reaches nothing any more. Twice is fine. */
  dispose(): void {
    if (!this.#isOpen) return;
    for (const signal of this.#signals) signal.dispose();
    try {
      this.busMaster = false;
    } catch (error) {
      // A device that is gone, or not PCI, has nothing to switch off; closing it makes the kernel reset it.
      if (!(error instanceof IommuError || error instanceof RangeError)) throw error;
    }
    this.#isOpen = false;
    this.#open.leave();
    library().giommu_close(this.#open.number);
    this.#open.left();
  }

  /** The same as {@linkcode dispose}. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  #region(index: number, name: string): VfioRegion {
    const region = this.regions.find((one) => one.index === index);
    if (region === undefined) throw new RangeError(`Cannot use ${name}: device ${this.address} has none`);
    return region;
  }

  #command(): number {
    const bytes = new Uint8Array(2);
    this.config.read(COMMAND, bytes);
    return new DataView(bytes.buffer).getUint16(0, true);
  }

  #live(): number {
    if (!this.#isOpen) throw new IommuError("disposed", `Cannot use device ${this.address}: it was disposed`);
    return this.#open.number;
  }
}

let newInterrupt: (signal: number, off: () => void) => VfioInterrupt;

/**
 * An interrupt of a device that is listened to; made by {@linkcode VfioDevice.interrupt}.
 *
 * @example Where there is such a device, it is used; elsewhere the error says what is missing
 * ```ts
 * import { IommuError } from "@giommu/core";
 * import { LinuxVfio } from "@giommu/vfio-linux";
 * import { assert, assertEquals } from "@std/assert";
 *
 * try {
 *   using host = new LinuxVfio({ device: "0000:00:04.0" });
 *   const [device] = host.devices;
 *   assert(device !== undefined);
 *   if (device.interruptCount("msi") > 0) {
 *     using interrupt = device.interrupt("msi");
 *     assertEquals(interrupt.take(), 0); // none until the device is told to work
 *   }
 * } catch (error) {
 *   assert(error instanceof IommuError && error.code === "backend-unavailable");
 * }
 * ```
 */
export class VfioInterrupt implements Disposable {
  static {
    newInterrupt = (signal, off) => new VfioInterrupt(signal, off);
  }

  readonly #off: () => void;
  #signal: number;

  private constructor(signal: number, off: () => void) {
    this.#signal = signal;
    this.#off = off;
  }

  /**
   * How often the device interrupted since this was asked last. Does not wait.
   *
   * @returns The count.
   * @throws {IommuError} `"disposed"`.
   */
  take(): number {
    if (this.#signal === 0) throw new IommuError("disposed", "Cannot use an interrupt: it was disposed");
    const numbers = new Numbers(1);
    must(library().giommu_signal_take(this.#signal, numbers.bytes), {
      what: "Cannot count interrupts",
      call: "read",
      code: "host-refused",
    });
    return Number(numbers.get(0));
  }

  /** Listens no more. Twice is fine. */
  dispose(): void {
    if (this.#signal === 0) return;
    this.#off();
    library().giommu_close(this.#signal);
    this.#signal = 0;
  }

  /** The same as {@linkcode dispose}. */
  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** Makes a device of one that was opened. Throws if it does not say what it has; it is closed then. */
export function deviceOf(open: OpenDevice): VfioDevice {
  try {
    return newDevice(open);
  } catch (error) {
    open.leave();
    library().giommu_close(open.number);
    open.left();
    throw error;
  }
}

function kindNumber(kind: InterruptKind): number {
  if (!Object.hasOwn(INTERRUPTS, kind)) throw new RangeError(`Cannot use interrupts: there is no kind ${String(kind)}`);
  return INTERRUPTS[kind];
}
