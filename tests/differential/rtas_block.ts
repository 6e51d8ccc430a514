// An RTAS call as it lies in a guest's memory: big-endian words, anywhere, also over the end of RAM.

/** Puts words into RAM, as far as they fit. */
export function writeWords(ram: Uint8Array, block: bigint, first: number, words: readonly number[]): void {
  for (const [index, word] of words.entries()) {
    for (let byte = 0; byte < 4; byte++) {
      const at = place(ram, block, first + index, byte);
      if (at < ram.length) ram[at] = word >>> 24 - 8 * byte;
    }
  }
}

/** Reads a word; what is no RAM reads as 0. */
export function readWord(ram: Uint8Array, block: bigint, index: number): number {
  const bytes = Uint8Array.from({ length: 4 }, (_, byte) => ram[place(ram, block, index, byte)] ?? 0);
  return new DataView(bytes.buffer).getUint32(0);
}

/** Where a byte of a word lies in RAM; beyond its end for what is no RAM. The top four bits of a word's address mean nothing. */
function place(ram: Uint8Array, block: bigint, word: number, byte: number): number {
  const gpa = BigInt.asUintN(60, block + 4n * BigInt(word)) + BigInt(byte);
  return gpa < BigInt(ram.length) ? Number(gpa) : ram.length;
}
