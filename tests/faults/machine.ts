// A small machine with two devices, each in a container of its own, on one bus: the host of the first may fail.
import type { IommuError } from "@giommu/core";
import { AddressSpace, ArrayGuestMemory, MemoryRegion, RamRegion } from "@giommu/memory-api";
import { TceTable } from "@giommu/spapr-tce";
import type { HostIommu, VfioContainerInit } from "@giommu/vfio-sync";
import { SimulatedHost, verify, VfioContainer } from "@giommu/vfio-sync";
import { FaultyHost, pagesOf } from "./faulty_host.ts";

export const PAGE = 0x1000n;
/** Entries of each window: as many as make a power of two, which sPAPR hosts want. */
export const ENTRIES = 16;
/** Where RAM ends that is always there, and a DIMM may come. */
export const DIMM_AT = 0x10_0000n;
const LISTS = 0x2000;

/** How the machine is made. */
export interface MachineInit {
  /** Where the second window lies. */
  readonly highAt: bigint;
  /** Whether the bus may show RAM without an IOMMU. */
  readonly hasRam: boolean;
  /** What may fail. */
  readonly host: HostIommu;
  /** Whether calls that it refuses are made all the same; for tests of the tests. */
  readonly lies?: boolean;
  /** Of the first container. */
  readonly options: Omit<VfioContainerInit, "host">;
}

export class Machine implements Disposable {
  readonly init: MachineInit;
  readonly host: FaultyHost;
  readonly container: VfioContainer;
  readonly fine = new SimulatedHost();
  readonly second = new VfioContainer({ host: this.fine });
  readonly memoryRoot = new MemoryRegion({ name: "memory", size: 2n ** 64n });
  readonly busRoot = new MemoryRegion({ name: "bus", size: 2n ** 64n });
  readonly memory: AddressSpace;
  readonly bus: AddressSpace;
  readonly low = new TceTable({ liobn: 0x8000_0000, entries: ENTRIES });
  readonly high: TceTable;
  readonly dimm = new RamRegion({ name: "dimm", size: 0x4000n });
  readonly ram = new RamRegion({ name: "ram", size: 0x4000n });
  readonly over = new RamRegion({ name: "over", size: 0x2000n });
  readonly lists = new ArrayGuestMemory(LISTS);

  constructor(init: MachineInit) {
    this.init = init;
    this.host = new FaultyHost(init.host, init.lies);
    this.container = new VfioContainer({ host: this.host, ...init.options });
    this.high = new TceTable({ liobn: 0x8000_0001, entries: ENTRIES, busOffset: init.highAt });
    this.memoryRoot.addSubregion(0n, new RamRegion({ name: "main", size: DIMM_AT }));
    this.memory = new AddressSpace({ name: "memory", root: this.memoryRoot });
    this.busRoot.addSubregion(0n, this.low.region);
    this.bus = new AddressSpace({ name: "bus", root: this.busRoot, memory: this.memory });
  }

  /** Both containers see the same; the second one first, so that it is told last of what goes and first of what comes. */
  attach(): void {
    this.second.attach(this.bus);
    this.container.attach(this.bus);
  }

  /** Everything that a fault must leave as it was, in words. */
  state(): string[] {
    const entries = [this.low, this.high].map((table) =>
      Array.from({ length: ENTRIES }, (_, i) => table.entry(i).toString(16)).join(" ")
    );
    return [
      ...entries,
      ...this.host.holdings(),
      ...pagesOf(this.fine.mappings()).map((page) => `second ${page}`),
      `notifiers ${this.low.region.notifiers.size} ${this.high.region.notifiers.size}`,
      `listeners ${this.bus.listeners.length} ${this.memory.listeners.length}`,
      `devices ${this.container.devices} ${this.second.devices}`,
      `bus ${this.busRoot.subregions.map(({ region }) => region.name).sort()}`,
      `memory ${this.memoryRoot.subregions.map(({ region }) => region.name).sort()}`,
    ];
  }

  /** What is wrong, whatever happened: the second container is in step, and the first one, or it says where not. */
  wrong(): string[] {
    const wrong: string[] = [];
    const { container, second } = this;
    if (second.failed !== undefined) wrong.push(`the second container failed: ${second.failed.message}`);
    else if (second.space !== undefined && !verify(second).agrees) wrong.push("the second container is out of step");
    if (container.space === undefined) return wrong;
    const { ranges, agrees } = verify(container);
    if (agrees) return wrong;
    const named = container.failed?.ranges ?? [];
    for (const { kind, iova } of ranges) {
      if (named.some(({ start, last }) => start <= iova.start && iova.last <= last)) continue;
      wrong.push(`${kind} 0x${iova.start.toString(16)}..0x${iova.last.toString(16)}, and nobody says so`);
    }
    return wrong;
  }

  /** Ends everything; returns what is left over. */
  end(): string[] {
    this.host.failIn(new Map());
    for (const container of [this.container, this.second]) {
      container.dispose();
    }
    const left = this.host.holdings();
    if (this.fine.size > 0) left.push(`${this.fine.size} mappings of the second container`);
    const { low, high, bus, memory } = this;
    const heard = low.region.notifiers.size + high.region.notifiers.size + bus.listeners.length +
      memory.listeners.length;
    if (heard > 0) left.push(`${heard} notifiers or listeners`);
    return left;
  }

  [Symbol.dispose](): void {
    this.end();
    this.bus.dispose();
    this.memory.dispose();
    this.low[Symbol.dispose]();
    this.high[Symbol.dispose]();
  }
}

/** What a guest's call, or somebody's change of the machine, came to: `undefined` if it was done. */
export type Refusal = IommuError | undefined;
