import type { Gpa, Iova } from "@giommu/core";
import type { GuestMemory } from "@giommu/memory-api";
import type { MappedRegion, VfioDevice } from "@giommu/vfio-linux";

/** Registers of QEMU's edu device (docs/specs/edu.rst), and where DMA finds the device's own 4096 bytes. */
const SOURCE = 0x80n;
const DESTINATION = 0x88n;
const COUNT = 0x90n;
const COMMAND = 0x98n;
const BUFFER = 0x4_0000n;
const START = 1n;
const TO_MEMORY = 2n;

const NOTHING = 0xdead_0000_0000_0000n;

/** Two words of guest memory that the device can reach: what it copies goes through here. */
export interface Scratch {
  readonly memory: GuestMemory;
  readonly gpa: Gpa;
  /** Where the device sees it. */
  readonly iova: Iova;
}

/** QEMU's edu device: its DMA engine reads and writes what real hardware would. */
export class Edu implements Disposable {
  readonly device: VfioDevice;
  readonly #registers: MappedRegion;
  readonly #scratch: Scratch;

  /** Lets a device do DMA. */
  constructor(device: VfioDevice, scratch: Scratch) {
    this.device = device;
    this.#scratch = scratch;
    this.#registers = device.bar(0).map();
    device.busMaster = true;
  }

  /** The word that the device reads at a bus address, which is not 0; `undefined` if its read does not arrive. */
  async peek(iova: Iova): Promise<bigint | undefined> {
    const { memory, gpa, iova: scratch } = this.#scratch;
    // A read that faults leaves the device's buffer as it was, or zeroes it.
    memory.write(gpa, word(0n));
    memory.write(gpa + 8n, word(NOTHING));
    await this.#copy(scratch, BUFFER, START);
    await this.#copy(iova, BUFFER, START);
    await this.#copy(BUFFER, scratch + 8n, START | TO_MEMORY);
    const got = wordAt(memory, gpa + 8n);
    if (got === NOTHING) throw new Error("Cannot peek: the device does not reach its scratch page");
    return got === 0n ? undefined : got;
  }

  /** Lets the device write a word at a bus address; whether it arrives is for the caller to look at. */
  async poke(iova: Iova, value: bigint): Promise<void> {
    const { memory, gpa, iova: scratch } = this.#scratch;
    memory.write(gpa, word(value));
    await this.#copy(scratch, BUFFER, START);
    await this.#copy(BUFFER, iova, START | TO_MEMORY);
  }

  /** Begins to read a word into the device's buffer; {@linkcode arrived} tells of it. */
  start(iova: Iova): void {
    this.#go(iova, BUFFER, START);
  }

  /** Whether a DMA is under way. */
  get busy(): boolean {
    const command = new Uint8Array(8);
    this.#registers.read(COMMAND, command);
    return ((command[0] ?? 0) & 1) !== 0;
  }

  /** Takes the word in the device's buffer out. */
  async buffer(): Promise<bigint> {
    const { memory, gpa, iova: scratch } = this.#scratch;
    await this.#copy(BUFFER, scratch + 8n, START | TO_MEMORY);
    return wordAt(memory, gpa + 8n);
  }

  /** Unmaps the registers; the device stays. */
  [Symbol.dispose](): void {
    this.#registers.dispose();
  }

  #go(from: bigint, to: bigint, command: bigint): void {
    this.#registers.write(SOURCE, word(from));
    this.#registers.write(DESTINATION, word(to));
    this.#registers.write(COUNT, word(8n));
    this.#registers.write(COMMAND, word(command));
  }

  async #copy(from: bigint, to: bigint, command: bigint): Promise<void> {
    this.#go(from, to, command);
    while (this.busy) await new Promise((done) => setTimeout(done, 5));
  }
}

/** Eight bytes, little endian. */
export function word(value: bigint): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, value, true);
  return bytes;
}

/** Reads eight bytes, little endian. */
export function wordAt(memory: GuestMemory, gpa: Gpa): bigint {
  const bytes = new Uint8Array(8);
  if (!memory.read(gpa, bytes)) throw new RangeError(`Cannot read a word: there is none at ${gpa}`);
  return new DataView(bytes.buffer).getBigUint64(0, true);
}
