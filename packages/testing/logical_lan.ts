import { checkU64 } from "@giommu/core";
import type { AddressSpace } from "@giommu/memory-api";
import { writeDma } from "@giommu/memory-api";
import { IommuPerm } from "@giommu/notifiers";
import { Hcall } from "@giommu/spapr-tce";

/** Bytes of the buffer list and of the filter list. */
const PAGE = 0x1000n;

/** Bit 63 of a buffer descriptor (PAPR, logical LAN): it is valid. */
const VALID = 1n << 63n;

/** What the calls of a logical LAN answer when its state forbids them: H_RESOURCE of PAPR. */
const H_RESOURCE = -16;

/** What H_REGISTER_LOGICAL_LAN and H_FREE_LOGICAL_LAN answer in r3. */
export type LogicalLanResult = typeof Hcall.SUCCESS | typeof Hcall.PARAMETER | -16;

/**
 * The virtual network card of a pseries guest, as far as its buffers go: it carries no packets.
 *
 * Registering is the one call with which a guest makes a VIO device read and write memory at once, through the device's
 * TCE table, or directly while its bypass is on.
 *
 * @example The card reaches its three buffers through its table
 * ```ts
 * import { SpaprMachine } from "@giommu/spapr-tce";
 * import { LogicalLan } from "@giommu/testing";
 * import { assert, assertEquals } from "@std/assert";
 *
 * using machine = new SpaprMachine({ ram: 0x10_0000n, vios: [{ unit: 0x7100_0001 }] });
 * const device = machine.vio(0x7100_0001);
 * assert(device !== undefined);
 * const lan = new LogicalLan(device.space);
 * const queue = 1n << 63n | 0x1000n << 32n | 0x6000n;
 * assertEquals(lan.register(0x5000n, queue, 0x7000n), -4); // nothing is mapped
 *
 * device.table.stuffTce(0x5000n, 0x8_0003n, 3n);
 * assertEquals(lan.register(0x5000n, queue, 0x7000n), 0);
 * const bytes = new Uint8Array(8);
 * machine.ram.read(0x8_0000n, bytes);
 * assertEquals(new DataView(bytes.buffer).getBigUint64(0), queue);
 * ```
 */
export class LogicalLan {
  /** What the card sees. Borrowed. */
  readonly space: AddressSpace;
  #open = false;

  /**
   * Makes a card without buffers.
   *
   * @param space What the VIO device sees. Borrowed.
   */
  constructor(space: AddressSpace) {
    this.space = space;
  }

  /** Whether buffers are registered. */
  get isOpen(): boolean {
    return this.#open;
  }

  /**
   * H_REGISTER_LOGICAL_LAN: hands three buffers over, and initializes the first.
   *
   * @param list The bus address of the buffer list, one page: the queue's descriptor, the filter list's, zeros.
   * @param queue The receive queue's descriptor: its length in bits 32 to 55, its bus address in bits 0 to 31.
   * @param filters The bus address of the filter list, one page.
   * @returns 0; -4 if the card may not both read and write all of them, -16 if buffers are registered already.
   * @throws {RangeError} If an argument does not fit 64 bits.
   */
  register(list: bigint, queue: bigint, filters: bigint): LogicalLanResult {
    checkU64("list", list);
    checkU64("queue", queue);
    checkU64("filters", filters);
    if (this.#open) return H_RESOURCE;
    const buffers = [[list, PAGE], [queue & 0xffff_ffffn, queue >> 32n & 0xff_ffffn], [filters, PAGE]] as const;
    if (!buffers.every(([start, bytes]) => this.#reaches(start, bytes))) return Hcall.PARAMETER;
    const page = new DataView(new ArrayBuffer(Number(PAGE)));
    page.setBigUint64(0, queue);
    page.setBigUint64(8, VALID | PAGE << 32n | filters);
    writeDma(this.space, list, new Uint8Array(page.buffer));
    this.#open = true;
    return Hcall.SUCCESS;
  }

  /**
   * H_FREE_LOGICAL_LAN: takes the buffers back.
   *
   * @returns 0; -16 if none are registered.
   */
  free(): LogicalLanResult {
    if (!this.#open) return H_RESOURCE;
    this.#open = false;
    return Hcall.SUCCESS;
  }

  /** Forgets the buffers, as a reset of the machine does. */
  reset(): void {
    this.#open = false;
  }

  /** Whether the card may both read and write all of these bytes. */
  #reaches(start: bigint, bytes: bigint): boolean {
    for (let at = 0n; at < bytes;) {
      const address = start + at;
      if (address > 0xffff_ffff_ffff_ffffn) return false;
      const found = this.space.translate(address, IommuPerm.READ_WRITE, bytes - at);
      if (found.kind === "fault" || found.region.kind !== "ram") return false;
      at += found.length;
    }
    return true;
  }
}
