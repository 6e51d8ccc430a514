import type { Gpa } from "@giommu/core";
import type { GuestMemory } from "@giommu/memory-api";

/** Eight bytes, little endian. */
export function word(value: bigint): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, value, true);
  return bytes;
}

/** Reads eight bytes, little endian. */
export function wordAt(memory: GuestMemory, gpa: Gpa): bigint {
  const bytes = new Uint8Array(8);
  if (!memory.read(gpa, bytes)) throw new RangeError(`Cannot read a word: there is none at ${gpa}`);
  return new DataView(bytes.buffer).getBigUint64(0, true);
}
