import { ADDRESS_MAX, checkInteger, checkU64 } from "@giommu/core";
import { IommuPerm } from "@giommu/notifiers";
import type { AddressSpace } from "./address_space.ts";
import { spaceState } from "./address_space.ts";
import type { IommuMemoryRegion } from "./iommu_memory_region.ts";
import type { FaultReason, Translation } from "./translation.ts";

/** How many IOMMUs in a row are followed. Real machines have one or two; more is a loop. */
const MAX_HOPS = 32;

/** Follows an access through all IOMMUs; QEMU's address_space_translate_iommu (system/physmem.c) has the same rules, without a guard against loops. */
export function translate(from: AddressSpace, start: bigint, access: IommuPerm, wanted?: bigint): Translation {
  let address = checkU64("address", start);
  checkInteger("access", access, IommuPerm.NONE, IommuPerm.READ_WRITE);
  let length = wanted === undefined ? ADDRESS_MAX + 1n : checkLength(wanted);
  let perm: IommuPerm = IommuPerm.READ_WRITE;
  let space = from;
  const limit = (bytes: bigint): void => {
    if (bytes < length) length = bytes;
  };
  const fault = (reason: FaultReason, region?: IommuMemoryRegion): Translation => ({
    kind: "fault",
    reason,
    space,
    address,
    ...(region !== undefined && { region }),
    length,
  });
  for (let hops = 0;; hops++) {
    const { view } = spaceState(space);
    const section = view.find(address);
    if (section === undefined) {
      limit((view.sections[view.indexFrom(address)]?.range.start ?? ADDRESS_MAX + 1n) - address);
      return fault("unassigned");
    }
    limit(section.range.last - address + 1n);
    const { region } = section;
    const offset = section.offsetWithinRegion + (address - section.range.start);
    if (region.kind !== "iommu") {
      if (region.kind === "ram" && region.readonly) perm = (perm & IommuPerm.READ) as IommuPerm;
      if (perm === IommuPerm.NONE || (perm & access) !== access) return fault("read-only");
      return { kind: "memory", section, region, offset, address, length, perm, hops };
    }
    if (hops === MAX_HOPS) return fault("loop", region);
    const entry = region.translate(offset, access);
    if (entry === undefined) {
      const page = region.minPageSize;
      limit(page - offset % page);
      return fault("not-mapped", region);
    }
    limit(entry.iova.last - offset + 1n);
    perm = (perm & entry.perm) as IommuPerm;
    if (perm === IommuPerm.NONE || (perm & access) !== access) return fault("no-permission", region);
    const next = entry.targetSpace ?? space.memory ?? from.memory;
    if (!isAddressSpace(next)) return fault("no-target-space", region);
    address = BigInt.asUintN(64, entry.target + (offset - entry.iova.start));
    limit(ADDRESS_MAX - address + 1n);
    space = next;
  }
}

function checkLength(length: bigint): bigint {
  if (typeof length !== "bigint") throw new TypeError(`Cannot use length: expected a bigint, got ${typeof length}`);
  if (length < 1n || length > ADDRESS_MAX + 1n) throw new RangeError(`Cannot use length: ${length} is not 1 to 2^64`);
  return length;
}

/** Whether an entry's target space is one that can be looked into. */
function isAddressSpace(space: unknown): space is AddressSpace {
  try {
    return space !== undefined && !spaceState(space as AddressSpace).disposed;
  } catch {
    return false; // not an AddressSpace: it lacks the private state
  }
}
