/**
 * The guest's physical memory map: regions, address spaces, listeners, IOMMU regions, replay.
 *
 * @module
 */

export {};
