import type { AddressRange } from "@giommu/core";
import { ADDRESS_MAX } from "@giommu/core";
import type { AddressSpace, RamRegion } from "@giommu/memory-api";
import { IommuPerm } from "@giommu/notifiers";

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
 * Cuts a run of entries at the borders of RAM.
 *
 * @param memory System memory; where absent, everything is RAM.
 * @param target Where the run points to; wraps at 2^64, as a guest may store any target.
 * @param length1 How many bytes, less one.
 * @param perm What the entries allow.
 */
export function* targetPieces(
  memory: AddressSpace | undefined,
  target: bigint,
  length1: bigint,
  perm: IommuPerm,
): Generator<TargetPiece> {
  if (memory === undefined) {
    yield { offset: 0n, length1, gpa: target, perm, delta: 0n };
    return;
  }
  const whole: AddressRange = { start: target, last: target + length1 };
  const low = whole.last > ADDRESS_MAX ? ADDRESS_MAX : whole.last;
  yield* within(memory, target, low, 0n, perm);
  if (whole.last > ADDRESS_MAX) {
    yield* within(memory, 0n, whole.last - ADDRESS_MAX - 1n, ADDRESS_MAX - target + 1n, perm);
  }
}

function* within(
  memory: AddressSpace,
  first: bigint,
  last: bigint,
  offset: bigint,
  perm: IommuPerm,
): Generator<TargetPiece> {
  const view = memory.flatView();
  let index = view.indexFrom(first);
  for (let gpa = first; gpa <= last;) {
    const section = view.sections[index];
    const there = section !== undefined && section.range.start <= gpa ? section : undefined;
    const border = there !== undefined
      ? there.range.last
      : section !== undefined
      ? section.range.start - 1n
      : ADDRESS_MAX;
    const end = border < last ? border : last;
    const at = { offset: offset + (gpa - first), length1: end - gpa, gpa };
    if (there?.region.kind === "ram") {
      const left = there.region.readonly ? perm & IommuPerm.READ : perm;
      yield {
        ...at,
        perm: left as IommuPerm,
        ram: there.region,
        delta: there.range.start - there.offsetWithinRegion,
      };
    } else {
      yield { ...at, perm: IommuPerm.NONE, delta: 0n };
    }
    if (there !== undefined) index++;
    gpa = end + 1n;
  }
}
