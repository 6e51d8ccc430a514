import type { AddressSpace } from "./address_space.ts";
import type { IommuPerm } from "@giommu/notifiers";
import type { IommuMemoryRegion } from "./iommu_memory_region.ts";
import type { IoRegion } from "./io_region.ts";
import type { MemorySection } from "./memory_section.ts";
import type { RamRegion } from "./ram_region.ts";

/** Where an access ends. */
export interface MemoryTarget {
  /** It ends in memory or in a device's registers. */
  readonly kind: "memory";
  /** The section of the last address space; its region is no IOMMU. */
  readonly section: MemorySection;
  /** The same region, by its narrower type. */
  readonly region: RamRegion | IoRegion;
  /** Where in the region. */
  readonly offset: bigint;
  /** Where in the address space of the section. */
  readonly address: bigint;
  /** How many bytes from there on are translated alike: up to the least page end on the way, at most what was asked for. */
  readonly length: bigint;
  /** What is allowed by everything on the way. */
  readonly perm: IommuPerm;
  /** How many IOMMUs were passed. */
  readonly hops: number;
}

/**
 * Why an access does not get through:
 *
 * - `"unassigned"`: nothing is seen at the address;
 * - `"not-mapped"`: an IOMMU has no entry for it;
 * - `"no-permission"`: an entry does not allow the access;
 * - `"read-only"`: it is a write to read-only memory;
 * - `"no-target-space"`: an entry points to a space that is not known;
 * - `"loop"`: too many IOMMUs in a row.
 */
export type FaultReason = "unassigned" | "not-mapped" | "no-permission" | "read-only" | "no-target-space" | "loop";

/** Why an access does not get through. A guest can cause it: it is a value, never thrown. */
export interface TranslationFault {
  /** It does not get through. */
  readonly kind: "fault";
  /** Why. */
  readonly reason: FaultReason;
  /** The address space in which it stopped. */
  readonly space: AddressSpace;
  /** The address in that space. */
  readonly address: bigint;
  /** The IOMMU that stopped it, where one did. */
  readonly region?: IommuMemoryRegion;
  /** How many bytes from there on meet the same fault; at least 1. */
  readonly length: bigint;
}

/** Where an access ends, or why it cannot. */
export type Translation = MemoryTarget | TranslationFault;
