import { checkInteger } from "@giommu/core";
import type { AddressSpace } from "@giommu/memory-api";
import { readDma, writeDma } from "@giommu/memory-api";

/** Bytes of the device's buffer: one page, as QEMU's `edu` has (docs/specs/edu.rst). */
const BUFFER_SIZE = 0x1000;

/**
 * A PCI device that can do one thing: copy between the bus and a buffer of its own.
 *
 * It is QEMU's teaching device `edu` as far as DMA goes, with bus mastering on and all 64 address bits. What it may not
 * reach reads as zeros, and is not written; the rest of a transfer goes on, page by page.
 *
 * @example
 * ```ts
 * import { AddressSpace, ArrayGuestMemory, RamRegion } from "@giommu/memory-api";
 * import { EduDevice } from "@giommu/testing";
 * import { assertEquals } from "@std/assert";
 *
 * const memory = new ArrayGuestMemory(new Uint8Array([1, 2, 3, 4]));
 * using bus = new AddressSpace({ name: "bus", root: new RamRegion({ name: "ram", size: 4n, memory }) });
 * const device = new EduDevice(bus);
 * device.read(2n, 4, 0x100); // the last two lie outside
 * assertEquals([...device.buffer.subarray(0x100, 0x104)], [3, 4, 0, 0]);
 * device.write(0n, 2, 0x100);
 * assertEquals([...memory.bytes], [3, 4, 3, 4]);
 * ```
 */
export class EduDevice {
  /** The bus that it sits on. Borrowed. */
  readonly space: AddressSpace;
  /** Its 4 KiB, zero at first. */
  readonly buffer: Uint8Array = new Uint8Array(BUFFER_SIZE);

  /**
   * Plugs a device in.
   *
   * @param space The bus, such as a PCI host bridge's `space`. Borrowed.
   */
  constructor(space: AddressSpace) {
    this.space = space;
  }

  /**
   * Reads from the bus into the buffer.
   *
   * @param bus The bus address of the first byte.
   * @param length How many bytes.
   * @param offset Where in the buffer the first byte goes.
   * @throws {TypeError} If an argument has the wrong type.
   * @throws {RangeError} If the bytes do not fit the buffer, or the address does not fit 64 bits.
   */
  read(bus: bigint, length: number, offset: number): void {
    readDma(this.space, bus, this.#part(length, offset));
  }

  /**
   * Writes from the buffer to the bus.
   *
   * @param bus The bus address of the first byte.
   * @param length How many bytes.
   * @param offset Where in the buffer the first byte is.
   * @throws {TypeError} If an argument has the wrong type.
   * @throws {RangeError} If the bytes do not fit the buffer, or the address does not fit 64 bits.
   */
  write(bus: bigint, length: number, offset: number): void {
    writeDma(this.space, bus, this.#part(length, offset));
  }

  #part(length: number, offset: number): Uint8Array {
    checkInteger("offset", offset, 0, BUFFER_SIZE);
    checkInteger("length", length, 0, BUFFER_SIZE - offset);
    return this.buffer.subarray(offset, offset + length);
  }
}
