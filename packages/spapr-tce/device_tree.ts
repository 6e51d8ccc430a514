/**
 * Properties of a device-tree node, by name: what the firmware tells a guest of its IOMMU, as big-endian 32-bit cells.
 *
 * @example The default window: LIOBN, bus address in two cells, size in two
 * ```ts
 * import { SpaprMachine } from "@giommu/spapr-tce";
 * import { assertEquals } from "@std/assert";
 *
 * using machine = new SpaprMachine({ ram: 0x10000n, phbs: [{ index: 0 }] });
 * const bytes = machine.phb(0).deviceTree["ibm,dma-window"] ?? new Uint8Array();
 * const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
 * assertEquals([0, 4, 8, 12, 16].map((at) => view.getUint32(at)), [0x8000_0000, 0, 0, 0, 0x4000_0000]);
 * ```
 */
export type DeviceTreeProperties = Readonly<Record<string, Uint8Array>>;

/** Cells as the bytes of a property. */
export function cellBytes(cells: Iterable<number>): Uint8Array {
  const list = [...cells];
  const bytes = new Uint8Array(4 * list.length);
  const view = new DataView(bytes.buffer);
  list.forEach((cell, at) => view.setUint32(4 * at, cell));
  return bytes;
}
