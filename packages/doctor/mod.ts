/**
 * Says what went wrong between a guest's IOMMU, QEMU and the host's IOMMU, from the logs that they left.
 *
 * {@linkcode diagnose} reads QEMU's log, and where there are some the kernel's and what QEMU printed, and gives a
 * {@linkcode Diagnosis}: {@linkcode Finding}s with where, since when, by which call of the guest, why, and what helps; how the logs
 * were brought onto one time; and what cannot be known from them.
 *
 * @module
 */

export * from "./diagnose.ts";
export type * from "./diagnosis.ts";
export * from "./finding.ts";
export type * from "./history.ts";
export type * from "./guest_call.ts";
