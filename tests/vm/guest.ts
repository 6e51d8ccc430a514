import type { Gpa, Iova } from "@giommu/core";
import { AddressSpace, RamRegion } from "@giommu/memory-api";
import type { TceTable } from "@giommu/spapr-tce";
import { SpaprPhb } from "@giommu/spapr-tce";
import type { EduScratch, MemoryPages } from "@giommu/vfio-linux";
import { PinnedMemory } from "@giommu/vfio-linux";
import { word } from "./word.ts";

/** A guest page. */
export const PAGE = 0x1000n;
/** Permission bits of a TCE (PAPR 14.5.4.2). */
export const READ = 1n;
/** The other one. */
export const WRITE = 2n;

/** A pseries guest with memory that a device can reach: from address 0, each page marked with its own number. */
export class Guest implements Disposable {
  readonly memory: PinnedMemory;
  readonly ram: RamRegion;
  readonly system: AddressSpace;
  readonly phb: SpaprPhb;

  constructor(options: { readonly size?: bigint; readonly pages?: MemoryPages; readonly index?: number } = {}) {
    const { size = 0x100_0000n, pages = "small", index = 0 } = options;
    this.memory = new PinnedMemory({ size, pages });
    this.ram = new RamRegion({ name: "ram", size: this.memory.size, memory: this.memory });
    this.system = new AddressSpace({ name: "system", root: this.ram });
    this.phb = new SpaprPhb({ index, memory: this.system });
  }

  /** The table of the default window. */
  get table(): TceTable {
    const table = this.phb.defaultWindow;
    return table;
  }

  /** Writes into a page which one it is. */
  mark(gpa: Gpa): bigint {
    const value = 0x6775_6573_0000_0000n | gpa;
    this.memory.write(gpa, word(value));
    return value;
  }

  /** Maps a page for devices; what it holds is its mark. */
  map(iova: Iova, gpa: Gpa, perm: bigint = READ | WRITE): bigint {
    this.put(iova, gpa | perm);
    return this.mark(gpa);
  }

  /** Stores an entry; the guest must be told that it was done. */
  put(iova: Iova, tce: bigint): void {
    const { ret } = this.table.putTce(iova, tce);
    if (ret !== 0) throw new Error(`Cannot store a TCE: the guest was told ${ret}`);
  }

  /** Maps a page for an edu device; its last page, at a place where tests map nothing. */
  scratch(): EduScratch {
    const gpa = this.memory.size - PAGE;
    const iova = 0x3fff_f000n;
    this.put(iova, gpa | READ | WRITE);
    return { memory: this.memory, offset: gpa, iova };
  }

  [Symbol.dispose](): void {
    this.phb[Symbol.dispose]();
    this.system[Symbol.dispose]();
    this.memory.dispose();
  }
}
