import type { AddressRange } from "@giommu/core";
import { formatRange, intersect, IommuError } from "@giommu/core";
import type { AddressSpace, MemorySection, RamRegion } from "@giommu/memory-api";
import { lowestBit, subtract, wholePages } from "./_arithmetic.ts";
import type { HostIommu } from "./host_iommu.ts";
import type { HostMemory } from "./host_windows.ts";

/** RAM that the host knows. */
interface Known {
  readonly memory: HostMemory;
  /** What of it system memory shows; nothing if the host did not forget it when it should have. */
  shown: readonly AddressRange[];
}

/**
 * Tells a host of guest memory before anything is mapped there, where it has to be told, as sPAPR's has (hw/vfio/spapr.c). On
 * every other host it does nothing.
 *
 * What was registered can only be taken back as a whole: it stays until nothing of it is shown.
 */
export class RegisteredMemory {
  readonly #host: HostIommu;
  #known: Known[] = [];

  constructor(host: HostIommu) {
    this.#host = host;
  }

  /** Throws if the host has to be told and there is nothing to tell. */
  check(memory: AddressSpace | undefined): void {
    if (this.#host.registerMemory === undefined || memory !== undefined) return;
    const { name } = this.#host.info;
    throw new IommuError("host-refused", `Cannot map anything on ${name}: it has to know system memory beforehand`, {
      remedy: "give the container, or the address space, its memory",
    });
  }

  /** Registers all RAM of system memory. */
  open(memory: AddressSpace | undefined): void {
    this.check(memory);
    if (this.#host.registerMemory === undefined) return;
    for (const section of memory?.sections ?? []) this.add(section);
  }

  /** RAM appears. Throws if the host refuses; nothing of it is registered then. */
  add(section: MemorySection): void {
    const { region, range, offsetWithinRegion } = section;
    if (this.#host.registerMemory === undefined || region.kind !== "ram" || region.device) return;
    const delta = range.start - offsetWithinRegion;
    let fresh: readonly AddressRange[] = [range];
    for (const known of this.#of(region, delta)) {
      const again = intersect(known.memory.gpa, range);
      if (again === undefined) continue;
      known.shown = [...subtract(known.shown, again), again];
      fresh = subtract(fresh, again);
    }
    const page = lowestBit(this.#host.info.pageSizes);
    for (const part of fresh) {
      const gpa = (delta & (page - 1n)) === 0n ? wholePages(part, page) : undefined;
      if (gpa === undefined) continue;
      try {
        this.#register({ gpa, ram: region, ramOffset: gpa.start - delta });
      } catch (error) {
        this.remove(section);
        throw error;
      }
    }
  }

  /** RAM goes; nothing points there any more. Returns why the host keeps it, if it does. */
  remove({ region, range, offsetWithinRegion }: MemorySection): IommuError | undefined {
    if (region.kind !== "ram") return undefined;
    let first: IommuError | undefined;
    for (const known of this.#of(region, range.start - offsetWithinRegion)) {
      if (intersect(known.memory.gpa, range) === undefined) continue;
      known.shown = subtract(known.shown, range);
      if (known.shown.length === 0) first ??= this.#unregister(known);
    }
    return first;
  }

  /** Takes everything back. Returns why not, one error for each section that the host keeps. */
  clear(): IommuError[] {
    return this.#known.flatMap((known) => this.#unregister(known) ?? []);
  }

  #of(region: RamRegion, delta: bigint): Known[] {
    return this.#known.filter(({ memory: { ram, gpa, ramOffset } }) =>
      ram === region && gpa.start - ramOffset === delta
    );
  }

  #register(memory: HostMemory): void {
    try {
      this.#host.registerMemory?.(memory);
    } catch (cause) {
      throw refusal("make", "known to", memory, this.#host.info.name, cause);
    }
    this.#known.push({ memory, shown: [memory.gpa] });
  }

  #unregister(known: Known): IommuError | undefined {
    known.shown = [];
    try {
      this.#host.unregisterMemory?.(known.memory);
    } catch (cause) {
      return refusal("take", "back from", known.memory, this.#host.info.name, cause, false);
    }
    this.#known = this.#known.filter((one) => one !== known);
    return undefined;
  }
}

/** The range is named where a call is refused for it; what the host keeps is no bus address. */
function refusal(
  verb: string,
  how: string,
  { gpa, ram }: HostMemory,
  host: string,
  cause: unknown,
  isNamed = true,
): IommuError {
  const why = cause instanceof Error ? cause.message : String(cause);
  return new IommuError(
    "host-refused",
    `Cannot ${verb} RAM ${ram.name} at ${formatRange(gpa)} ${how} ${host}: ${why}`,
    {
      ...(isNamed && { range: gpa }),
      remedy: isNamed ? "raise the limit of locked memory (RLIMIT_MEMLOCK)" : "detach again, or close the host",
      cause,
    },
  );
}
