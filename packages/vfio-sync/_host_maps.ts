import type { AddressRange, Gpa, Iova } from "@giommu/core";
import { intersect } from "@giommu/core";
import type { IommuPerm } from "@giommu/notifiers";
import { advance } from "./_arithmetic.ts";
import { RangeMap } from "./_range_map.ts";
import type { HostMapping } from "./host_iommu.ts";

/** What is mapped on a host: parts can be cut out and put back, and it translates. */
export class HostMaps extends RangeMap<HostMapping> {
  /** Takes a range out of one of the mappings; returns the part that went, `undefined` if they share nothing. */
  cut(map: HostMapping, range: AddressRange): HostMapping | undefined {
    const gone = intersect(map.iova, range);
    if (gone === undefined) return undefined;
    const { start, last } = map.iova;
    this.delete(map);
    if (start === gone.start && last === gone.last) return map;
    if (start < gone.start) this.add(advance(map, { start, last: gone.start - 1n }));
    if (gone.last < last) this.add(advance(map, { start: gone.last + 1n, last }));
    return advance(map, gone);
  }

  /** Takes a range out of some of the mappings; returns how many bytes went. */
  cutBytes(maps: readonly HostMapping[], range: AddressRange): bigint {
    let bytes = 0n;
    for (const map of maps) {
      const gone = this.cut(map, range)?.iova;
      if (gone !== undefined) bytes += gone.last - gone.start + 1n;
    }
    return bytes;
  }

  /** Puts back what was mapped before a change of a range. */
  restore(range: AddressRange, before: readonly HostMapping[]): void {
    for (const { iova } of [{ iova: range }, ...before]) {
      for (const map of this.overlapping(iova)) this.delete(map);
    }
    for (const map of before) this.add(map);
  }

  /** What a device would reach at an address. */
  translate(iova: Iova): { readonly gpa: Gpa; readonly perm: IommuPerm } | undefined {
    const map = this.find(iova);
    return map && { gpa: BigInt.asUintN(64, map.gpa + (iova - map.iova.start)), perm: map.perm };
  }
}
