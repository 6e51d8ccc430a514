import type { AddressRange } from "@giommu/core";
import type { AddressSpace, MemorySection } from "@giommu/memory-api";
import { replay } from "@giommu/memory-api";
import type { IommuPerm } from "@giommu/notifiers";
import { IommuNotifier, IommuNotifierFlag } from "@giommu/notifiers";
import { PageCounter } from "./_page_counter.ts";
import { mappable } from "./_iommu_piece.ts";
import { ramMapping } from "./_ram_section.ts";
import { targetPieces } from "./_targets.ts";

/** A run of what the guest has mapped to memory, at bus addresses. */
export interface GuestExtent {
  readonly iova: AddressRange;
  readonly gpa: bigint;
  readonly perm: IommuPerm;
  /** The page size in which it is counted. */
  readonly page: bigint;
  /** What bus addresses lie above the addresses that pages are counted in. */
  readonly delta: bigint;
}

/** What the guest has mapped: read from its IOMMUs and its memory map, ascending. `page` is the host's smallest; `peers`: whether it maps memory of devices. */
export function guestExtents(
  space: AddressSpace,
  memory: AddressSpace | undefined,
  page: bigint,
  peers: boolean,
): { readonly extents: readonly GuestExtent[]; readonly notRam: bigint } {
  const extents: GuestExtent[] = [];
  const notRam = new PageCounter();
  for (const section of space.sections) {
    if (section.region.kind === "ram") {
      const { mapping } = ramMapping(section, page, memory, peers);
      if (mapping !== undefined) {
        extents.push({ iova: mapping.iova, gpa: mapping.gpa, perm: mapping.perm, page, delta: 0n });
      }
    } else if (section.region.kind === "iommu") {
      walk(section, memory, page, peers, extents, notRam);
    }
  }
  return { extents, notRam: notRam.total };
}

function walk(
  section: MemorySection,
  memory: AddressSpace | undefined,
  hostPage: bigint,
  peers: boolean,
  extents: GuestExtent[],
  notRam: PageCounter,
): void {
  const { region, offsetWithinRegion } = section;
  if (region.kind !== "iommu") return;
  const delta = section.range.start - offsetWithinRegion;
  const range = mappable(section, hostPage);
  if (range === undefined) return;
  const page = region.minPageSize;
  const reader = new IommuNotifier({
    flags: IommuNotifierFlag.MAP,
    range: { start: range.start - delta, last: range.last - delta },
    notify: ({ iova, target, perm, pageSize, targetSpace }) => {
      const start = iova.start + delta;
      if (targetSpace !== undefined && targetSpace !== memory) {
        notRam.add({ start, last: iova.last + delta }, page, delta);
        return;
      }
      const fit = pageSize < hostPage ? 1n : hostPage;
      for (const piece of targetPieces(memory, target, iova.last - iova.start, perm, fit, peers)) {
        const at = { start: start + piece.offset, last: start + piece.offset + piece.length1 };
        if (piece.perm === 0) notRam.add(at, page, delta);
        else extents.push({ iova: at, gpa: piece.gpa, perm: piece.perm, page, delta });
      }
    },
  });
  replay(region, reader);
}
