import type { AddressRange } from "@giommu/core";
import { formatRange } from "@giommu/core";

/** Names of the errors that a host IOMMU answers with; those of Linux. */
export type HostErrno =
  | "EACCES"
  | "EAGAIN"
  | "EBADF"
  | "EBUSY"
  | "EEXIST"
  | "EFAULT"
  | "EINTR"
  | "EINVAL"
  | "EIO"
  | "ENODEV"
  | "ENOENT"
  | "ENOMEM"
  | "ENOSPC"
  | "ENXIO"
  | "ENOTTY"
  | "EOPNOTSUPP"
  | "EOVERFLOW"
  | "EPERM";

/**
 * Which call a host refused. Beside MAP and UNMAP: REGISTER and UNREGISTER are about guest memory, CREATE and REMOVE about
 * windows (both of sPAPR hosts), START, COLLECT and STOP about dirty pages.
 */
export type HostCallName =
  | "MAP"
  | "UNMAP"
  | "REGISTER"
  | "UNREGISTER"
  | "CREATE"
  | "REMOVE"
  | "START"
  | "COLLECT"
  | "STOP";

/**
 * A call that a host IOMMU refused.
 *
 * Every {@linkcode HostIommu} throws it; a `VfioContainer` turns it into an `IommuError` and keeps it as `cause`.
 *
 * @example
 * ```ts
 * import { HostError, SimulatedHost } from "@giommu/vfio-sync";
 * import { assertEquals, assertThrows } from "@std/assert";
 *
 * const host = new SimulatedHost({ rules: "type1" });
 * const iova = { start: 0x8000n, last: 0x8fffn };
 * host.map({ iova, gpa: 0n, perm: 3 });
 * const error = assertThrows(() => host.map({ iova, gpa: 0n, perm: 3 }), HostError);
 * assertEquals([error.errno, error.call, error.range], ["EEXIST", "MAP", iova]);
 * ```
 */
export class HostError extends Error {
  /** The error by its name. */
  readonly errno: HostErrno;
  /** The call. */
  readonly call: HostCallName;
  /** The addresses that it was about: of the bus, or of guest memory that was to be registered. */
  readonly range: AddressRange;
  /** What a person can do about it, where the host knows something that helps. */
  readonly remedy: string | undefined;

  /**
   * Creates an error.
   *
   * @param errno The error by its name.
   * @param call The call.
   * @param range The addresses that it was about.
   * @param host What people call the host.
   * @param remedy What a person can do about it.
   */
  constructor(errno: HostErrno, call: HostCallName, range: AddressRange, host = "host", remedy?: string) {
    super(`${host} refused ${call} of ${formatRange(range)} with ${errno}`);
    this.name = "HostError";
    this.errno = errno;
    this.call = call;
    this.range = range;
    this.remedy = remedy;
  }
}
