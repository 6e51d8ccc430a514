/** Reads what the core hands over as a flat list of 64-bit numbers, one after the other. */
export class Numbers {
  readonly #list: BigUint64Array;
  #at: number;

  /**
   * Begins to read.
   *
   * @param list The numbers.
   * @param at The place of the first that is read.
   */
  constructor(list: BigUint64Array, at = 0) {
    this.#list = list;
    this.#at = at;
  }

  /** Whether any are left. */
  get more(): boolean {
    return this.#at < this.#list.length;
  }

  /** The next number; 0 behind the last. */
  big(): bigint {
    return this.#list[this.#at++] ?? 0n;
  }

  /** The next number, which is known to be small. */
  number(): number {
    return Number(this.big());
  }

  /** The next number, which is a signed one. */
  signed(): number {
    return Number(BigInt.asIntN(64, this.big()));
  }

  /**
   * Reads something several times.
   *
   * @param count How often.
   * @param read Reads it once.
   */
  times<T>(count: number, read: () => T): T[] {
    return Array.from({ length: count }, read);
  }

  /**
   * The next numbers alone.
   *
   * @param length How many.
   */
  part(length: number): Numbers {
    const start = this.#at;
    this.#at += length;
    return new Numbers(this.#list.subarray(start, this.#at));
  }
}
