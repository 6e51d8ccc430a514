import { checkInteger } from "@giommu/core";
import { memory, type RawSpaprMachine, type RawTceTable } from "@giommu/core/wasm/spapr";
import type { AddressSpace } from "@giommu/memory-api";
import { transaction } from "@giommu/memory-api";
import type { Stage, Stands } from "./_effects.ts";
import type { WindowBus } from "./_window_bus.ts";
import { PHB_INDEX_MAX } from "./_window_bus.ts";
import { cellBytes, type DeviceTreeProperties } from "./device_tree.ts";
import type { OnHostFailure } from "./hcall.ts";
import { type MachinePhb, type MachinePhbInit, newMachinePhb } from "./machine_phb.ts";
import { newVioDevice, type SpaprVioDevice, type VioState } from "./spapr_vio_device.ts";
import { adopt, type TceTable } from "./tce_table.ts";

/** The bridges and devices of a machine, as they are shown: windows and bypass follow what the core decides. */
export class MachineDevices implements Stage, Disposable {
  /** The tables of windows that are there, by the LIOBN as a guest's register holds it; ascending. */
  tables: ReadonlyMap<bigint, TceTable> = new Map();
  readonly #memory: AddressSpace;
  readonly #onHostFailure: OnHostFailure;
  readonly #phbs = new Map<number, { readonly phb: MachinePhb; readonly bus: WindowBus }>();
  readonly #vios = new Map<number, { readonly device: SpaprVioDevice; readonly state: VioState }>();

  #calledLiobn: number | bigint | undefined;
  #calledIn: ReadonlyMap<bigint, TceTable> | undefined;
  #called: TceTable | undefined;

  /** No devices yet. */
  constructor(memory: AddressSpace, onHostFailure: OnHostFailure) {
    this.#memory = memory;
    this.#onHostFailure = onHostFailure;
  }

  get phbs(): readonly MachinePhb[] {
    return Array.from(this.#phbs.values(), ({ phb }) => phb).sort((a, b) => a.index - b.index);
  }

  get vios(): readonly SpaprVioDevice[] {
    return Array.from(this.#vios.values(), ({ device }) => device).sort((a, b) => a.unit - b.unit);
  }

  phb(index: number): MachinePhb | undefined {
    return this.#phbs.get(index)?.phb;
  }

  vio(unit: number): SpaprVioDevice | undefined {
    return this.#vios.get(unit)?.device;
  }

  table(liobn: number): TceTable | undefined {
    return this.tables.get(BigInt(liobn));
  }

  /** The table that a guest's call names. Most calls name the table of the call before, and to look a bigint up takes as long as a put. */
  called(liobn: number | bigint): TceTable | undefined {
    if (liobn === this.#calledLiobn && this.tables === this.#calledIn) return this.#called;
    const found = this.tables.get(typeof liobn === "bigint" ? liobn : BigInt(checkInteger("liobn", liobn)));
    this.#calledLiobn = liobn;
    this.#calledIn = this.tables;
    this.#called = found;
    return this.#called;
  }

  addWindow(liobn: number, raw: RawTceTable): Stands {
    const table = adopt(raw, memory, this.#onHostFailure);
    this.#bus(liobn).add(table);
    return () => table.region.parent !== undefined;
  }

  removeWindow(liobn: number): Stands {
    const bus = this.#bus(liobn);
    const table = found(bus.table(BigInt(liobn)));
    bus.remove(table);
    return () => table.region.parent === undefined;
  }

  setBypass(unit: number, on: boolean): Stands {
    const { device, state } = found(this.#vios.get(unit));
    state.setBypass(on);
    return () => device.bypass === on;
  }

  /** Shows the devices of a machine that exists in the core. */
  showAll(raw: RawSpaprMachine): void {
    const phbs = raw.phbs();
    for (let at = 0; at + 6 <= phbs.length; at += 6) {
      const [index = 0n, ddw = 0n, pgsz = 0n, dmaWinAddr = 0n, dmaWinSize = 0n, dma64WinAddr = 0n] = phbs.subarray(at);
      const options = { index: Number(index), ddw: ddw !== 0n, pgsz, dmaWinAddr, dmaWinSize, dma64WinAddr };
      this.showPhb(raw, Object.freeze(options));
    }
    for (const unit of raw.vios()) this.showVio(raw, unit);
  }

  /** Shows a bridge that the core has. */
  showPhb(raw: RawSpaprMachine, options: Required<MachinePhbInit>): MachinePhb {
    const made = newMachinePhb(options, this.#memory, phbProperties(raw, options.index));
    this.#phbs.set(options.index, made);
    for (const liobn of made.phb.liobns) {
      const handle = raw.table(liobn);
      if (handle !== undefined) made.bus.add(adopt(handle, memory, this.#onHostFailure));
    }
    this.settle();
    return made.phb;
  }

  /** Shows a VIO device that the core has. */
  showVio(raw: RawSpaprMachine, unit: number): SpaprVioDevice {
    const table = adopt(found(raw.table(unit)), memory, this.#onHostFailure);
    const properties = Object.freeze({ "ibm,my-dma-window": cellBytes(raw.deviceTreeWindow(unit)) });
    const made = newVioDevice(unit, table, this.#memory, properties);
    if (raw.bypass(unit)) transaction(() => made.state.setBypass(true));
    this.#vios.set(unit, made);
    this.settle();
    return made.device;
  }

  /** Notes which tables there are now, and lets go of those that are gone for good. */
  settle(): void {
    for (const { bus } of this.#phbs.values()) bus.sweep();
    const tables = [...this.vios.map(({ table }) => table), ...this.phbs.flatMap(({ windows }) => windows)];
    this.tables = new Map(tables.map((table) => [BigInt(table.liobn), table]));
  }

  /** Removes all; throws the first error of a listener once all is done. */
  [Symbol.dispose](): void {
    this.tables = new Map();
    const errors: unknown[] = [];
    for (
      const end of [
        ...Array.from(this.#phbs.values(), ({ bus }) => () => bus[Symbol.dispose]()),
        ...Array.from(this.#vios.values(), ({ state }) => () => state.dispose()),
      ]
    ) {
      try {
        end();
      } catch (error) {
        errors.push(error);
      }
    }
    if (errors.length > 0) throw errors[0];
  }

  #bus(liobn: number): WindowBus {
    return found(this.#phbs.get(liobn >>> 8 & PHB_INDEX_MAX)?.bus);
  }
}

/** What the core and this machine both have; that it is missing would be a defect here. */
function found<T>(thing: T | undefined): T {
  if (thing === undefined) throw new Error("the core knows a device that the machine does not");
  return thing;
}

function phbProperties(raw: RawSpaprMachine, index: number): DeviceTreeProperties {
  const applicable = raw.ddwApplicable(index);
  return Object.freeze({
    "ibm,dma-window": cellBytes(raw.deviceTreeWindow((0x8000_0000 | index << 8) >>> 0)),
    ...(applicable !== undefined && {
      "ibm,ddw-applicable": cellBytes(applicable),
      "ibm,ddw-extensions": cellBytes(raw.ddwExtensions(index) ?? []),
    }),
  });
}
