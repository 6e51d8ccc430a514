import type { AddressRange } from "@giommu/core";
import { ADDRESS_MAX } from "@giommu/core";
import { IommuPerm } from "@giommu/notifiers";
import { lowestBit } from "./_arithmetic.ts";
import type { RangeMap } from "./_range_map.ts";
import type { HostErrno } from "./host_error.ts";
import type { HostIommuInfo, HostMapping } from "./host_iommu.ts";
import type { HostRules } from "./host_rules.ts";

/** What a kernel answers to a call that it does not make; the order of the checks is the kernels'. */
export class KernelRules {
  readonly #rules: HostRules;
  readonly #info: HostIommuInfo;
  /** Where mappings may lie, with adjoining ranges joined. */
  readonly #ranges: readonly AddressRange[];
  readonly #mask: bigint;
  readonly #maps: RangeMap<HostMapping>;

  constructor(
    rules: HostRules,
    info: HostIommuInfo,
    ranges: readonly AddressRange[],
    maps: RangeMap<HostMapping>,
  ) {
    this.#rules = rules;
    this.#info = info;
    this.#ranges = ranges;
    this.#mask = lowestBit(info.pageSizes) - 1n;
    this.#maps = maps;
  }

  /** Why a range is none at all. */
  range({ start, last }: AddressRange): HostErrno | undefined {
    if (last > ADDRESS_MAX) return this.#rules === "iommufd" ? "EOVERFLOW" : "EINVAL";
    if (start < 0n || last < start || (start & this.#mask) !== 0n || (last & this.#mask) !== this.#mask) {
      return "EINVAL";
    }
    return undefined;
  }

  /**
   * Why a MAP is refused. type1 looks for other mappings, counts, and only then looks at its IOVA ranges (vfio_dma_do_map);
   * iommufd does it the other way round (iopt_check_iova). Both find last that the memory is not there.
   */
  map(mapping: HostMapping): HostErrno | undefined {
    const { iova, gpa, perm, ram, ramOffset = 0n } = mapping;
    const wrong = this.range(iova);
    if (wrong !== undefined) return wrong;
    if (((ram === undefined ? gpa : ramOffset) & this.#mask) !== 0n) return "EINVAL";
    if (perm === IommuPerm.NONE || (perm === IommuPerm.WRITE && !this.#info.writeOnly)) return "EINVAL";
    const outside = this.#isInside(iova) ? undefined : "EINVAL";
    const taken = this.#taken(iova);
    const refused = this.#rules === "iommufd" ? outside ?? taken : taken ?? outside;
    if (refused !== undefined) return refused;
    return ram !== undefined && ramOffset + (iova.last - iova.start) >= ram.size ? "EFAULT" : undefined;
  }

  /** Why an UNMAP is refused that meets the mappings in `hit`. */
  unmap(range: AddressRange, hit: readonly HostMapping[]): HostErrno | undefined {
    const first = hit[0];
    const last = hit.at(-1);
    const iommufd = this.#rules === "iommufd" && this.#info.split === "none";
    if (first === undefined || last === undefined) return iommufd ? "ENOENT" : undefined;
    const isWide = first.iova.start > range.start || first.iova.last < range.last;
    if (!this.#info.unmapWide && isWide) return "EINVAL";
    if (this.#info.split === "atomic" || !isCut(range, first, last)) return undefined;
    return iommufd ? "ENOENT" : "EINVAL";
  }

  /** Why a bitmap of dirty pages is refused: a range must not end inside of a mapping (vfio_iova_dirty_bitmap). */
  collect(range: AddressRange, hit: readonly HostMapping[]): HostErrno | undefined {
    const wrong = this.range(range);
    if (wrong !== undefined) return wrong;
    const [first, last] = [hit[0], hit.at(-1)];
    return first !== undefined && last !== undefined && isCut(range, first, last) ? "EINVAL" : undefined;
  }

  #isInside({ start, last }: AddressRange): boolean {
    return this.#ranges.some((range) => range.start <= start && last <= range.last);
  }

  #taken(iova: AddressRange): HostErrno | undefined {
    const isTaken = this.#maps.touches(iova);
    if (isTaken && this.#info.exchange !== true) return "EEXIST";
    const { maxMappings } = this.#info;
    if (maxMappings === undefined) return undefined;
    let others = this.#maps.size;
    for (const old of isTaken ? this.#maps.overlapping(iova) : []) {
      // It goes, but for what it has outside.
      others += Number(old.iova.start < iova.start) + Number(old.iova.last > iova.last) - 1;
    }
    return others >= maxMappings ? "ENOSPC" : undefined;
  }
}

/** Whether a range ends inside the first or the last mapping that it meets. */
function isCut(range: AddressRange, first: HostMapping, last: HostMapping): boolean {
  return first.iova.start < range.start || last.iova.last > range.last;
}
