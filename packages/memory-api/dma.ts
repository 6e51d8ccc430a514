import { ADDRESS_MAX, checkInstance, checkU64 } from "@giommu/core";
import { IommuPerm } from "@giommu/notifiers";
import { AddressSpace } from "./address_space.ts";
import type { TranslationFault } from "./translation.ts";

/** How a device's access went. */
export interface DmaResult {
  /** How many bytes were really read or written. */
  readonly bytes: number;
  /** How many bytes met no memory, or no permission. */
  readonly lost: number;
  /** Why, for the first of them; absent where they met a region without bytes. */
  readonly firstFault?: TranslationFault;
}

/**
 * Reads through an address space as a device does, page by page.
 *
 * Where nothing is mapped, or may not be read, the device gets zeros, and the transfer goes on with the next page: this is what
 * QEMU's sPAPR machine was seen to do.
 *
 * @param space The bus that the device sits on.
 * @param address Where to read from.
 * @param target Filled.
 * @returns How much of it is real.
 * @throws {TypeError} If an argument has the wrong type.
 * @throws {RangeError} If the address does not fit 64 bits.
 *
 * @example
 * ```ts
 * import { AddressSpace, ArrayGuestMemory, RamRegion, readDma, writeDma } from "@giommu/memory-api";
 * import { assertEquals } from "@std/assert";
 *
 * const memory = new ArrayGuestMemory(0x1000);
 * using space = new AddressSpace({ name: "memory", root: new RamRegion({ name: "ram", size: 0x1000n, memory }) });
 * writeDma(space, 0xffen, new Uint8Array([1, 2, 3, 4])); // the last two bytes fall off the end
 * const bytes = new Uint8Array(4).fill(0xff);
 * assertEquals(readDma(space, 0xffen, bytes).bytes, 2);
 * assertEquals([...bytes], [1, 2, 0, 0]);
 * ```
 */
export function readDma(space: AddressSpace, address: bigint, target: Uint8Array): DmaResult {
  checkBytes("target", target).fill(0);
  return access(space, address, target, IommuPerm.READ);
}

/**
 * Writes through an address space as a device does, page by page. What meets no memory, or no permission, is dropped.
 *
 * @param space The bus that the device sits on.
 * @param address Where to write to.
 * @param source What to write.
 * @returns How much of it arrived.
 * @throws {TypeError} If an argument has the wrong type.
 * @throws {RangeError} If the address does not fit 64 bits.
 *
 * @example
 * ```ts
 * import { AddressSpace, RamRegion, writeDma } from "@giommu/memory-api";
 * import { assertEquals } from "@std/assert";
 *
 * using space = new AddressSpace({ name: "memory", root: new RamRegion({ name: "rom", size: 0x1000n, readonly: true }) });
 * assertEquals(writeDma(space, 0n, new Uint8Array(8)).firstFault?.reason, "read-only");
 * ```
 */
export function writeDma(space: AddressSpace, address: bigint, source: Uint8Array): DmaResult {
  return access(space, address, checkBytes("source", source), IommuPerm.WRITE);
}

function checkBytes(name: string, bytes: Uint8Array): Uint8Array {
  return checkInstance<Uint8Array>(name, bytes, Uint8Array);
}

function access(space: AddressSpace, start: bigint, bytes: Uint8Array, kind: IommuPerm): DmaResult {
  checkInstance("space", space, AddressSpace);
  let address = checkU64("address", start);
  let done = 0;
  let firstFault: TranslationFault | undefined;
  let at = 0;
  while (at < bytes.length && address <= ADDRESS_MAX) {
    const found = space.translate(address, kind, BigInt(bytes.length - at));
    const length = Number(found.length);
    if (found.kind === "fault") {
      firstFault ??= found;
    } else if (found.region.kind === "ram" && found.region.memory !== undefined) {
      const part = bytes.subarray(at, at + length);
      const { memory } = found.region;
      const ok = kind === IommuPerm.READ ? memory.read(found.offset, part) : memory.write(found.offset, part);
      if (ok) done += length;
    }
    at += length;
    address += found.length;
  }
  return { bytes: done, lost: bytes.length - done, ...(firstFault !== undefined && { firstFault }) };
}
