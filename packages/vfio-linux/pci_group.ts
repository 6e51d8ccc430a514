import { checkInteger } from "@giommu/core";
import { devicesOf } from "./_pci.ts";

/**
 * The PCI devices of an IOMMU group: they can only be used together.
 *
 * @param group Its number.
 * @returns Their addresses, ascending; none if there is no such group.
 * @throws {RangeError} If the number is none.
 * @throws {IommuError} `"backend-unavailable"` if the system cannot be asked.
 *
 * @example
 * ```ts
 * import { IommuError } from "@giommu/core";
 * import { devicesInGroup } from "@giommu/vfio-linux";
 * import { assert, assertEquals } from "@std/assert";
 *
 * try {
 *   assertEquals(devicesInGroup(0xffff_ffff), []);
 * } catch (error) {
 *   assert(error instanceof IommuError && error.code === "backend-unavailable");
 * }
 * ```
 */
export function devicesInGroup(group: number): string[] {
  return devicesOf(checkInteger("group", group));
}
