import { hex, IommuError } from "@giommu/core";
import { must } from "./_errno.ts";
import { library } from "./_library.ts";
import { Numbers } from "./_numbers.ts";

/** VFIO's numbers of the regions of a PCI device (linux/vfio.h): six BARs, then these. */
const ROM = 6;
const CONFIG = 7;
const VGA = 8;

const READ = 1n;
const WRITE = 2n;
const MMAP = 4n;

let newRegion: (device: RegionOwner, index: number, flags: bigint, size: bigint, place: bigint) => VfioRegion;

/** The device of a region: its address, and its number, which throws `"disposed"` when there is none any more. */
export interface RegionOwner {
  readonly address: string;
  readonly number: () => number;
}

/**
 * A region of a device: a BAR, its ROM, its configuration space.
 *
 * Reads and writes are system calls of their own. A BAR that can be mapped is reached much faster through {@linkcode map},
 * and only there in accesses as wide as asked for; the kernel may cut those of a system call in pieces of four bytes.
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
 *   const identity = new Uint8Array(4); // vendor and device, as every PCI device has them
 *   device.config.read(0n, identity);
 *   assertEquals([device.config.name, identity.every((byte) => byte === 0xff)], ["config", false]);
 * } catch (error) {
 *   assert(error instanceof IommuError && error.code === "backend-unavailable");
 * }
 * ```
 */
export class VfioRegion {
  static {
    newRegion = (device, index, flags, size, place) => new VfioRegion(device, index, flags, size, place);
  }

  /** VFIO's number: 0 to 5 are BARs, 6 the ROM, 7 the configuration space, 8 VGA. */
  readonly index: number;
  /** What people call it. */
  readonly name: string;
  /** How many bytes it has. */
  readonly size: bigint;
  /** Whether it can be read. */
  readonly readable: boolean;
  /** Whether it can be written. */
  readonly writable: boolean;
  /** Whether it can be mapped. */
  readonly mappable: boolean;
  readonly #device: RegionOwner;
  readonly #place: bigint;

  private constructor(device: RegionOwner, index: number, flags: bigint, size: bigint, place: bigint) {
    this.index = index;
    this.name = index < ROM ? `BAR ${index}` : { [ROM]: "ROM", [CONFIG]: "config", [VGA]: "VGA" }[index] ?? `${index}`;
    this.size = size;
    this.readable = (flags & READ) !== 0n;
    this.writable = (flags & WRITE) !== 0n;
    this.mappable = (flags & MMAP) !== 0n;
    this.#device = device;
    this.#place = place;
  }

