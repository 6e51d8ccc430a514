import type { AddressRange } from "@giommu/core";
import { intersect } from "@giommu/core";
import type { IommuPerm, IotlbEvent, TargetSpace } from "@giommu/notifiers";
import { log2 } from "./_arithmetic.ts";

/** What a mapping mirrors; the numbers are those of the façade. */
export const MapKind = { RAM: 0, IOMMU: 1, STATIC: 2 } as const;

/** A run of guest entries at bus addresses. */
export interface GuestRun {
  readonly range: AddressRange;
  readonly target: bigint;
  readonly perm: IommuPerm;
  /** The page size of the entries, as a power of two. */
  readonly pageShift: number;
  /** Where entries begin: the bus address of any of them, modulo the page size. */
  readonly phase: bigint;
  readonly targetSpace?: TargetSpace;
}

/** What one event of a change was about, and in which pages. */
export interface Touched {
  readonly range: AddressRange;
  readonly pageSize: bigint;
  /** Where pages begin, modulo their size. */
  readonly phase: bigint;
}

/** What an event is about, at bus addresses; `delta` is what those lie above region addresses. */
export function runOf({ iova, target, perm, pageSize, targetSpace }: IotlbEvent, delta: bigint): GuestRun {
  const range = { start: iova.start + delta, last: iova.last + delta };
  const phase = BigInt.asUintN(64, delta & (pageSize - 1n));
  const run = { range, target, perm, pageShift: log2(pageSize), phase };
  return targetSpace === undefined ? run : { ...run, targetSpace };
}

/** The whole entries of a change that a part of the bus belongs to. */
export function wholeEntries(touched: readonly Touched[], lost: AddressRange): AddressRange[] {
  return touched.flatMap(({ range, pageSize, phase }) => {
    const part = intersect(lost, range);
    if (part === undefined) return [];
    const start = part.start - ((part.start - phase) % pageSize + pageSize) % pageSize;
    const end = part.last - ((part.last - phase) % pageSize + pageSize) % pageSize + pageSize - 1n;
    return [{ start, last: end }];
  });
}
