import type { Iova } from "@giommu/core";
import { checkInteger } from "@giommu/core";
import type { AddressSpace } from "@giommu/memory-api";
import { WindowBus } from "./_window_bus.ts";
import type { DeviceTreeProperties } from "./device_tree.ts";
import type { TceTable } from "./tce_table.ts";

/** What makes a PCI host bridge of a {@linkcode SpaprMachine}: the properties of QEMU's `spapr-pci-host-bridge`. */
export interface MachinePhbInit {
  /** The bridge's number, 0 to 0x7fffff: decides its LIOBNs, 0x80000000 | index << 8 | window, and its BUID. */
  readonly index: number;
  /** Whether the guest may create and remove windows, of which there are two then; true unless given. */
  readonly ddw?: boolean;
  /** The page sizes of created windows: bit n allows pages of 2^n bytes. 4 KiB, 64 KiB, 2 MiB and 16 MiB unless given. */
  readonly pgsz?: bigint;
  /** Where the default window begins; also a created one while there is no other. 0 unless given. */
  readonly dmaWinAddr?: Iova;
  /** How many bytes the default window has, in pages of 4 KiB; rounded down to them. 1 GiB unless given. */
  readonly dmaWinSize?: bigint;
  /** Where a created window begins while there is another; 2^59 unless given. */
  readonly dma64WinAddr?: Iova;
}

/** QEMU's defaults (hw/ppc/spapr_pci.c). */
export const PHB_DEFAULTS: Required<Omit<MachinePhbInit, "index">> = Object.freeze({
  ddw: true,
  pgsz: 1n << 12n | 1n << 16n | 1n << 21n | 1n << 24n,
  dmaWinAddr: 0n,
  dmaWinSize: 1n << 30n,
  dma64WinAddr: 1n << 59n,
});

/** Makes a bridge; not exported by the package. */
export function newMachinePhb(
  options: Required<MachinePhbInit>,
  memory: AddressSpace,
  deviceTree: DeviceTreeProperties,
): { readonly phb: MachinePhb; readonly bus: WindowBus } {
  const bus = new WindowBus(options.index, memory);
  // A static block that hands the private constructor out would keep the class in bundles that do not use it.
  return { phb: Reflect.construct(MachinePhb, [options, bus, deviceTree]), bus };
}

/**
 * A PCI host bridge of a {@linkcode SpaprMachine}, which owns it.
 *
 * It is as `SpaprPhb`, but its windows are the guest's: they come and go by the guest's RTAS calls and the machine's
 * reset. It has two at most, or one without dynamic windows.
 *
 * @example A window that the guest creates appears on the bus
 * ```ts
 * import { SpaprMachine } from "@giommu/spapr-tce";
 * import { assertEquals } from "@std/assert";
 *
 * using machine = new SpaprMachine({ ram: 0x10000n, phbs: [{ index: 0 }] });
 * const phb = machine.phb(0);
 * machine.rtas("ibm,create-pe-dma-window", [0, ...phb.buidCells, 16, 30], 4);
 * assertEquals(phb.windows.map(({ busOffset }) => busOffset), [0n, 1n << 59n]);
 * ```
 */
export class MachinePhb {
  /** What it was made from, with what was not given. */
  readonly options: Required<MachinePhbInit>;
  /** The LIOBNs that its windows have, or would have, ascending. */
  readonly liobns: readonly number[];
  /** `ibm,dma-window`; with dynamic windows also `ibm,ddw-applicable` and `ibm,ddw-extensions`. */
  readonly deviceTree: DeviceTreeProperties;
  readonly #bus: WindowBus;

  private constructor(options: Required<MachinePhbInit>, bus: WindowBus, deviceTree: DeviceTreeProperties) {
    this.options = options;
    this.liobns = Object.freeze(options.ddw ? [bus.liobn(0), bus.liobn(1)] : [bus.liobn(0)]);
    this.deviceTree = deviceTree;
    this.#bus = bus;
  }

  /** The bridge's number. */
  get index(): number {
    return this.#bus.index;
  }

  /** How RTAS calls name the bridge: 0x800000020000000 + index. */
  get buid(): bigint {
    return this.#bus.buid;
  }

  /** The BUID in two 32-bit words, the higher first, as RTAS calls take it. */
  get buidCells(): readonly [high: number, low: number] {
    return [Number(this.buid >> 32n), Number(this.buid & 0xffff_ffffn)];
  }

  /** What devices on the bus see. */
  get space(): AddressSpace {
    return this.#bus.space;
  }

  /**
   * The table of the default window, by which the guest's firmware begins: that of the lower LIOBN.
   *
   * Reading it throws an `IommuError` `"no-window"` while there is none, as the guest removed it.
   */
  get defaultWindow(): TceTable {
    return this.#bus.defaultWindow;
  }

  /** The tables of the windows that are there now, by ascending LIOBN. The machine owns them. */
  get windows(): readonly TceTable[] {
    return this.#bus.windows;
  }

  /**
   * Finds a window's table.
   *
   * @param liobn The LIOBN as a guest names it.
   * @returns The table; `undefined` if there is no such window on this bridge now.
   */
  table(liobn: number | bigint): TceTable | undefined {
    return this.#bus.table(typeof liobn === "bigint" ? liobn : BigInt(checkInteger("liobn", liobn)));
  }

  /** How messages name the bridge. */
  toString(): string {
    return this.#bus.toString();
  }
}
