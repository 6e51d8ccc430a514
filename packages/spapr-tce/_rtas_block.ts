import { RawSpaprMachine } from "@giommu/core/wasm/spapr";
import type { GuestMemory } from "@giommu/memory-api";

/**
 * Reads the beginning of an RTAS block in guest memory: big-endian words, anywhere. What is not RAM reads as 0.
 *
 * As in QEMU, the top four bits of an address mean nothing here; the core knows which they are.
 */
export function readBlock(memory: GuestMemory, block: bigint): Uint32Array {
  const words = new Uint32Array(RawSpaprMachine.blockWords());
  const bytes = new Uint8Array(4);
  const view = new DataView(bytes.buffer);
  for (let at = 0; at < words.length; at++) {
    // All or nothing: a word that lies partly outside RAM is read byte by byte.
    const address = RawSpaprMachine.blockAddress(block, BigInt(4 * at));
    if (!memory.read(address, bytes)) readBytes(memory, address, bytes);
    words[at] = view.getUint32(0);
  }
  return words;
}

/** Writes the answers of a call into its block, `offset` bytes after its start. What is not RAM is not written. */
export function writeAnswers(memory: GuestMemory, block: bigint, offset: bigint, words: readonly number[]): void {
  const bytes = new Uint8Array(4);
  const view = new DataView(bytes.buffer);
  for (const [at, word] of words.entries()) {
    view.setUint32(0, word);
    const address = RawSpaprMachine.blockAddress(block, offset + BigInt(4 * at));
    if (memory.write(address, bytes)) continue;
    for (let i = 0; i < 4; i++) memory.write(address + BigInt(i), bytes.subarray(i, i + 1));
  }
}

function readBytes(memory: GuestMemory, address: bigint, into: Uint8Array): void {
  for (let i = 0; i < into.length; i++) {
    if (!memory.read(address + BigInt(i), into.subarray(i, i + 1))) into[i] = 0;
  }
}
