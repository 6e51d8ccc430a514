import type { AddressRange } from "@giommu/core";
import { UsageError } from "./usage_error.ts";

const UNITS: Readonly<Record<string, bigint>> = {
  "": 1n,
  K: 1n << 10n,
  M: 1n << 20n,
  G: 1n << 30n,
  T: 1n << 40n,
};

/**
 * Reads a size or an address as people type it: decimal, `0x` hexadecimal, or decimal with K, M, G or T (powers of 1024).
 *
 * @param option The option it belongs to, for the message.
 * @param text What was typed.
 * @returns The number of bytes, 0 to 2^64.
 * @throws {UsageError} If it is not a size, or above 2^64.
 */
export function parseSize(option: string, text: string): bigint {
  const match = /^(?:(0x[0-9a-f]+)|([0-9]+)([KMGT]?)i?B?)$/i.exec(text.trim());
  if (match === null) {
    throw new UsageError(`${option}: '${text}' is not a size; give bytes, hexadecimal (0x1000) or 64K, 1M, 1G, 1T`);
  }
  const [, hexadecimal, decimal, unit] = match;
  const value = hexadecimal === undefined
    ? BigInt(decimal ?? "0") * (UNITS[(unit ?? "").toUpperCase()] ?? 1n)
    : BigInt(hexadecimal);
  if (value > 1n << 64n) throw new UsageError(`${option}: '${text}' is above 2^64`);
  return value;
}

/**
 * Reads an address: as {@linkcode parseSize}, below 2^64.
 *
 * @param option The option it belongs to, for the message.
 * @param text What was typed.
 * @returns The address.
 * @throws {UsageError} If it is not an address.
 */
export function parseAddress(option: string, text: string): bigint {
  const value = parseSize(option, text);
  if (value >= 1n << 64n) throw new UsageError(`${option}: '${text}' is not an address below 2^64`);
  return value;
}

/**
 * Reads a whole number.
 *
 * @param option The option it belongs to, for the message.
 * @param text What was typed: decimal or `0x` hexadecimal.
 * @param min The least value allowed.
 * @param max The greatest value allowed; 2^32 - 1 unless given.
 * @returns The number.
 * @throws {UsageError} If it is not a whole number in that range.
 */
export function parseWhole(option: string, text: string, min = 0, max = 0xffff_ffff): number {
  const value = /^(0x[0-9a-f]+|[0-9]+)$/i.test(text) ? Number(text) : NaN;
  if (!Number.isSafeInteger(value) || value < min || value > max) {
    throw new UsageError(`${option}: '${text}' is not a whole number from ${min} to ${max}`);
  }
  return value;
}

/**
 * Reads `A-B`, a range with both ends included.
 *
 * @param option The option it belongs to, for the message.
 * @param text What was typed.
 * @returns The range.
 * @throws {UsageError} If it is not a range, or ends below its start.
 */
export function parseRange(option: string, text: string): AddressRange {
  const [from, to, ...more] = text.split("-");
  if (from === undefined || to === undefined || more.length > 0) {
    throw new UsageError(
      `${option}: '${text}' is not a range; give first and last address as A-B, for example 0x0-0xffffffff`,
    );
  }
  const range = { start: parseAddress(option, from), last: parseAddress(option, to) };
  if (range.last < range.start) throw new UsageError(`${option}: '${text}' ends below its start`);
  return range;
}

/** A window's geometry as given by `--window LIOBN=SIZE[/PAGE][@BUS]`. */
export interface WindowOption {
  /** The table's LIOBN. */
  readonly liobn: number;
  /** The window's size in bytes. */
  readonly size: bigint;
  /** The page size as a power of two. */
  readonly pageShift: number;
  /** Where the window begins on the bus. */
  readonly busOffset: bigint;
}

/**
 * Reads `LIOBN=SIZE[/PAGE][@BUS]`. The page is 4 KiB and the bus address 0 unless given.
 *
 * @param text What was typed.
 * @returns The window.
 * @throws {UsageError} If it does not say a window.
 */
export function parseWindow(text: string): WindowOption {
  const match = /^([^=]+)=([^/@]+)(?:\/([^@]+))?(?:@(.+))?$/.exec(text);
  if (match === null) {
    throw new UsageError(`--window: '${text}' is not LIOBN=SIZE[/PAGE][@BUS], for example 0x80000000=1G/4K@0`);
  }
  const liobn = parseWhole("--window", match[1] ?? "");
  const size = parseSize("--window", match[2] ?? "");
  const page = parsePage("--window", match[3] ?? "4K");
  const busOffset = parseAddress("--window", match[4] ?? "0");
  if (size < 1n << BigInt(page) || size >> BigInt(page) > 0xffff_ffffn) {
    throw new UsageError(`--window: '${text}' must hold 1 to 2^32 - 1 pages`);
  }
  if (busOffset + size > 1n << 64n) throw new UsageError(`--window: '${text}' ends above 2^64`);
  return { liobn, size, pageShift: page, busOffset };
}

/**
 * Reads a page size.
 *
 * @param option The option it belongs to, for the message.
 * @param text What was typed.
 * @returns The power of two, 0 to 63.
 * @throws {UsageError} If it is not a power of two.
 */
export function parsePage(option: string, text: string): number {
  const size = parseSize(option, text);
  if (size === 0n || (size & (size - 1n)) !== 0n || size >= 1n << 64n) {
    throw new UsageError(`${option}: '${text}' is not a page size; give a power of two, for example 4K or 64K`);
  }
  return size.toString(2).length - 1;
}
