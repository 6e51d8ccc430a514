import { AddressSpace, AliasRegion, MemoryRegion } from "@giommu/memory-api";
import type { DeviceTreeProperties } from "./device_tree.ts";
import type { TceTable } from "./tce_table.ts";

/** What makes a VIO device of a {@linkcode SpaprMachine}. */
export interface SpaprVioInit {
  /** The unit number, `reg` in QEMU, which is also its LIOBN: 0 to 2^31 - 1. */
  readonly unit: number;
  /** How many bytes its window has, from bus address 0, in pages of 4 KiB; rounded down to them. 256 MiB unless given, as all of QEMU's devices have that have one. */
  readonly windowSize?: bigint;
}

/** What the machine knows of one of its devices; not exported by the package. */
export interface VioState {
  /** Lets it go past its table, or no more: a change of the memory map. */
  setBypass(on: boolean): void;
  dispose(): void;
}

/** Makes a device; not exported by the package. */
export function newVioDevice(
  unit: number,
  table: TceTable,
  memory: AddressSpace,
  deviceTree: DeviceTreeProperties,
): { readonly device: SpaprVioDevice; readonly state: VioState } {
  const name = `vio@${unit.toString(16)}`;
  const root = new MemoryRegion({ name, size: 1n << 64n });
  const direct = new AliasRegion({ name: `${name}-bypass`, target: memory.root, size: memory.root.size });
  direct.enabled = false;
  root.addSubregion(0n, direct, { priority: 1 });
  root.addSubregion(0n, table.region, { priority: 2 });
  const space = new AddressSpace({ name, root, memory });
  // A static block that hands the private constructor out would keep the class in bundles that do not use it.
  const device: SpaprVioDevice = Reflect.construct(SpaprVioDevice, [unit, table, space, direct, deviceTree]);
  return {
    device,
    state: {
      setBypass: (on) => {
        direct.enabled = on;
        table.region.enabled = !on;
      },
      dispose: () => {
        try {
          space.dispose();
        } finally {
          table[Symbol.dispose]();
        }
      },
    },
  };
}

/**
 * A VIO device of a pseries machine: its accesses go through a table of its own, or past it while bypass is on.
 *
 * Made by {@linkcode SpaprMachine}, which owns it. The guest turns bypass on and off by `ibm,set-tce-bypass`: a change
 * of what {@linkcode space} shows, which listeners see (QEMU, hw/ppc/spapr_vio.c).
 *
 * @example
 * ```ts
 * import { readDma } from "@giommu/memory-api";
 * import { SpaprMachine } from "@giommu/spapr-tce";
 * import { assertEquals } from "@std/assert";
 *
 * const unit = 0x7100_0001;
 * using machine = new SpaprMachine({ ram: 0x10000n, vios: [{ unit }] });
 * const device = machine.vio(unit);
 * machine.ram.write(0x5000n, new Uint8Array([42]));
 * machine.putTce(unit, 0x1000n, 0x5003n);
 * const byte = new Uint8Array(1);
 * readDma(device.space, 0x1000n, byte);
 * assertEquals(byte[0], 42);
 *
 * machine.rtas("ibm,set-tce-bypass", [unit, 1], 1);
 * readDma(device.space, 0x5000n, byte.fill(0));
 * assertEquals([device.bypass, byte[0]], [true, 42]);
 * ```
 */
export class SpaprVioDevice {
  /** The unit number. */
  readonly unit: number;
  /** Its table. Hypercalls reach it also while the device goes past it. The machine owns it. */
  readonly table: TceTable;
  /** What the device sees. */
  readonly space: AddressSpace;
  /** `ibm,my-dma-window`: LIOBN, bus address in two cells, size in two. */
  readonly deviceTree: DeviceTreeProperties;
  readonly #direct: MemoryRegion;

  private constructor(
    unit: number,
    table: TceTable,
    space: AddressSpace,
    direct: MemoryRegion,
    deviceTree: DeviceTreeProperties,
  ) {
    this.unit = unit;
    this.table = table;
    this.space = space;
    this.#direct = direct;
    this.deviceTree = deviceTree;
  }

  /** The LIOBN of its table, which is the unit number. */
  get liobn(): number {
    return this.unit;
  }

  /** Whether its accesses are direct: bus addresses are guest-physical ones. */
  get bypass(): boolean {
    return this.#direct.enabled;
  }

  /** How messages name it. */
  toString(): string {
    return `VIO device 0x${this.unit.toString(16)}`;
  }
}
