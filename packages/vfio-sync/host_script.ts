import type { AddressRange, Gpa } from "@giommu/core";
import type { IommuPerm } from "@giommu/notifiers";
import type { HostCallName, HostErrno } from "./host_error.ts";

/** One call made on a simulated host. */
export interface HostCall {
  /** Which one since the host was made, from 1. Calls that fail count. */
  readonly number: number;
  /** What was asked. */
  readonly call: HostCallName;
  /** The bus addresses, both ends included; of REGISTER and UNREGISTER the guest-physical ones. */
  readonly range: AddressRange;
  /** Of a MAP: where to. */
  readonly gpa?: Gpa;
  /** Of a MAP: the permission. */
  readonly perm?: IommuPerm;
}

/** How a call on a simulated host went. */
export interface HostCallResult extends HostCall {
  /** The error, if it was refused. */
  readonly errno?: HostErrno;
  /** Bytes that were mapped, unmapped, registered or made a window; 0 if it was refused, and of calls about dirty pages. */
  readonly bytes: bigint;
}

/**
 * A failure that a simulated host is told to have.
 *
 * @example Refuse the second call, and every MAP above 4 GiB
 * ```ts
 * import { HostError, SimulatedHost } from "@giommu/vfio-sync";
 * import type { HostFailure } from "@giommu/vfio-sync";
 * import { assertEquals, assertThrows } from "@std/assert";
 *
 * const failAt: HostFailure[] = [
 *   { call: 2, errno: "ENOSPC" },
 *   { call: ({ call, range }) => call === "MAP" && range.last >= 2n ** 32n, errno: "EINVAL" },
 * ];
 * const host = new SimulatedHost({ failAt });
 * host.map({ iova: { start: 0n, last: 0xfffn }, gpa: 0n, perm: 1 });
 * assertThrows(() => host.unmap({ start: 0n, last: 0xfffn }), HostError, "ENOSPC");
 * assertEquals(host.unmap({ start: 0n, last: 0xfffn }), 0x1000n);
 * ```
 */
export interface HostFailure {
  /** Which call: its number (from 1), or what decides. Every call that it names fails. */
  readonly call: number | ((call: HostCall) => boolean);
  /** What it fails with; `"ENOMEM"` unless given. */
  readonly errno?: HostErrno;
}
