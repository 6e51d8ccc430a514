/** A step back that is longer than this, in microseconds, is the clock's; a shorter one only threads that logged at once. */
const STEP_BACK = 1_000_000n;
/** A year: a step forward that is longer is the clock's, too. What viewers count, nanoseconds, would soon pass 63 bits. */
const STEP_FORWARD = 365n * 24n * 3600n * 1_000_000n;

/** Turns a log's timestamps into microseconds since its first one, which never go back. */
export class TraceClock {
  #first: bigint | undefined;
  /** The latest time, as the trace has it. */
  #now = 0n;
  /** What the clock was set back by since the first time, less what it was set forward. */
  #setBack = 0n;
  #steps = 0;

  /** The first timestamp, in microseconds; `undefined` before there was one. */
  get first(): bigint | undefined {
    return this.#first;
  }

  /** How often the clock was set. */
  get steps(): number {
    return this.#steps;
  }

  /** The latest time: microseconds since the first timestamp. */
  get now(): number {
    return Number(this.#now);
  }

  /**
   * Goes on to the time of an event.
   *
   * @param time The event's timestamp in microseconds; `undefined` if it has none, and is taken for no later than the one before.
   * @returns Microseconds since the first timestamp.
   */
  at(time: bigint | undefined): number {
    if (time !== undefined) {
      this.#first ??= time;
      let at = time - this.#first + this.#setBack;
      if (at < this.#now - STEP_BACK || at > this.#now + STEP_FORWARD) {
        this.#steps++;
        this.#setBack += this.#now - at;
        at = this.#now;
      }
      if (at > this.#now) this.#now = at;
    }
    return this.now;
  }
}
