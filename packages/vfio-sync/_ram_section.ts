import { ADDRESS_MAX, formatRange, hex, intersect, IommuError } from "@giommu/core";
import type { AddressSpace, MemorySection, RamRegion } from "@giommu/memory-api";
import { IommuPerm } from "@giommu/notifiers";
import { advance, log2, lowestBit, pageHull } from "./_arithmetic.ts";
import type { Mirror } from "./_mirror.ts";
import { deviceMemory, notRam } from "./_mirror_problems.ts";
import { MapKind } from "./_guest_run.ts";
import type { HostMapping } from "./host_iommu.ts";

/** How a section of RAM is mapped. */
export interface RamMapping {
  /** The mapping: whole pages of the host. `undefined` if there is none, or if they do not fall on pages of the RAM. */
  readonly mapping: (HostMapping & { readonly ram: RamRegion; readonly ramOffset: bigint }) | undefined;
  /** Bytes at the ends that are in no whole page. */
  readonly trimmed: bigint;
}

/**
 * How a section of RAM, which devices reach without an IOMMU, is mapped: as one mapping of whole pages.
 *
 * As in QEMU (hw/vfio/common.c), the ends are rounded inwards to the host's page, and a section whose addresses and RAM do not agree modulo the page cannot be mapped.
 *
 * @param section The section; its region is RAM.
 * @param page The host's smallest page, in bytes.
 * @param memory System memory, which tells the guest-physical address; else the bus address is taken for it.
 * @param peers Whether the host maps memory of devices.
 */
export function ramMapping(
  section: MemorySection,
  page: bigint,
  memory: AddressSpace | undefined,
  peers: boolean,
): RamMapping {
  const { region, range, offsetWithinRegion } = section;
  const length = range.last - range.start + 1n;
  if (region.kind !== "ram" || (region.device && !peers) || ((range.start ^ offsetWithinRegion) & (page - 1n)) !== 0n) {
    return { mapping: undefined, trimmed: length };
  }
  const mask = page - 1n;
  const start = (range.start + mask) & ~mask;
  const end = (range.last + 1n) & ~mask;
  if (start > ADDRESS_MAX || end <= start) return { mapping: undefined, trimmed: length };
  const ramOffset = offsetWithinRegion + (start - range.start);
  return {
    mapping: {
      iova: { start, last: end - 1n },
      gpa: physicalAddress(region, ramOffset, memory) ?? start,
      perm: region.readonly ? IommuPerm.READ : IommuPerm.READ_WRITE,
      ram: region,
      ramOffset,
    },
    trimmed: length - (end - start),
  };
}

/**
 * Maps what a section of RAM adds; returns whether anything of it can be. Throws if it is refused.
 *
 * What appears may be a part of a section, and even of a page of the host, of which the rest was there before. So it is asked what
 * the space shows now, and mapped what of that lies in the pages that the section touches and is not mapped yet.
 */
export function mapRam(mirror: Mirror, section: MemorySection): boolean {
  const { raw, backings } = mirror.driver;
  mirror.driver.checkIdle();
  const page = lowestBit(mirror.info.pageSizes);
  const { region } = section;
  if (region.kind === "ram" && region.device && !mirror.info.peerToPeer) {
    mirror.problems.add(notRam(section.range, section.range.start, deviceMemory(mirror.info.name)));
    return false;
  }
  const { mapping, trimmed } = ramMapping(shownNow(section), page, mirror.memory, true);
  if (trimmed > 0n) mirror.problems.add(unaligned(section, trimmed, mirror.info.name, page));
  const touched = mapping && intersect(mapping.iova, pageHull(section.range, page));
  if (mapping === undefined || touched === undefined) return false;
  for (const range of mirror.driver.unmappedIn(touched)) {
    const { iova, gpa, perm, ramOffset = 0n } = advance(mapping, range);
    const meta = perm | MapKind.RAM << 8 | log2(page) << 16;
    const backing = backings.number(mapping.ram, gpa - ramOffset);
    mirror.request(raw.map(iova.start, iova.last, gpa, 0n, backing, meta));
  }
  return true;
}

/** The whole of what the space shows where a section lies, now: the section may be a part that was added. */
export function shownNow(section: MemorySection): MemorySection {
  return section.space.flatView().find(section.range.start) ?? section;
}

function unaligned({ region, range }: MemorySection, trimmed: bigint, host: string, page: bigint): IommuError {
  return new IommuError(
    "page-too-fine",
    `Cannot map ${hex(trimmed)} bytes of RAM ${region.name} at ${formatRange(range)}: they are in no whole page of ` +
      `${host}, ${hex(page)}`,
    { range, remedy: "place RAM at multiples of the host's page size" },
  );
}

/** Where the CPU sees a byte of RAM, if it does. */
function physicalAddress(ram: RamRegion, offset: bigint, memory: AddressSpace | undefined): bigint | undefined {
  for (const { region, offsetWithinRegion: first, range } of memory?.sections ?? []) {
    if (region === ram && offset >= first && offset - first <= range.last - range.start) {
      return range.start + (offset - first);
    }
  }
  return undefined;
}
