import type { AddressRange, Gpa } from "@giommu/core";
import { IommuError } from "@giommu/core";
import type { IommuPerm } from "@giommu/notifiers";
import { lowestBit } from "./_arithmetic.ts";
import type { GuestExtent } from "./_guest_extents.ts";
import { guestExtents } from "./_guest_extents.ts";
import { Comparison } from "./_comparison.ts";
import type { VfioContainer } from "./vfio_container.ts";

/** What one side says of a range. */
export interface VerifiedMapping {
  /** Where its first byte points to. */
  readonly gpa: Gpa;
  /** What a device may do. */
  readonly perm: IommuPerm;
}

/** A range in which guest and host differ. */
export interface Difference {
  /** `missing`: the host lacks it; `stale`: only the host has it; `differing`: another target or permission. */
  readonly kind: "missing" | "stale" | "differing";
  /** The bus addresses, both ends included. */
  readonly iova: AddressRange;
  /** What the guest's IOMMU (or RAM section) says, where it says something. */
  readonly guest?: VerifiedMapping;
  /** What the host holds, where it holds something. */
  readonly host?: VerifiedMapping;
}

/** What {@linkcode verify} found. Pages are counted in the size of each region's smallest page; RAM in the host's. */
export interface Verification {
  /** Whether nothing is missing, stale or differing. */
  readonly agrees: boolean;
  /** Pages that the guest has mapped to memory. */
  readonly guestPages: bigint;
  /** Pages that the host holds. */
  readonly hostPages: bigint;
  /** Pages that the guest has mapped and the host lacks. */
  readonly missing: bigint;
  /** Pages that the host holds and the guest has not mapped. */
  readonly stale: bigint;
  /** Pages that both have, with another target or permission. */
  readonly differing: bigint;
  /** Pages that the guest has mapped to what is no memory: nothing is expected of the host there. */
  readonly notRam: bigint;
  /** The first ten ranges of each kind, ascending. */
  readonly ranges: readonly Difference[];
}

/**
 * Compares what the guest has mapped with what the host really holds, address by address.
 *
 * The guest's side is read anew from its IOMMUs, by a replay, and from the sections of RAM; the host's side is `host.mappings()`.
 * The container's own memory is not asked.
 *
 * @param container An attached container.
 * @returns What agrees and what does not.
 * @throws {IommuError} `"backend-unavailable"` if the host cannot tell what it holds; `"not-attached"` if the container is attached to nothing.
 *
 * @example Somebody else changes the host
 * ```ts
 * import { AddressSpace, RamRegion } from "@giommu/memory-api";
 * import { SimulatedHost, verify, VfioContainer } from "@giommu/vfio-sync";
 * import { assertEquals } from "@std/assert";
 *
 * using bus = new AddressSpace({ name: "bus", root: new RamRegion({ name: "ram", size: 0x4000n }) });
 * const host = new SimulatedHost();
 * using container = new VfioContainer({ host });
 * container.attach(bus);
 * assertEquals(verify(container).agrees, true);
 *
 * host.unmap({ start: 0x1000n, last: 0x1fffn });
 * const { missing, ranges } = verify(container);
 * assertEquals([missing, ranges[0]?.kind, ranges[0]?.iova.start], [1n, "missing", 0x1000n]);
 * ```
 */
export function verify(container: VfioContainer): Verification {
  const { host, space, memory } = container;
  if (space === undefined) {
    throw new IommuError("not-attached", `Cannot verify ${host.info.name}: it is attached to nothing`, {
      remedy: "attach the container first",
    });
  }
  if (host.mappings === undefined) {
    throw new IommuError("backend-unavailable", `Cannot verify ${host.info.name}: it does not tell what it holds`);
  }
  const page = lowestBit(host.info.pageSizes);
  const guest = guestExtents(space, memory, page, container.host.info.peerToPeer === true);
  const comparison = new Comparison(host.info.writeOnly, page, (iova) => pageAt(guest.extents, iova));
  comparison.run(guest.extents, host.mappings());
  const { guestPages, hostPages, missing, stale, differing, ranges } = comparison;
  return {
    agrees: missing.total + stale.total + differing.total === 0n,
    guestPages: guestPages.total,
    hostPages: hostPages.total,
    missing: missing.total,
    stale: stale.total,
    differing: differing.total,
    notRam: guest.notRam,
    ranges,
  };
}

function pageAt(extents: readonly GuestExtent[], iova: bigint): GuestExtent | undefined {
  let low = 0;
  let high = extents.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const extent = extents[middle];
    if (extent !== undefined && extent.iova.start <= iova) low = middle + 1;
    else high = middle;
  }
  return extents[low - 1] ?? extents[low];
}
