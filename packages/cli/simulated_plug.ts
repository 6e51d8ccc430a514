import type { Iova } from "@giommu/core";
import { AddressSpace, type GuestMemory, RamRegion } from "@giommu/memory-api";
import { SparseGuestMemory } from "@giommu/testing";
import { type HostRules, SimulatedHost } from "@giommu/vfio-sync";
import { bytesOf, type DmaEngine, wordOf } from "./dma_engine.ts";
import type { SimulatedChoice } from "./options.ts";
import type { PlugHost } from "./plug_host.ts";

/** How a {@linkcode SimulatedPlug} is made. */
export interface SimulatedPlugInit {
  /** Whose rules the host follows. */
  readonly rules: HostRules;
  /** How it differs from them. */
  readonly choice: SimulatedChoice;
  /** The guest's RAM in bytes, from address 0; where absent, all of 64 bits are. */
  readonly ram: bigint | undefined;
  /** Whether the RAM has bytes, for a device to read and write. */
  readonly hasBytes: boolean;
}

/** A simulated host, whose device is one as well. */
export class SimulatedPlug implements PlugHost {
  /** The host. */
  readonly host: SimulatedHost;
  /** The guest's memory map. */
  readonly memory: AddressSpace | undefined;
  /** Its bytes; they take what was written of them. */
  readonly bytes: GuestMemory | undefined;

  /**
   * Makes a host that holds nothing.
   *
   * @param init Its rules, the guest's memory.
   */
  constructor({ rules, choice: { hostPageShift, iovaRanges, maxMappings }, ram, hasBytes }: SimulatedPlugInit) {
    this.host = new SimulatedHost({
      rules,
      name: rules === "none" ? "sim" : rules,
      ...(hostPageShift !== undefined && { pageSize: 1n << BigInt(hostPageShift) }),
      ...(iovaRanges.length > 0 && { iovaRanges }),
      ...(maxMappings !== undefined && { maxMappings }),
    });
    if (ram === undefined && !hasBytes) return;
    const size = ram ?? 1n << 64n;
    this.bytes = hasBytes ? new SparseGuestMemory(size) : undefined;
    const region = new RamRegion({ name: "ram", size, ...(this.bytes !== undefined && { memory: this.bytes }) });
    this.memory = new AddressSpace({ name: "memory", root: region });
  }

  /** A device that reads and writes through the host; see {@linkcode PlugHost.dmaEngine}. */
  dmaEngine(): Promise<DmaEngine> {
    const { host } = this;
    return Promise.resolve({
      pagesPerKind: 64,
      read: (iova: Iova) => {
        const bytes = new Uint8Array(8);
        const word = host.read(iova, bytes).faults.length === 0 ? wordOf(bytes) : 0n;
        return Promise.resolve(word === 0n ? undefined : word);
      },
      write: (iova: Iova, value: bigint) => {
        host.write(iova, bytesOf(value));
        return Promise.resolve();
      },
      [Symbol.dispose]: () => {},
    });
  }

  /** There is no device that could do harm. */
  cutOff(): void {}

  /** Lets go of the guest's memory map; twice is fine. */
  [Symbol.dispose](): void {
    this.memory?.[Symbol.dispose]();
  }
}
