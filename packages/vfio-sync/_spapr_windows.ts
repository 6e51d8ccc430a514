import type { AddressRange, Iova } from "@giommu/core";
import { ADDRESS_MAX, checkInteger, checkU64 } from "@giommu/core";
import { log2, lowestBit } from "./_arithmetic.ts";
import { checkObject } from "./_checks.ts";
import type { HostErrno } from "./host_error.ts";
import type { HostWindowLimits, HostWindowRequest } from "./host_windows.ts";

/** One window of a simulated sPAPR host. */
export interface SpaprWindow {
  readonly range: AddressRange;
  /** The page size of its entries, in bytes. */
  readonly page: bigint;
}

/** The windows of a simulated sPAPR host, by the kernel's rules (drivers/vfio/vfio_iommu_spapr_tce.c). */
export class SpaprWindows {
  readonly limits: HostWindowLimits;
  /** Where windows may reach: from each start half way to the next one above, as no call goes from one into another. */
  readonly reach: readonly AddressRange[];
  readonly #starts: readonly Iova[];
  /** By slot; replaced, never altered. */
  all: readonly (SpaprWindow | undefined)[] = [];

  /** Throws if the limits are none. */
  constructor(limits: HostWindowLimits, windowStarts: readonly Iova[]) {
    checkObject("windows", limits);
    checkInteger("windows.count", limits.count, 0, windowStarts.length);
    checkInteger("windows.levels", limits.levels, 1, 64);
    if (checkU64("windows.pageSizes", limits.pageSizes) === 0n) {
      throw new RangeError("Cannot simulate a host: its windows have no page size");
    }
    this.limits = Object.freeze({ ...limits });
    this.#starts = windowStarts.map((start) => checkU64("windowStarts", start));
    const sorted = [...new Set(this.#starts)].sort((a, b) => (a < b ? -1 : 1));
    this.reach = Object.freeze(
      sorted.map((start, index) =>
        Object.freeze({ start, last: start + ((sorted[index + 1] ?? ADDRESS_MAX + 1n) - start) / 2n - 1n })
      ),
    );
  }

  /** The slot that a new window takes, and where it lies. */
  next({ size }: HostWindowRequest): { readonly slot: number; readonly range: AddressRange } {
    const free = this.all.indexOf(undefined);
    const slot = free < 0 ? this.all.length : free;
    const start = this.#starts[slot] ?? 0n;
    return { slot, range: Object.freeze({ start, last: start + size - 1n }) };
  }

  /** The window that an address lies in. */
  at(iova: Iova): SpaprWindow | undefined {
    return this.all.find((one) => one !== undefined && one.range.start <= iova && iova <= one.range.last);
  }

  /** Why a window is not created. */
  refuse(request: HostWindowRequest): HostErrno | undefined {
    const { size, pageShift, levels } = request;
    const { slot, range } = this.next(request);
    if (slot >= this.limits.count) return "ENOSPC";
    const isPage = pageShift >= 0 && pageShift < 64 && (this.limits.pageSizes >> BigInt(pageShift) & 1n) === 1n;
    if (!isPage || size <= 0n || lowestBit(size) !== size || log2(size) < pageShift) return "EINVAL";
    if (levels < 1 || levels > this.limits.levels) return "EINVAL";
    return this.reach.some(({ start, last }) => start === range.start && range.last <= last) ? undefined : "EINVAL";
  }

  /** Why a range is none of whole pages of a window. */
  refusePlace({ start, last }: AddressRange): HostErrno | undefined {
    const window = this.at(start);
    if (window === undefined) return "ENXIO";
    const mask = window.page - 1n;
    if (last < start || (start & mask) !== 0n || (last & mask) !== mask) return "EINVAL";
    return last > window.range.last ? "EINVAL" : undefined;
  }
}
