import { WHOLE_SPACE } from "@giommu/core";
import type { HostIommuInfo } from "./host_iommu.ts";

const SMALL_PAGES = 1n << 12n;
const LARGE_PAGES = SMALL_PAGES | 1n << 21n | 1n << 30n;

/** What an x86 kernel with an IOMMU of 48 bits tells; the hole is where MSIs go (0xfee00000). */
const X86_RANGES = Object.freeze([
  Object.freeze({ start: 0n, last: 0xfedf_ffffn }),
  Object.freeze({ start: 0xfef0_0000n, last: 0xffff_ffff_ffffn }),
]);

/** The two windows that a pseries guest sees by default: 1 GiB at 0, and the 64-bit one at bit 59. */
const PSERIES_RANGES = Object.freeze([
  Object.freeze({ start: 0n, last: 0x3fff_ffffn }),
  Object.freeze({ start: 1n << 59n, last: (1n << 60n) - 1n }),
]);

/** The kinds of host that {@linkcode SimulatedHost} plays. */
export type HostRules = "none" | "type1" | "iommufd" | "spapr";

/**
 * What real hosts tell of themselves, and one without rules.
 *
 * - `none`: 4 KiB pages, all of 64 bits, no limit, atomic split.
 * - `type1`: VFIO type1v2 of Linux 6.12 on x86.
 * - `iommufd`: iommufd of Linux 6.12 on x86, with huge pages, so that it does not split. With `split: "atomic"` it is
 *   one whose `HUGE_PAGES` option is 0 and which is unmapped through the compatibility ioctl.
 * - `spapr`: two TCE windows that are there already; every entry is its own, so that an UNMAP of a part is natural and a MAP
 *   takes the place of what is there. {@linkcode SimulatedSpaprHost} also has windows that come and go, and memory that has to
 *   be registered.
 *
 * @example
 * ```ts
 * import { HOST_RULES } from "@giommu/vfio-sync";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals([HOST_RULES.type1.maxMappings, HOST_RULES.type1.split], [65535, "none"]);
 * ```
 */
export const HOST_RULES: Readonly<Record<HostRules, HostIommuInfo>> = Object.freeze({
  none: info({
    name: "sim",
    peerToPeer: true,
    pageSizes: SMALL_PAGES,
    iovaRanges: [WHOLE_SPACE],
    split: "atomic",
    unmapWide: true,
    writeOnly: true,
  }),
  type1: info({
    name: "type1",
    peerToPeer: true,
    pageSizes: LARGE_PAGES,
    iovaRanges: X86_RANGES,
    // dma_entry_limit of vfio_iommu_type1: 65535 unless the module's parameter says otherwise.
    maxMappings: 65535,
    split: "none",
    unmapWide: true,
    writeOnly: true,
  }),
  iommufd: info({
    name: "iommufd",
    pageSizes: LARGE_PAGES,
    iovaRanges: X86_RANGES,
    split: "none",
    unmapWide: true,
    writeOnly: true,
  }),
  spapr: info({
    name: "spapr",
    pageSizes: SMALL_PAGES | 1n << 16n | 1n << 21n | 1n << 24n,
    iovaRanges: PSERIES_RANGES,
    split: "atomic",
    unmapWide: true,
    writeOnly: true,
    exchange: true,
  }),
});

function info(of: HostIommuInfo): HostIommuInfo {
  return Object.freeze(of);
}
