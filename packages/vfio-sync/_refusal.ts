import type { AddressRange, IommuErrorCode } from "@giommu/core";
import { formatRange, hex, IommuError } from "@giommu/core";
import type { RawContainer } from "@giommu/core/wasm/container";
import type { HostErrno } from "./host_error.ts";
import { HostError } from "./host_error.ts";
import type { HostIommuInfo } from "./host_iommu.ts";

/** What helps against too many mappings, best first. */
export const MAPPING_LIMIT_REMEDY =
  "use iommufd, raise vfio_iommu_type1.dma_entry_limit, let the guest use larger IOMMU pages, or coalesce " +
  'neighbouring pages with coalesce "call" or "full" (--coalesce full)';

/** What helps where a window lies too high. */
export const RANGE_REMEDY =
  "place the window where the host can map (for sPAPR's 64-bit window: dma64_win_addr of the PHB), or use a host with a " +
  "wider IOMMU";

/** What helps where a part of a mapping would have to go. */
export const HOLES_REMEDY =
  "use a host that splits atomically (iommufd with HUGE_PAGES=0), give a quiesce hook that stops the device, or say " +
  "allowDmaHoles";

/** Numbers that the façade answers with; 0 is no refusal. */
export const Refused = {
  PAGE_TOO_FINE: 1,
  UNALIGNED: 2,
  OUT_OF_RANGE: 3,
  OVERLAP: 4,
  MAPPING_LIMIT: 5,
  HOLES_FORBIDDEN: 6,
  FAILED: 7,
  BUSY: 8,
} as const;

/**
 * Why the core did not do what it was asked to, before any call on the host.
 *
 * @param code The number that it answered with.
 * @param raw Who answered.
 * @param info The host.
 */
export function refusal(code: number, raw: RawContainer, info: HostIommuInfo): IommuError {
  const [start = 0n, last = start, a = 0n, b = 0n, c = 0n] = raw.refusalDetails();
  const range = { start, last };
  const it = formatRange(range);
  switch (code) {
    case Refused.PAGE_TOO_FINE:
      return error(
        "page-too-fine",
        range,
        `Cannot map ${it}: its pages of ${size(a)} are finer than the smallest page of ${info.name}, ${size(b)}`,
        "let the guest use pages of at least that size, or use a host with smaller ones",
      );
    case Refused.UNALIGNED:
      return error(
        "page-too-fine",
        range,
        `Cannot map ${it} to ${hex(a)}: it is not aligned to the smallest page of ${info.name}, ${size(b)}`,
        "place windows and RAM at multiples of the host's page size",
      );
    case Refused.OUT_OF_RANGE:
      return error(
        "iova-out-of-range",
        { start: a, last: b },
        `Cannot map ${it}: ${formatRange({ start: a, last: b })} is outside the IOVA ranges of ${info.name}: ${
          info.iovaRanges.map(formatRange).join(", ")
        }`,
        RANGE_REMEDY,
      );
    case Refused.OVERLAP:
      return error("overlap", range, `Cannot map ${it}: ${formatRange({ start: a, last: b })} is mapped already`);
    case Refused.MAPPING_LIMIT:
      return error(
        "mapping-limit",
        range,
        `Cannot map ${it}: it needs ${b} more mapping${b === 1n ? "" : "s"}, and ${info.name} holds ${a} of ${c}`,
        MAPPING_LIMIT_REMEDY,
      );
    case Refused.HOLES_FORBIDDEN:
      return error(
        "dma-holes-not-allowed",
        range,
        `Cannot unmap ${it}: it is a part of the mapping ${
          formatRange({ start: a, last: b })
        }, which ${info.name} cannot split`,
        HOLES_REMEDY,
      );
    case Refused.FAILED:
      return new IommuError("container-failed", `Cannot use the container of ${info.name}: it failed earlier`);
    default:
      return new IommuError(
        "change-in-progress",
        `Cannot use the container of ${info.name}: it is in the middle of another call`,
        { remedy: "a host must not change the guest from inside its calls" },
      );
  }
}

/** What a host refused, in the container's words. */
export function hostRefusal(verb: string, range: AddressRange, cause: unknown): IommuError {
  const errno: HostErrno | undefined = cause instanceof HostError ? cause.errno : undefined;
  const why = cause instanceof Error ? cause.message : String(cause);
  const code: IommuErrorCode = errno === "ENOSPC"
    ? "mapping-limit"
    : errno === "EEXIST" || errno === "EBUSY"
    ? "overlap"
    : "host-refused";
  const own = cause instanceof HostError ? cause.remedy : undefined;
  const remedy = own !== undefined
    ? own
    : errno === "ENOSPC"
    ? MAPPING_LIMIT_REMEDY
    : errno === "ENOMEM"
    ? "raise the limit of locked memory (RLIMIT_MEMLOCK)"
    : undefined;
  return error(code, range, `Cannot ${verb} ${formatRange(range)}: ${why}`, remedy, cause);
}

/** Makes an error with what is there. */
export function error(
  code: IommuErrorCode,
  range: AddressRange,
  message: string,
  remedy?: string,
  cause?: unknown,
): IommuError {
  return new IommuError(code, message, {
    range,
    ...(remedy !== undefined && { remedy }),
    ...(cause !== undefined && { cause }),
  });
}

function size(shift: bigint): string {
  return hex(1n << shift);
}
