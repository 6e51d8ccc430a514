import type { Iova } from "@giommu/core";
import { IommuError } from "@giommu/core";
import type { GuestMemory } from "@giommu/memory-api";
import type { VfioDevice } from "./vfio_device.ts";
import type { MappedRegion } from "./vfio_region.ts";

/** QEMU's edu device, by its vendor and device numbers, its registers, and where DMA finds its own 4096 bytes (docs/specs/edu.rst). */
const IDENTITY = 0x11e8_1234;
const SOURCE = 0x80n;
const DESTINATION = 0x88n;
const COUNT = 0x90n;
const COMMAND = 0x98n;
const BUFFER = 0x4_0000n;
const START = 1n;
const TO_MEMORY = 2n;

/** Left where the device does not write. */
const NOTHING = 0xdead_0000_0000_0000n;

/** Two words of memory that the device can reach, through which {@linkcode EduDevice} copies. */
export interface EduScratch {
  /** The memory. */
  readonly memory: GuestMemory;
  /** Where the words are in it. */
  readonly offset: bigint;
  /** Where the device sees them. */
  readonly iova: Iova;
}

/**
 * QEMU's `edu` device: its DMA engine shows what hardware would read and write through a host's mappings.
 *
 * One access takes the device 100 ms, and a read is three of them. The device must not be told to do anything else meanwhile.
 *
 * @example Without such a device there is nothing to show
 * ```ts
 * import { IommuError } from "@giommu/core";
 * import { RamRegion } from "@giommu/memory-api";
 * import { EduDevice, LinuxVfio, PinnedMemory } from "@giommu/vfio-linux";
 * import { assert, assertEquals } from "@std/assert";
 *
 * try {
 *   using memory = new PinnedMemory({ size: 0x2000n });
 *   const ram = new RamRegion({ name: "ram", size: memory.size, memory });
 *   using host = new LinuxVfio({ device: "0000:00:04.0" });
 *   host.map({ iova: { start: 0n, last: 0xfffn }, gpa: 0n, perm: 3, ram, ramOffset: 0n });
 *   using edu = new EduDevice(host.devices[0]!, { memory, offset: 0n, iova: 0n });
 *   assertEquals(await edu.read(0x1000n), undefined); // nothing is mapped there
 * } catch (error) {
 *   assert(error instanceof IommuError && error.code === "backend-unavailable");
 * }
 * ```
 */
export class EduDevice implements Disposable {
  /** The device; bus mastering is on. */
  readonly device: VfioDevice;
  readonly #registers: MappedRegion;
  readonly #scratch: EduScratch;

  /**
   * Maps the device's registers and lets it do DMA.
   *
   * @param device The device. Borrowed.
   * @param scratch Memory for its own use.
   * @throws {IommuError} `"disposed"`; `"backend-unavailable"` if it is another kind of device.
   */
  constructor(device: VfioDevice, scratch: EduScratch) {
    const identity = new Uint8Array(4);
    device.config.read(0n, identity);
    if (new DataView(identity.buffer).getUint32(0, true) !== IDENTITY) {
      throw new IommuError("backend-unavailable", `Cannot check DMA: device ${device.address} is no edu device`, {
        remedy: "run in a VM with QEMU's -device edu",
      });
    }
    this.device = device;
    this.#scratch = scratch;
    this.#registers = device.bar(0).map();
    device.busMaster = true;
  }

  /**
   * Lets the device read a word of 8 bytes, which is not 0.
   *
   * @param iova Where; not over the end of a page.
   * @returns The word; `undefined` if the read does not arrive.
   * @throws {IommuError} `"disposed"`; `"host-refused"` if the device does not reach its scratch memory.
   */
  async read(iova: Iova): Promise<bigint | undefined> {
    const { memory, offset, iova: scratch } = this.#scratch;
    // A read that faults leaves the device's buffer as it was, or zeroes it.
    memory.write(offset, bytesOf(0n));
    memory.write(offset + 8n, bytesOf(NOTHING));
    await this.#copy(scratch, BUFFER, START);
    await this.#copy(iova, BUFFER, START);
    const got = await this.takeBuffer();
    return got === 0n ? undefined : got;
  }

  /**
   * Lets the device write a word of 8 bytes. Whether it arrives is for the caller to look at.
   *
   * @param iova Where; not over the end of a page.
   * @param value The word.
   * @throws {IommuError} `"disposed"`.
   */
  async write(iova: Iova, value: bigint): Promise<void> {
    const { memory, offset, iova: scratch } = this.#scratch;
    memory.write(offset, bytesOf(value));
    await this.#copy(scratch, BUFFER, START);
    await this.#copy(BUFFER, iova, START | TO_MEMORY);
  }

  /**
   * Begins to read a word into the device's buffer: it happens 100 ms later, and {@linkcode busy} tells until then.
   *
   * @param iova Where.
   * @throws {IommuError} `"disposed"`.
   */
  start(iova: Iova): void {
    this.#go(iova, BUFFER, START);
  }

  /** Whether a DMA is under way. */
  get busy(): boolean {
    const command = new Uint8Array(8);
    this.#registers.read(COMMAND, command);
    return ((command[0] ?? 0) & 1) !== 0;
  }

  /**
   * Takes the word in the device's buffer.
   *
   * @returns The word.
   * @throws {IommuError} `"disposed"`; `"host-refused"` if the device does not reach its scratch memory.
   */
  async takeBuffer(): Promise<bigint> {
    const { memory, offset, iova } = this.#scratch;
    memory.write(offset + 8n, bytesOf(NOTHING));
    await this.#copy(BUFFER, iova + 8n, START | TO_MEMORY);
    const bytes = new Uint8Array(8);
    memory.read(offset + 8n, bytes);
    const word = new DataView(bytes.buffer).getBigUint64(0, true);
    if (word !== NOTHING) return word;
    throw new IommuError(
      "host-refused",
      `Cannot read by device ${this.device.address}: its scratch memory is not mapped`,
    );
  }

  /** Unmaps the registers; the device stays. Twice is fine. */
  dispose(): void {
    this.#registers.dispose();
  }

  /** The same as {@linkcode dispose}. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  #go(from: bigint, to: bigint, command: bigint): void {
    this.#registers.write(SOURCE, bytesOf(from));
    this.#registers.write(DESTINATION, bytesOf(to));
    this.#registers.write(COUNT, bytesOf(8n));
    this.#registers.write(COMMAND, bytesOf(command));
  }

  async #copy(from: bigint, to: bigint, command: bigint): Promise<void> {
    this.#go(from, to, command);
    while (this.busy) await new Promise((done) => setTimeout(done, 5));
  }
}

function bytesOf(word: bigint): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, word, true);
  return bytes;
}
