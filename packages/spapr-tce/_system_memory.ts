import { hex, nameOf } from "@giommu/core";
import type { GuestMemory } from "@giommu/memory-api";
import { AddressSpace, ArrayGuestMemory, RamRegion } from "@giommu/memory-api";

/** Where a machine's memory comes from: one of the two. */
interface MemoryInit {
  readonly ram?: bigint | GuestMemory;
  readonly memory?: AddressSpace;
}

/** The address space that was given, or one with RAM from address 0. */
export function systemMemory({ ram, memory }: MemoryInit): AddressSpace {
  if ((ram === undefined) === (memory === undefined)) {
    throw new TypeError("Cannot make an sPAPR machine: it needs either ram or memory");
  }
  if (memory !== undefined) {
    if (!(memory instanceof AddressSpace)) {
      throw new TypeError("Cannot make an sPAPR machine: its memory is no AddressSpace");
    }
    return memory;
  }
  const bytes = typeof ram === "bigint" ? newRam(ram) : ram as GuestMemory;
  if (typeof bytes !== "object" || bytes === null || typeof bytes.size !== "bigint") {
    throw new TypeError(
      `Cannot make an sPAPR machine: its ram is ${
        nameOf(ram)
      }, expected a number of bytes as a bigint, or a GuestMemory`,
    );
  }
  return new AddressSpace({ name: "memory", root: new RamRegion({ name: "ram", size: bytes.size, memory: bytes }) });
}

function newRam(size: bigint): GuestMemory {
  try {
    if (size < 1n || size > BigInt(Number.MAX_SAFE_INTEGER)) throw new RangeError("it is out of bounds");
    return new ArrayGuestMemory(Number(size));
  } catch (cause) {
    throw new RangeError(`Cannot make RAM of ${hex(size)} bytes: no array can be so large`, { cause });
  }
}
