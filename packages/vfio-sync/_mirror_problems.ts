import type { AddressRange } from "@giommu/core";
import { formatRange, hex, IommuError } from "@giommu/core";

/** What a host did not take back when a container let go of it. */
export function leftOver(host: string, errors: readonly IommuError[]): IommuError {
  const why = errors.map(({ message }) => message).join("; ");
  return new IommuError("unmap-failed", `Cannot take everything back from ${host}: ${why}`, {
    ranges: errors.flatMap(({ ranges }) => [...ranges]),
    remedy: "detach again, or close the host",
    cause: new AggregateError(errors, why),
  });
}

/** A device that was stopped for a hole did not go on. */
export function deviceStuck(host: string, cause: unknown): IommuError {
  const why = cause instanceof Error ? cause.message : String(cause);
  return new IommuError("host-refused", `Cannot let the device of ${host} go on: ${why}`, { cause });
}

/** How messages name a target that only some hosts map. */
export function deviceMemory(host: string): string {
  return `memory of a device, which ${host} does not map`;
}

/** Entries point to what is no RAM. */
export function notRam(range: AddressRange, target: bigint, what: string): IommuError {
  return new IommuError("not-ram", `Cannot map ${formatRange(range)}: its target ${hex(target)} is ${what}`, {
    range,
    remedy: "nothing, if the guest does this on purpose: it reads and writes no memory there",
  });
}
