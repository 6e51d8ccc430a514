/** An I/O virtual address: what a device puts on the bus. 0 to 2^64 - 1, in bytes. */
export type Iova = bigint;

/** A guest-physical address, 0 to 2^64 - 1, in bytes. */
export type Gpa = bigint;

/** A range of addresses with **both ends included**, so that the top of a 64-bit space can be said. */
export interface AddressRange {
  /** The first address. */
  readonly start: bigint;
  /** The last address, included. Never below `start`. */
  readonly last: bigint;
}

/** The last address of a 64-bit space, 2^64 - 1. */
export const ADDRESS_MAX = 0xffff_ffff_ffff_ffffn;

/** All 2^64 addresses. */
export const WHOLE_SPACE: AddressRange = Object.freeze({ start: 0n, last: ADDRESS_MAX });

/**
 * Writes an address as people read it: hexadecimal with `0x`.
 *
 * @param value The address or size; any bigint.
 * @returns For example `"0x80000000"`.
 *
 * @example
 * ```ts
 * import { hex } from "@giommu/core";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(hex(0x8000_0000n), "0x80000000");
 * ```
 */
export function hex(value: bigint | number): string {
  return value < 0 ? `-0x${(-value).toString(16)}` : `0x${value.toString(16)}`;
}

/**
 * Writes a range as people read it.
 *
 * @param range The range.
 * @returns For example `"0x1000..0x1fff"`, both ends included.
 *
 * @example
 * ```ts
 * import { formatRange } from "@giommu/core";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(formatRange({ start: 0x1000n, last: 0x1fffn }), "0x1000..0x1fff");
 * ```
 */
export function formatRange(range: AddressRange): string {
  return `${hex(range.start)}..${hex(range.last)}`;
}

/**
 * Checks a 64-bit value before it crosses into the core, which would wrap it silently.
 *
 * @param name What the value is, for the message.
 * @param value The value.
 * @returns The same value.
 * @throws {TypeError} If it is not a bigint.
 * @throws {RangeError} If it is negative or above 2^64 - 1.
 *
 * @example
 * ```ts
 * import { checkU64 } from "@giommu/core";
 * import { assertThrows } from "@std/assert";
 *
 * assertThrows(() => checkU64("iova", 2n ** 64n), RangeError, "iova");
 * ```
 */
export function checkU64(name: string, value: bigint): bigint {
  // Every argument of every call passes here. Cutting and comparing is one machine instruction; two comparisons are calls.
  if (typeof value === "bigint" && BigInt.asUintN(64, value) === value) return value;
  if (typeof value !== "bigint") {
    throw new TypeError(`Cannot use ${name}: expected a bigint, got ${typeof value}`);
  }
  throw new RangeError(`Cannot use ${name}: ${hex(value)} does not fit 64 bits`);
}

/**
 * Checks a whole number before it crosses into the core, which would turn NaN into 0.
 *
 * @param name What the value is, for the message.
 * @param value The value.
 * @param min The least value allowed.
 * @param max The greatest value allowed; 2^32 - 1 unless given.
 * @returns The same value.
 * @throws {TypeError} If it is not a number.
 * @throws {RangeError} If it is not a whole number from `min` to `max`.
 *
 * @example
 * ```ts
 * import { checkInteger } from "@giommu/core";
 * import { assertThrows } from "@std/assert";
 *
 * assertThrows(() => checkInteger("pageShift", 12.5, 0, 63), RangeError, "pageShift");
 * ```
 */
export function checkInteger(name: string, value: number, min = 0, max = 0xffff_ffff): number {
  if (typeof value !== "number") {
    throw new TypeError(`Cannot use ${name}: expected a number, got ${typeof value}`);
  }
  if (!Number.isInteger(value) || value < min || value > max) {
    throw new RangeError(`Cannot use ${name}: ${value} is not a whole number from ${min} to ${max}`);
  }
  return value;
}

/**
 * Checks a range of addresses.
 *
 * @param name What the range is, for the message.
 * @param range The range; both ends included.
 * @returns The same range.
 * @throws {TypeError} If an end is not a bigint.
 * @throws {RangeError} If an end does not fit 64 bits, or `last` lies below `start`.
 *
 * @example
 * ```ts
 * import { checkRange } from "@giommu/core";
 * import { assertThrows } from "@std/assert";
 *
 * assertThrows(() => checkRange("range", { start: 2n, last: 1n }), RangeError, "range");
 * ```
 */
export function checkRange(name: string, range: AddressRange): AddressRange {
  checkU64(`${name}.start`, range.start);
  checkU64(`${name}.last`, range.last);
  if (range.last < range.start) {
    throw new RangeError(`Cannot use ${name}: it ends at ${hex(range.last)}, below its start ${hex(range.start)}`);
  }
  return range;
}

/**
 * What two ranges share.
 *
 * @param a One range.
 * @param b The other.
 * @returns The shared part, or `undefined` if there is none.
 *
 * @example
 * ```ts
 * import { intersect } from "@giommu/core";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(intersect({ start: 0n, last: 9n }, { start: 5n, last: 20n }), { start: 5n, last: 9n });
 * assertEquals(intersect({ start: 0n, last: 9n }, { start: 10n, last: 20n }), undefined);
 * ```
 */
export function intersect(a: AddressRange, b: AddressRange): AddressRange | undefined {
  const start = a.start > b.start ? a.start : b.start;
  const last = a.last < b.last ? a.last : b.last;
  return start <= last ? { start, last } : undefined;
}

/**
 * Sorts ranges, and joins those that overlap or adjoin.
 *
 * @param ranges The ranges, in any order.
 * @returns New ranges, ascending, with a gap between each and the next.
 *
 * @example
 * ```ts
 * import { joinRanges } from "@giommu/core";
 * import { assertEquals } from "@std/assert";
 *
 * const ranges = [{ start: 8n, last: 9n }, { start: 0n, last: 3n }, { start: 4n, last: 5n }];
 * assertEquals(joinRanges(ranges), [{ start: 0n, last: 5n }, { start: 8n, last: 9n }]);
 * ```
 */
export function joinRanges(ranges: readonly AddressRange[]): AddressRange[] {
  const sorted = [...ranges].sort((a, b) => (a.start < b.start ? -1 : a.start > b.start ? 1 : 0));
  const joined: { start: bigint; last: bigint }[] = [];
  for (const { start, last } of sorted) {
    const end = joined.at(-1);
    if (end === undefined || start > end.last + 1n) joined.push({ start, last });
    else if (last > end.last) end.last = last;
  }
  return joined;
}
