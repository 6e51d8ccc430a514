import { checkArray, checkFailure, checkType } from "./_checks.ts";
import type { HostErrno } from "./host_error.ts";
import { HostError } from "./host_error.ts";
import type { HostCall, HostCallResult, HostFailure } from "./host_script.ts";

/** What a call is about, before it has a number. */
export type CallAbout = Omit<HostCall, "number">;

/** The calls on a simulated host: counts them, makes those fail that the script names, and tells the observer of all. */
export class ScriptedCalls {
  readonly #name: string;
  readonly #failAt: HostFailure[];
  readonly #observe: ((result: HostCallResult) => void) | undefined;
  #made = 0;
  #failed = 0;

  /** Throws if the script or the observer is of the wrong kind. */
  constructor(name: string, failAt: readonly HostFailure[], observe: ((result: HostCallResult) => void) | undefined) {
    checkType("observe", observe, "function");
    checkArray("failAt", failAt);
    this.#name = name;
    this.#failAt = failAt.map(checkFailure);
    this.#observe = observe;
  }

  /** How many calls were made, those that failed included. */
  get made(): number {
    return this.#made;
  }

  /** How many of them failed. */
  get failed(): number {
    return this.#failed;
  }

  /** Adds a failure to the script. */
  failWhen(failure: HostFailure): void {
    this.#failAt.push(checkFailure(failure));
  }

  /** Forgets the script. */
  failNoMore(): void {
    this.#failAt.length = 0;
  }

  /**
   * Makes one call.
   *
   * @param about What it is about.
   * @param refuse Why the host refuses it by its rules, if it does.
   * @param act Does it; returns how many bytes that were.
   * @param undo Undoes it: what the observer throws is a refusal.
   */
  make(about: CallAbout, refuse: () => HostErrno | undefined, act: () => bigint, undo: () => void): bigint {
    const call: HostCall = { number: ++this.#made, ...about };
    const errno = this.#scripted(call) ?? refuse();
    if (errno !== undefined) {
      this.#failed++;
      this.#observe?.({ ...call, errno, bytes: 0n });
      throw new HostError(errno, call.call, call.range, this.#name);
    }
    const bytes = act();
    try {
      this.#observe?.({ ...call, bytes });
    } catch (error) {
      this.#failed++;
      undo();
      throw error;
    }
    return bytes;
  }

  #scripted(call: HostCall): HostErrno | undefined {
    for (const { call: which, errno = "ENOMEM" } of this.#failAt) {
      if (typeof which === "number" ? which === call.number : which(call)) return errno;
    }
    return undefined;
  }
}
