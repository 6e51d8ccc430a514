import type { AddressRange, Gpa } from "@giommu/core";
import { checkRange, checkU64, hex } from "@giommu/core";
import { IommuPerm } from "./perm.ts";

/** An address space that an entry's target lies in. The `AddressSpace` of memory-api is one. */
export interface TargetSpace {
  /** What people call it. */
  readonly name: string;
}

/**
 * One translation of a guest-visible IOMMU, or a run of neighbouring ones with the same permission and adjoining
 * targets.
 *
 * `target` is where `iova.start` points to; the byte at `iova.start + n` points to `target + n` (modulo 2^64, as a guest
 * may store any target).
 */
export interface IotlbEntry {
  /** The translated addresses, both ends included. They are addresses **inside the IOMMU region**. */
  readonly iova: AddressRange;
  /** Where `iova.start` points to. */
  readonly target: Gpa;
  /** What a device may do there; `NONE` says that nothing is mapped. */
  readonly perm: IommuPerm;
  /** The page size of the entries themselves, in bytes, whatever the length of the run: a power of two, up to 2^64. */
  readonly pageSize: bigint;
  /** The address space of `target`; absent means system memory. */
  readonly targetSpace?: TargetSpace;
}

/**
 * Checks an entry that comes from code outside of giommu.
 *
 * @param name What the entry is, for the message; a function is asked only where there is one.
 * @param entry The entry.
 * @returns The same entry.
 * @throws {TypeError} If a field has the wrong type.
 * @throws {RangeError} If a field lies outside its bounds.
 *
 * @example
 * ```ts
 * import { checkEntry, IommuPerm } from "@giommu/notifiers";
 * import { assertThrows } from "@std/assert";
 *
 * const entry = { iova: { start: 0n, last: 0xfffn }, target: 0n, perm: IommuPerm.READ, pageSize: 3000n };
 * assertThrows(() => checkEntry("entry of vtd0", entry), RangeError, "entry of vtd0.pageSize");
 * ```
 */
export function checkEntry<E extends IotlbEntry>(name: string | (() => string), entry: E): E {
  if (!isSound(entry)) refuse(typeof name === "function" ? name() : name, entry);
  return entry;
}

/** Whether an entry's fields are all as they should be. No message is put together: every entry that is told comes by here. */
function isSound(entry: IotlbEntry): boolean {
  if (typeof entry !== "object" || entry === null || typeof entry.iova !== "object" || entry.iova === null) {
    return false;
  }
  const { iova: { start, last }, target, perm, pageSize } = entry;
  return isU64(start) && isU64(last) && start <= last && isU64(target) &&
    (perm === IommuPerm.NONE || perm === IommuPerm.READ || perm === IommuPerm.WRITE || perm === IommuPerm.READ_WRITE) &&
    (isU64(pageSize)
      ? pageSize !== 0n && BigInt.asUintN(64, pageSize & (pageSize - 1n)) === 0n
      : pageSize === 1n << 64n);
}

function isU64(value: bigint): boolean {
  return typeof value === "bigint" && BigInt.asUintN(64, value) === value;
}

/** Says what is wrong with an entry. */
function refuse(name: string, entry: IotlbEntry): void {
  if (typeof entry !== "object" || entry === null || typeof entry.iova !== "object" || entry.iova === null) {
    throw new TypeError(`Cannot use ${name}: expected an entry { iova, target, perm, pageSize }`);
  }
  checkRange(`${name}.iova`, entry.iova);
  checkU64(`${name}.target`, entry.target);
  if (typeof entry.perm !== "number") {
    throw new TypeError(`Cannot use ${name}.perm: expected a number, got ${typeof entry.perm}`);
  }
  if (!Number.isInteger(entry.perm) || entry.perm < IommuPerm.NONE || entry.perm > IommuPerm.READ_WRITE) {
    throw new RangeError(`Cannot use ${name}.perm: ${entry.perm} is not one of NONE, READ, WRITE, READ_WRITE`);
  }
  checkPageSize(`${name}.pageSize`, entry.pageSize, 1n << 64n);
}

/**
 * Checks the size of a page: a power of two.
 *
 * @param name What it is, for the message.
 * @param value The size in bytes.
 * @param max The greatest size allowed; 2^63 unless given.
 * @returns The same value.
 * @throws {TypeError} If it is not a bigint.
 * @throws {RangeError} If it is not a power of two from 1 to `max`.
 *
 * @example
 * ```ts
 * import { checkPageSize } from "@giommu/notifiers";
 * import { assertThrows } from "@std/assert";
 *
 * assertThrows(() => checkPageSize("granularity", 0n), RangeError, "power of two");
 * ```
 */
export function checkPageSize(name: string, value: bigint, max: bigint = 1n << 63n): bigint {
  if (typeof value !== "bigint") {
    throw new TypeError(`Cannot use ${name}: expected a bigint, got ${typeof value}`);
  }
  if (value < 1n || value > max || (value & (value - 1n)) !== 0n) {
    throw new RangeError(`Cannot use ${name}: ${hex(value)} is not a power of two from 1 to ${hex(max)}`);
  }
  return value;
}
