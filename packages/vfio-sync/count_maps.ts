import type { AddressSpace } from "@giommu/memory-api";
import { replay } from "@giommu/memory-api";
import { IommuNotifier, IommuNotifierFlag } from "@giommu/notifiers";
import { targetPieces } from "./_targets.ts";

/** How many host mappings each coalescing policy needs. */
export interface MapCounts {
  /** One per guest IOMMU page. */
  readonly none: number;
  /** One per run that one guest call stored. */
  readonly call: number;
  /** One per maximal run. */
  readonly full: number;
}

/** What is counted. */
export interface CountMapsOptions {
  /** System memory: entries that point elsewhere need no mapping. The space's own `memory` unless given; if it has none, everything is RAM. */
  readonly memory?: AddressSpace;
}

/**
 * Counts how many host mappings the guest's mappings need under each coalescing policy. Nothing is mapped.
 *
 * Sections of RAM are one mapping each under every policy. Entries with unknown history count singly for `call`, as do
 * those of an IOMMU that keeps no history.
 *
 * @param space What the device would see.
 * @param options Where system memory is.
 * @returns The counts.
 *
 * @example
 * ```ts
 * import { AddressSpace, IommuMemoryRegion } from "@giommu/memory-api";
 * import { countMaps } from "@giommu/vfio-sync";
 * import { assertEquals } from "@std/assert";
 *
 * const iommu = new IommuMemoryRegion({
 *   name: "iommu",
 *   size: 0x10000n,
 *   translate: (iova) => {
 *     const start = iova & ~0xfffn;
 *     return { iova: { start, last: start + 0xfffn }, target: start, perm: 3, pageSize: 0x1000n };
 *   },
 * });
 * using bus = new AddressSpace({ name: "bus", root: iommu });
 * assertEquals(countMaps(bus), { none: 16, call: 16, full: 1 });
 * ```
 */
export function countMaps(space: AddressSpace, options: CountMapsOptions = {}): MapCounts {
  const memory = options.memory ?? space.memory;
  const counts = { none: 0, call: 0, full: 0 };
  for (const { region, offsetWithinRegion: start, range } of space.sections) {
    if (region.kind === "ram") {
      counts.none++;
      counts.call++;
      counts.full++;
    }
    if (region.kind !== "iommu") continue;
    for (const runs of ["full", "call"] as const) {
      const counter = new IommuNotifier({
        flags: IommuNotifierFlag.MAP,
        range: { start, last: start + (range.last - range.start) },
        runs,
        notify: ({ iova, target, perm, pageSize, targetSpace }) => {
          if (targetSpace !== undefined && targetSpace !== memory) return;
          for (const piece of targetPieces(memory, target, iova.last - iova.start, perm, 1n, true)) {
            if (piece.perm === 0) continue;
            counts[runs]++;
            if (runs === "call") continue;
            const first = iova.start + piece.offset;
            counts.none += Number((first + piece.length1) / pageSize - first / pageSize) + 1;
          }
        },
      });
      replay(region, counter);
    }
  }
  return counts;
}
