import type { GuestMemory } from "@giommu/memory-api";

/** Reads a guest's list of 64-bit words as bytes; what lies outside its memory reads as 0. */
export function readList(memory: GuestMemory, list: bigint, words: number): Uint8Array {
  const bytes = new Uint8Array(words * 8);
  if (memory.read(list, bytes)) return bytes;
  for (let i = 0; i < words; i++) memory.read(list + BigInt(i * 8), bytes.subarray(i * 8, i * 8 + 8));
  return bytes;
}
