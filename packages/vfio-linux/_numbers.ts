/** Numbers of 64 bits in buffers, little endian: how they cross to the library. */

import type { Attempt } from "./_errno.ts";
import { must } from "./_errno.ts";

/** A buffer of so many numbers, and a view of it. */
export class Numbers {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly #view: DataView<ArrayBuffer>;

  constructor(count: number) {
    this.bytes = new Uint8Array(count * 8);
    this.#view = new DataView(this.bytes.buffer);
  }

  /** A buffer that holds these. */
  static of(...values: readonly bigint[]): Uint8Array<ArrayBuffer> {
    const numbers = new Numbers(values.length);
    for (const [index, value] of values.entries()) numbers.set(index, value);
    return numbers.bytes;
  }

  /** How many there are. */
  get length(): number {
    return this.bytes.length / 8;
  }

  get(index: number): bigint {
    return this.#view.getBigUint64(index * 8, true);
  }

  set(index: number, value: bigint): void {
    this.#view.setBigUint64(index * 8, value, true);
  }
}

/**
 * Asks for numbers whose count is not known before.
 *
 * @param attempt What to say if it is refused.
 * @param ask Fills a buffer; answers with how many numbers there are, or with an error.
 */
export function askNumbers(attempt: Attempt, ask: (out: Uint8Array<ArrayBuffer>) => number): bigint[] {
  for (let room = 32;;) {
    const numbers = new Numbers(room);
    const count = must(ask(numbers.bytes), attempt);
    if (count <= room) return Array.from({ length: count }, (_, index) => numbers.get(index));
    room = count;
  }
}

/** Runs of bits that are set among the first so many: where each begins, and where it ends. */
export function setRuns(bitmap: Numbers, bits: number): [first: number, end: number][] {
  const runs: [number, number][] = [];
  let last: [number, number] | undefined;
  for (let index = 0; index < bitmap.length; index++) {
    const word = bitmap.get(index);
    if (word === 0n) continue;
    for (let bit = 0; bit < 64 && index * 64 + bit < bits; bit++) {
      if ((word >> BigInt(bit) & 1n) === 0n) continue;
      const at = index * 64 + bit;
      if (last?.[1] === at) last[1]++;
      else runs.push(last = [at, at + 1]);
    }
  }
  return runs;
}
