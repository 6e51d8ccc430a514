/**
 * Keeps a host IOMMU in step with the guest's, also for devices plugged in late.
 *
 * @module
 */

export {};
