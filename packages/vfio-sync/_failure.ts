import type { AddressRange, IommuErrorCode } from "@giommu/core";
import { formatRange, IommuError } from "@giommu/core";

/** What failed, by the numbers of the façade; 0 is nothing. */
export const FailureKind = { UNMAP: 1, REST: 2, QUIESCE: 3, ROLLBACK: 4 } as const;

const WORDS: Readonly<Record<number, readonly [IommuErrorCode, string]>> = {
  [FailureKind.UNMAP]: ["unmap-failed", "Cannot unmap"],
  [FailureKind.REST]: ["mapping-lost", "Cannot map again after a part of its mapping was removed"],
  [FailureKind.QUIESCE]: ["unmap-failed", "Cannot stop the device to unmap"],
  [FailureKind.ROLLBACK]: ["rollback-failed", "Cannot put back"],
};

/**
 * Why a container is failed.
 *
 * @param kind One of {@linkcode FailureKind}.
 * @param ranges Where host and guest differ.
 * @param cause What the host answered.
 * @param host What people call the host.
 */
export function failureOf(kind: number, ranges: readonly AddressRange[], cause: unknown, host: string): IommuError {
  const [code, what] = WORDS[kind] ?? ["container-failed", "Cannot go on"];
  const why = cause instanceof Error ? cause.message : String(cause ?? "the host cannot");
  const where = ranges.slice(0, 3).map(formatRange).join(", ") + (ranges.length > 3 ? ", …" : "");
  return new IommuError(code, `${what} ${where}: ${why}; the container of ${host} is failed`, {
    ranges,
    remedy: "cut the device off, detach it, and attach it to a new container",
    ...(cause !== undefined && { cause }),
  });
}

/** The same failure about other ranges. */
export function renamed(failure: IommuError, ranges: readonly AddressRange[]): IommuError {
  return new IommuError(failure.code, failure.message, {
    ranges,
    ...(failure.remedy !== undefined && { remedy: failure.remedy }),
    cause: failure.cause,
  });
}
