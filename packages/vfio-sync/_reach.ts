import { ADDRESS_MAX, formatRange, intersect, type IommuError } from "@giommu/core";
import type { MemorySection } from "@giommu/memory-api";
import { error, RANGE_REMEDY } from "./_refusal.ts";
import type { HostIommuInfo } from "./host_iommu.ts";

/**
 * Why a host can hold nothing of a window: all of it lies outside what the host translates. `undefined` if a part of the
 * window is inside: then each mapping tells.
 *
 * The whole window counts, not the part of it that a section shows. QEMU finds out at each mapping, and reports success.
 */
export function outOfReach(
  { region, range, offsetWithinRegion }: MemorySection,
  info: HostIommuInfo,
): IommuError | undefined {
  const start = range.start - offsetWithinRegion;
  const end = start + region.size - 1n;
  const window = { start: start < 0n ? 0n : start, last: end > ADDRESS_MAX ? ADDRESS_MAX : end };
  if (info.iovaRanges.some((reached) => intersect(reached, window) !== undefined)) return undefined;
  const reached = info.iovaRanges.map(formatRange).join(", ");
  return error(
    "iova-out-of-range",
    window,
    `Cannot hold window ${region.name}: ${formatRange(window)} is outside the IOVA ranges of ${info.name}: ${reached}`,
    RANGE_REMEDY,
  );
}
