import type { AddressRange } from "./address.ts";

/** Stable reasons carried by {@linkcode IommuError.code}. Append only; a code never changes its meaning. */
export const IOMMU_ERROR_CODES = [
  "disposed",
  "duplicate-liobn",
  "mapping-limit",
  "iova-out-of-range",
  "page-too-fine",
  "overlap",
  "not-ram",
  "mapping-lost",
  "unmap-failed",
  "rollback-failed",
  "backend-unavailable",
  "snapshot-version",
  "core-trapped",
  "entry-limit",
  "notifier-refused",
  "host-refused",
  "dma-holes-not-allowed",
  "container-failed",
  "replay-aborted",
  "already-attached",
  "bad-input",
  "change-in-progress",
  "replay-in-progress",
  "snapshot-mismatch",
  "not-attached",
  "not-started",
  "no-window",
] as const;

/** One of {@linkcode IOMMU_ERROR_CODES}. */
export type IommuErrorCode = typeof IOMMU_ERROR_CODES[number];

/** What an {@linkcode IommuError} may carry beside its message. */
export interface IommuErrorOptions {
  /** The addresses that it is about, both ends included. */
  readonly range?: AddressRange;
  /** More ranges, where it is about several (a failed rollback lists what differs). */
  readonly ranges?: readonly AddressRange[];
  /** What a person can do about it. */
  readonly remedy?: string;
  /** The underlying failure. */
  readonly cause?: unknown;
}

/**
 * Thrown when valid arguments meet a state or an environment that refuses them.
 *
 * Bad arguments are `TypeError` or `RangeError`; what a guest did wrong is a return value and never an exception.
 *
 * @example
 * ```ts
 * import { IommuError } from "@giommu/core";
 * import { assertEquals } from "@std/assert";
 *
 * const error = new IommuError("mapping-limit", "Cannot map 0x1000..0x1fff: the host holds 64 of 64 mappings", {
 *   range: { start: 0x1000n, last: 0x1fffn },
 * });
 * assertEquals([error.code, error.range?.start], ["mapping-limit", 0x1000n]);
 * ```
 */
export class IommuError extends Error {
  /** Why, for programs; the message is for people and may change. */
  readonly code: IommuErrorCode;
  /** The addresses that the refusal is about, where there are any. */
  readonly range: AddressRange | undefined;
  /** All ranges, where it is about several; `[range]` or empty otherwise. */
  readonly ranges: readonly AddressRange[];
  /** What a person can do about it, where something helps. */
  readonly remedy: string | undefined;

  /**
   * Creates an error.
   *
   * @param code Why, for programs.
   * @param message Why, for people: "Cannot <act> <thing>: <state>".
   * @param options The ranges that it is about, a remedy, the underlying failure.
   */
  constructor(code: IommuErrorCode, message: string, options: IommuErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "IommuError";
    this.code = code;
    this.range = options.range ?? options.ranges?.[0];
    this.ranges = options.ranges ?? (options.range === undefined ? [] : [options.range]);
    this.remedy = options.remedy;
  }
}
