import type { AddressRange } from "@giommu/core";
import { intersect } from "@giommu/core";
import { covers, lowestBit } from "./_arithmetic.ts";
import type { HostErrno } from "./host_error.ts";
import type { HostMapping } from "./host_iommu.ts";
import type { HostMemory } from "./host_windows.ts";

/** The memory that a simulated sPAPR host knows, by the kernel's rules (arch/powerpc/mm/book3s64/iommu_api.c). */
export class SpaprMemory {
  readonly #mask: bigint;
  readonly #max: bigint | undefined;
  /** In the order in which it was told. */
  all: readonly HostMemory[] = [];

  constructor(pageSizes: bigint, max: bigint | undefined) {
    this.#mask = lowestBit(pageSizes) - 1n;
    this.#max = max;
  }

  /** What was registered as just this. */
  find(memory: HostMemory): HostMemory | undefined {
    const mine = inRam(memory);
    return this.all.find((one) => one.ram === memory.ram && covers(inRam(one), mine) && covers(mine, inRam(one)));
  }

  /** Why memory is not registered. */
  refuse(memory: HostMemory): HostErrno | undefined {
    const { gpa: { start, last }, ram, ramOffset } = memory;
    if (last < start || (ramOffset & this.#mask) !== 0n || ((last - start) & this.#mask) !== this.#mask) {
      return "EINVAL";
    }
    if (ramOffset + (last - start) >= ram.size) return "EFAULT";
    if (this.find(memory) !== undefined) return "EBUSY";
    const mine = inRam(memory);
    if (this.all.some((one) => one.ram === ram && intersect(inRam(one), mine) !== undefined)) return "EINVAL";
    const sum = this.all.reduce((bytes, { gpa }) => bytes + (gpa.last - gpa.start + 1n), last - start + 1n);
    return this.#max !== undefined && sum > this.#max ? "ENOMEM" : undefined;
  }

  /** Whether a mapping points, at least with a part, to some memory. */
  isBehind(map: HostMapping, memory: HostMemory): boolean {
    return map.ram === memory.ram && intersect(behind(map), inRam(memory)) !== undefined;
  }

  /** How many bytes of a mapping, from its start on, point to memory that is known: all, or fewer. */
  knownBytes(map: HostMapping): bigint {
    const target = behind(map);
    const known = this.all.find((one) => one.ram === map.ram && covers(inRam(one), { ...target, last: target.start }));
    const part = known && intersect(inRam(known), target);
    return part === undefined ? 0n : part.last - part.start + 1n;
  }
}

/** Memory by its offsets inside the RAM. */
function inRam({ gpa, ramOffset }: HostMemory): AddressRange {
  return { start: ramOffset, last: ramOffset + (gpa.last - gpa.start) };
}

function behind({ iova, ramOffset = 0n }: HostMapping): AddressRange {
  return { start: ramOffset, last: ramOffset + (iova.last - iova.start) };
}
