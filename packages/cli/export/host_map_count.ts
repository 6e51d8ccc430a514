/** Counts the mappings that QEMU asked its host for, and did not ask to remove since. */
export class HostMapCount {
  /** The last address of each by its first. */
  readonly #maps = new Map<bigint, bigint>();

  /** How many there are. */
  get size(): number {
    return this.#maps.size;
  }

  /** QEMU asks for a mapping. Where one begins there already, it stays the one that it was, as hosts refuse another. */
  map(start: bigint, last: bigint): void {
    if (!this.#maps.has(start)) this.#maps.set(start, last);
  }

  /** QEMU removes all mappings that lie in a range. */
  unmap(start: bigint, last: bigint): void {
    if (last - start < 0x1000n) return this.#drop(start, last); // nearly always; nothing smaller can lie in it
    if ((last - start) >> 12n < BigInt(this.#maps.size)) {
      const page = 0xfffn;
      for (let at = start; at <= last; at = (at | page) + 1n) this.#drop(at, last);
    } else {
      for (const at of this.#maps.keys()) {
        if (start <= at) this.#drop(at, last);
      }
    }
  }

  #drop(start: bigint, last: bigint): void {
    const end = this.#maps.get(start);
    if (end !== undefined && end <= last) this.#maps.delete(start);
  }
}