  /**
   * Reads bytes.
   *
   * @param offset Where the first one is in the region.
   * @param target Filled.
   * @throws {RangeError} If they are not all in the region.
   * @throws {IommuError} `"disposed"`; `"host-refused"` if the device does not let itself be read there.
   */
  read(offset: bigint, target: Uint8Array): void {
    const number = this.#device.number();
    checkInside(this.name, this.size, offset, target.length);
    if (target.length === 0) return;
    const answer = library().giommu_device_read(number, Numbers.of(this.#place + offset), target);
    must(answer, { what: this.#cannot("read", offset), call: "pread", code: "host-refused" });
  }

  /**
   * Writes bytes.
   *
   * @param offset Where the first one is in the region.
   * @param source What to write.
   * @throws {RangeError} If they are not all in the region.
   * @throws {IommuError} `"disposed"`; `"host-refused"` if the device does not let itself be written there.
   */
  write(offset: bigint, source: Uint8Array): void {
    const number = this.#device.number();
    checkInside(this.name, this.size, offset, source.length);
    if (source.length === 0) return;
    const answer = library().giommu_device_write(number, Numbers.of(this.#place + offset), source);
    must(answer, { what: this.#cannot("write", offset), call: "pwrite", code: "host-refused" });
  }

  /**
   * Maps the region into this process. While it is mapped the device stays open, and nobody else can open it.
   *
   * @returns The mapping; dispose it.
   * @throws {IommuError} `"disposed"`; `"host-refused"` if the region cannot be mapped.
   */
  map(): MappedRegion {
    const number = this.#device.number();
    const answer = library().giommu_device_mmap(number, Numbers.of(this.#place, this.size));
    const memory = must(answer, {
      what: `Cannot map ${this.name} of device ${this.#device.address}`,
      call: "mmap",
      code: "host-refused",
      remedies: { "": "read and write it by calls instead" },
    });
    return newMapped(memory, this.name, this.size);
  }

  #cannot(verb: string, offset: bigint): string {
    return `Cannot ${verb} ${this.name} of device ${this.#device.address} at ${hex(offset)}`;
  }
}

let newMapped: (number: number, name: string, size: bigint) => MappedRegion;

/**
 * A region of a device that is mapped into this process.
 *
 * 1, 2, 4 or 8 bytes at an offset that is a multiple of their number are one access of the device; others are cut in such.
 *
 * @example Where there is such a device, it is used; elsewhere the error says what is missing
 * ```ts
 * import { IommuError } from "@giommu/core";
 * import { LinuxVfio } from "@giommu/vfio-linux";
 * import { assert, assertEquals } from "@std/assert";
 *
 * try {
 *   using host = new LinuxVfio({ device: "0000:00:04.0" });
 *   const bar = host.devices[0]?.regions.find(({ mappable }) => mappable);
 *   if (bar !== undefined) {
 *     using mapped = bar.map(); // gone before the host is
 *     const word = new Uint8Array(4);
 *     mapped.read(0n, word);
 *     assertEquals(mapped.size, bar.size);
 *   }
 * } catch (error) {
 *   assert(error instanceof IommuError && error.code === "backend-unavailable");
 * }
 * ```
 */
export class MappedRegion implements Disposable {
  static {
    newMapped = (number, name, size) => new MappedRegion(number, name, size);
  }

  /** What people call the region. */
  readonly name: string;
  /** How many bytes it has. */
  readonly size: bigint;
  readonly #place = new Numbers(1);
  #number: number;

  private constructor(number: number, name: string, size: bigint) {
    this.#number = number;
    this.name = name;
    this.size = size;
  }

  /**
   * Reads bytes.
   *
   * @param offset Where the first one is in the region.
   * @param target Filled.
   * @throws {RangeError} If they are not all in the region.
   * @throws {IommuError} `"disposed"`.
   */
  read(offset: bigint, target: Uint8Array): void {
    this.#check(offset, target.length);
    if (target.length === 0) return;
    const answer = library().giommu_memory_read(this.#number, this.#place.bytes, target);
    must(answer, { what: `Cannot read ${this.name}`, call: "access", code: "host-refused" });
  }

  /**
   * Writes bytes.
   *
   * @param offset Where the first one is in the region.
   * @param source What to write.
   * @throws {RangeError} If they are not all in the region.
   * @throws {IommuError} `"disposed"`.
   */
  write(offset: bigint, source: Uint8Array): void {
    this.#check(offset, source.length);
    if (source.length === 0) return;
    const answer = library().giommu_memory_write(this.#number, this.#place.bytes, source);
    must(answer, { what: `Cannot write ${this.name}`, call: "access", code: "host-refused" });
  }

  /** Unmaps it. Twice is fine. */
  dispose(): void {
    if (this.#number === 0) return;
    library().giommu_close(this.#number);
    this.#number = 0;
  }

  /** The same as {@linkcode dispose}. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  #check(offset: bigint, length: number): void {
    if (this.#number === 0) throw new IommuError("disposed", `Cannot use the mapping of ${this.name}: it was disposed`);
    checkInside(this.name, this.size, offset, length);
    this.#place.set(0, offset);
  }
}

/** Asks the kernel for one region; `undefined` if the device has none of that number. */
export function regionOf(device: RegionOwner, index: number): VfioRegion | undefined {
  const numbers = new Numbers(3);
  const answer = library().giommu_device_region(device.number(), index, numbers.bytes);
  if (answer < 0 || numbers.get(1) === 0n) return undefined;
  return newRegion(device, index, numbers.get(0), numbers.get(1), numbers.get(2));
}

function checkInside(name: string, size: bigint, offset: bigint, length: number): void {
  if (typeof offset !== "bigint") throw new TypeError(`Cannot use offset: expected a bigint, got ${typeof offset}`);
  if (offset >= 0n && offset + BigInt(length) <= size) return;
  throw new RangeError(`Cannot reach ${length} bytes at ${hex(offset)}: ${name} has ${hex(size)} bytes`);
}
