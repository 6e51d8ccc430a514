import type { AddressRange } from "@giommu/core";
import { joinRanges, WHOLE_SPACE } from "@giommu/core";

/** What VFIO_IOMMU_GET_INFO tells. */
export interface KernelInfo {
  /** A bit for each page size. */
  readonly pageSizes: bigint;
  /** How many more mappings fit; absent where the kernel does not tell. */
  readonly available: number | undefined;
  /** Page sizes in which written pages are tracked; 0 where they are not. */
  readonly dirtyPageSizes: bigint;
  /** Where mappings may lie; everywhere where the kernel does not tell (before 5.4): it refuses then. */
  readonly iovaRanges: readonly AddressRange[];
}

/** Reads the numbers of `giommu_container_info`. */
export function kernelInfo(numbers: readonly bigint[]): KernelInfo {
  const [pageSizes = 0n, available = 0n, dirtyPageSizes = 0n, , , ...ranges] = numbers;
  return {
    pageSizes,
    // All ones: not told.
    available: available === 0xffff_ffff_ffff_ffffn ? undefined : Number(available),
    dirtyPageSizes,
    iovaRanges: ranges.length === 0 ? [WHOLE_SPACE] : rangesOf(ranges),
  };
}

/** Ranges by their first and last addresses, ascending, adjoining ones joined. */
export function rangesOf(numbers: readonly bigint[]): AddressRange[] {
  const ranges: AddressRange[] = [];
  for (let at = 0; at + 1 < numbers.length; at += 2) {
    ranges.push(Object.freeze({ start: numbers[at] as bigint, last: numbers[at + 1] as bigint }));
  }
  return joinRanges(ranges);
}

/** Whether two lists of ranges are the same. */
export function sameRanges(a: readonly AddressRange[], b: readonly AddressRange[]): boolean {
  return a.length === b.length && a.every(({ start, last }, i) => b[i]?.start === start && b[i]?.last === last);
}
