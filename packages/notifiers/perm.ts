/**
 * What a device may do at an address: bit 0 lets it read, bit 1 lets it write.
 *
 * The values are those of QEMU's `IOMMUAccessFlags` (include/exec/memory.h) and of the low bits of an sPAPR TCE. As
 * the *access* that a translation asks for, `NONE` asks for the full permissions of the entry.
 *
 * @example
 * ```ts
 * import { IommuPerm } from "@giommu/notifiers";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(IommuPerm.READ | IommuPerm.WRITE, IommuPerm.READ_WRITE);
 * ```
 */
export const IommuPerm = {
  /** Nothing is allowed: nothing is mapped. */
  NONE: 0,
  /** A device may read. */
  READ: 1,
  /** A device may write. */
  WRITE: 2,
  /** A device may read and write. */
  READ_WRITE: 3,
} as const;

/** One of the values of {@linkcode IommuPerm}. */
export type IommuPerm = typeof IommuPerm[keyof typeof IommuPerm];

/**
 * Writes a permission as people read it.
 *
 * @param perm The permission.
 * @returns `"--"`, `"r-"`, `"-w"` or `"rw"`.
 *
 * @example
 * ```ts
 * import { formatPerm, IommuPerm } from "@giommu/notifiers";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(formatPerm(IommuPerm.WRITE), "-w");
 * ```
 */
export function formatPerm(perm: IommuPerm): string {
  return `${perm & IommuPerm.READ ? "r" : "-"}${perm & IommuPerm.WRITE ? "w" : "-"}`;
}
