import { ADDRESS_MAX, intersect } from "@giommu/core";
import type { AddressSpace, MemorySection, RamRegion } from "@giommu/memory-api";
import { IommuPerm } from "@giommu/notifiers";
import { wholePages } from "./_arithmetic.ts";

/** A stretch of guest memory that a run of entries points to. */
export interface TargetPiece {
  /** Where it begins, counted from the start of the run. */
  readonly offset: bigint;
  /** How many bytes, less one. */
  readonly length1: bigint;
  /** Its guest-physical address. */
  readonly gpa: bigint;
  /** What is left of the permission; `NONE` where nothing can be mapped. */
  readonly perm: IommuPerm;
  /** The RAM there; absent where there is none, or where every address is taken for RAM. */
  readonly ram?: RamRegion;
  /** Guest-physical address minus offset inside `ram`. */
  readonly delta: bigint;
}

/**
 * Cuts a run of entries at the borders of RAM. A page of the host that is not all of it in one section of RAM, or does not
 * fall on a page of the RAM, cannot be mapped: it counts as a page without RAM.
 *
 * @param memory System memory; where absent, everything is RAM.
 * @param target Where the run points to; wraps at 2^64, as a guest may store any target.
 * @param length1 How many bytes, less one.
 * @param perm What the entries allow.
 * @param page The host's smallest page; 1 for no host.
 * @param peers Whether memory of devices counts as RAM.
 */
export function targetPieces(
  memory: AddressSpace | undefined,
  target: bigint,
  length1: bigint,
  perm: IommuPerm,
  page: bigint,
  peers: boolean,
): TargetPiece[] {
  if (memory === undefined) return [{ offset: 0n, length1, gpa: target, perm, delta: 0n }];
  const last = target + length1;
  const low = last > ADDRESS_MAX ? ADDRESS_MAX : last;
  const pieces: TargetPiece[] = [];
  cutWithin(pieces, memory, target, low, 0n, perm, page, peers);
  if (last > ADDRESS_MAX) {
    cutWithin(pieces, memory, 0n, last - ADDRESS_MAX - 1n, ADDRESS_MAX - target + 1n, perm, page, peers);
  }
  return pieces;
}

function cutWithin(
  pieces: TargetPiece[],
  memory: AddressSpace,
  first: bigint,
  last: bigint,
  offset: bigint,
  perm: IommuPerm,
  page: bigint,
  peers: boolean,
): void {
  const view = memory.flatView();
  const noRam = (start: bigint, end: bigint): void => {
    pieces.push({
      offset: offset + (start - first),
      length1: end - start,
      gpa: start,
      perm: IommuPerm.NONE,
      delta: 0n,
    });
  };
  const at = view.indexFrom(first);
  const only = view.sections[at];
  if (only?.region.kind === "ram" && isWithin(only, first, last, page) && isMappable(only, page, peers)) {
    pieces.push(ramPiece(only, only.region, offset, first, last, perm)); // nearly always
    return;
  }
  let next = first;
  for (let index = at; next <= last; index++) {
    const section = view.sections[index];
    const inside = section && isMappable(section, page, peers) ? wholePages(section.range, page) : undefined;
    const part = inside && intersect(inside, { start: next, last });
    if (section?.region.kind === "ram" && part !== undefined) {
      if (next < part.start) noRam(next, part.start - 1n);
      pieces.push(ramPiece(section, section.region, offset + (part.start - first), part.start, part.last, perm));
      next = part.last + 1n;
    }
    if (section !== undefined && section.range.start <= last) continue;
    if (next <= last) noRam(next, last);
    return;
  }
}

/** A stretch that lies in a section of RAM. */
function ramPiece(
  { range, offsetWithinRegion }: MemorySection,
  ram: RamRegion,
  offset: bigint,
  start: bigint,
  last: bigint,
  perm: IommuPerm,
): TargetPiece {
  return {
    offset,
    length1: last - start,
    gpa: start,
    perm: (ram.readonly ? perm & IommuPerm.READ : perm) as IommuPerm,
    ram,
    delta: range.start - offsetWithinRegion,
  };
}

/** Whether a stretch of whole pages lies in a section. */
function isWithin({ range }: MemorySection, first: bigint, last: bigint, page: bigint): boolean {
  return range.start <= first && last <= range.last && ((first | (last + 1n)) & (page - 1n)) === 0n;
}

/** Whether a section is RAM that the host maps, and pages of the host fall on pages of it. */
function isMappable({ region, range, offsetWithinRegion }: MemorySection, page: bigint, peers: boolean): boolean {
  return region.kind === "ram" && (peers || !region.device) &&
    ((range.start ^ offsetWithinRegion) & (page - 1n)) === 0n;
}
