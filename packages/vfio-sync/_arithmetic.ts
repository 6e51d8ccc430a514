import type { AddressRange } from "@giommu/core";
import type { HostMapping } from "./host_iommu.ts";

/** The lowest set bit: of a mask of page sizes, the smallest page. */
export function lowestBit(mask: bigint): bigint {
  return mask & -mask;
}

/** The exponent of a power of two. */
export function log2(power: bigint): number {
  return Math.round(Math.log2(Number(power))); // no engine is off by as much as a half
}

/** A range, grown to whole pages. */
export function pageHull({ start, last }: AddressRange, page: bigint): AddressRange {
  return { start: start & ~(page - 1n), last: last | (page - 1n) };
}

/** The whole pages in a range; `undefined` if there is none. */
export function wholePages({ start, last }: AddressRange, page: bigint): AddressRange | undefined {
  const mask = page - 1n;
  const inside = { start: (start + mask) & ~mask, last: ((last + 1n) & ~mask) - 1n };
  return inside.start <= inside.last ? inside : undefined;
}

/** Whether one range holds all of another. */
export function covers(outer: AddressRange, inner: AddressRange): boolean {
  return outer.start <= inner.start && inner.last <= outer.last;
}

/** What is left of some ranges when a stretch is taken away. */
export function subtract(ranges: readonly AddressRange[], gone: AddressRange): AddressRange[] {
  return ranges.flatMap(({ start, last }) => {
    if (last < gone.start || gone.last < start) return [{ start, last }];
    const rests: AddressRange[] = [];
    if (start < gone.start) rests.push({ start, last: gone.start - 1n });
    if (gone.last < last) rests.push({ start: gone.last + 1n, last });
    return rests;
  });
}

/** The part of a mapping that lies in a range inside it. */
export function advance(map: HostMapping, iova: AddressRange): HostMapping {
  const cut = iova.start - map.iova.start;
  return Object.freeze({
    ...map,
    iova: Object.freeze(iova),
    gpa: BigInt.asUintN(64, map.gpa + cut),
    ...(map.ramOffset !== undefined && { ramOffset: map.ramOffset + cut }),
  });
}

/** Pairs of first and last address, as ranges. */
export function fromPairs(pairs: BigUint64Array): AddressRange[] {
  const ranges: AddressRange[] = [];
  for (let i = 0; i + 1 < pairs.length; i += 2) {
    ranges.push(Object.freeze({ start: pairs[i] as bigint, last: pairs[i + 1] as bigint }));
  }
  return ranges;
}
