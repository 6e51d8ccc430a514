import { IommuError, joinRanges } from "@giommu/core";
import { trappedIn } from "@giommu/core/wasm";
import type { AddressSpace } from "@giommu/memory-api";
import { fromPairs } from "./_arithmetic.ts";
import { MemoryFollower } from "./_memory_follower.ts";
import type { Mirror } from "./_mirror.ts";
import { Sections } from "./_sections.ts";
import { lower, partsOf, textOf } from "./_undo_failure.ts";
import type { AttachPlan, AttachReport, ContainerPolicy } from "./attach_report.ts";
import type { MapCounts } from "./count_maps.ts";
import { countMaps } from "./count_maps.ts";

/** A container's tie to one address space, from the first attach to the last detach. */
export class Attachment {
  readonly space: AddressSpace;
  /** How many devices share it. */
  devices = 1;
  readonly #mirror: Mirror;
  readonly #policy: ContainerPolicy;
  readonly #sections: Sections;
  readonly #follower: MemoryFollower;
  readonly #counts: boolean;
  readonly #onGone: () => void;
  readonly #before: BigUint64Array;
  readonly #problemsBefore: number;
  #nanoseconds = 0;
  #isOpening = true;
  #isClosed = false;
  #refused: unknown;

  constructor(
    mirror: Mirror,
    space: AddressSpace,
    memory: AddressSpace | undefined,
    policy: ContainerPolicy,
    runs: "full" | "call",
    options: { readonly countMaps?: boolean },
    onGone: () => void,
  ) {
    this.#mirror = mirror;
    this.space = space;
    mirror.memory = memory;
    this.#policy = policy;
    this.#counts = options.countMaps === true;
    this.#onGone = onGone;
    this.#sections = new Sections(mirror, runs);
    this.#follower = new MemoryFollower(mirror);
    this.#before = mirror.driver.raw.counters();
    this.#problemsBefore = mirror.problems.total;
  }

  /** Whether it left the address spaces: it was given up, or detached. */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Why it was given up, where that was not asked for. */
  get refused(): unknown {
    return this.#refused ?? this.#mirror.failure;
  }

  /** How far the replays are. */
  get told(): { readonly pages: bigint; readonly extents: number } {
    return this.#sections.told;
  }

  /** Throws what a plan says would be refused. */
  check(plan: () => AttachPlan): void {
    this.#timed(() => {
      const { refusal } = plan();
      if (refusal !== undefined) throw refusal;
    });
  }

  /** Begins: maps RAM, registers with IOMMUs, and replays unless somebody is going to step the replays. */
  open(deferred: boolean): void {
    this.#sections.deferred = deferred;
    this.#timed(() => {
      this.#mirror.known.open(this.#mirror.memory);
      this.space.addListener(this.#sections);
      this.#mirror.memory?.addListener(this.#follower);
      this.#follower.deaf = false;
      this.#alive();
    });
  }

  /** Goes on with the replays; returns whether they are over. */
  step(budget: number): boolean {
    let done = false;
    this.#timed(() => {
      this.#alive();
      done = this.#sections.step(budget);
      this.#alive();
    });
    if (done) this.#sections.deferred = false;
    return done;
  }

  /** All is mapped. */
  finish(): AttachReport {
    const { memory } = this.#mirror;
    let maps: MapCounts | undefined;
    this.#undoing(() => {
      if (this.#counts) maps = countMaps(this.space, memory === undefined ? {} : { memory });
      this.#alive();
    });
    this.#isOpening = false;
    return { ...this.#report(false), ...(maps !== undefined && { maps }) };
  }

  /** Gives an attach up that is not finished: nothing is left but what the host does not unmap, as the failure says. */
  abort(): void {
    this.#mirror.driver.checkIdle();
    this.#giveUp();
  }

  /** One more device. */
  join(space: AddressSpace): AttachReport {
    const refusal = this.refusal(space);
    if (refusal !== undefined) throw refusal;
    this.devices++;
    return this.#report(true);
  }

  /** One device less; returns how many are left. */
  leave(): number {
    return --this.devices;
  }

  /** Why a device cannot join, or be attached `"alone"`, meanwhile. */
  refusal(space: AddressSpace, how: "joining" | "alone" = "joining"): IommuError | undefined {
    const what = `Cannot attach ${this.#mirror.info.name} to ${space.name}`;
    const { failure } = this.#mirror;
    if (failure !== undefined) {
      return new IommuError("container-failed", `${what}: it failed earlier`, {
        remedy: "make a new container",
        cause: failure,
      });
    }
    if (space === this.space && how === "joining" && !this.#isOpening) return undefined;
    const state = this.#isOpening ? "is being attached" : "is attached";
    return new IommuError("already-attached", `${what}: it ${state} to ${this.space.name}`, {
      remedy: "detach it first, or make another container",
    });
  }

  /** Listens to nothing more; what is mapped stays. */
  stop(): void {
    this.#sections.deaf = true;
    this.#follower.deaf = true;
    this.#sections.stop();
  }

  /** Leaves the address spaces; what is mapped stays. */
  close(): void {
    this.#isClosed = true;
    try {
      this.stop();
    } finally {
      try {
        this.space.removeListener(this.#sections);
      } finally {
        this.#mirror.memory?.removeListener(this.#follower);
      }
    }
  }

  /** Undoes everything, whatever of it goes wrong. */
  #giveUp(): void {
    try {
      this.close();
    } finally {
      try {
        this.#mirror.clear();
      } finally {
        this.#onGone();
      }
    }
  }

  #alive(): void {
    if (this.#mirror.failure !== undefined) throw this.#mirror.failure;
  }

  /** Does a part of the attach; if it fails, all of it is undone. */
  #timed(act: () => void): void {
    const start = performance.now();
    try {
      this.#undoing(act);
    } finally {
      this.#nanoseconds += Math.round((performance.now() - start) * 1e6);
    }
  }

  #undoing(act: () => void): void {
    try {
      act();
    } catch (error) {
      throw this.#refused = this.#undo(error);
    }
  }

  #undo(error: unknown): unknown {
    const { info } = this.#mirror;
    const failures: unknown[] = [];
    try {
      this.#giveUp();
    } catch (cause) {
      failures.push(cause);
    }
    const { refusal, failures: before } = partsOf(error);
    const what = `Cannot attach ${info.name} to ${this.space.name}`;
    const why = textOf(refusal);
    const whole = why.startsWith("Cannot attach ")
      ? why
      : why.startsWith("Cannot ")
      ? `${what}, as it ${lower(why)}`
      : `${what}: ${why}`;
    if (refusal instanceof IommuError && refusal.code === "core-trapped") return trappedIn(what.slice(7), refusal);
    const { failure } = this.#mirror;
    // What failed at first, and was done when it was tried again, is nobody's concern: only what is left is.
    if (this.#mirror.driver.raw.size > 0 && failure !== undefined) failures.push(failure);
    if (failures.length > 0) {
      const every = [...before, ...failures];
      const all = every.filter((one, at) => every.findIndex((other) => textOf(other) === textOf(one)) === at);
      const kept = failures.flatMap((one) => one instanceof IommuError ? [...one.ranges] : []);
      const ranges = joinRanges([...fromPairs(this.#mirror.driver.raw.failureRanges()), ...kept]);
      return new IommuError("rollback-failed", `${whole}; and it cannot undo that, as it ${lower(textOf(all[0]))}`, {
        ranges,
        remedy: "close the host",
        cause: new AggregateError([refusal, ...all], why),
      });
    }
    if (!(refusal instanceof IommuError)) return refusal;
    return new IommuError(refusal.code, whole, {
      ranges: refusal.ranges,
      ...(refusal.remedy !== undefined && { remedy: refusal.remedy }),
      cause: refusal,
    });
  }

  #report(joined: boolean): AttachReport {
    const now = this.#mirror.driver.raw.counters();
    const since = (index: number) => joined ? 0 : Number((now[index] ?? 0n) - (this.#before[index] ?? 0n));
    const { pages, extents, ram } = this.#sections.told;
    return {
      space: this.space.name,
      host: this.#mirror.info.name,
      joined,
      devices: this.devices,
      policy: this.#policy,
      pages: joined ? 0n : pages,
      extents: joined ? 0 : extents,
      ramSections: joined ? 0 : ram,
      hostMaps: since(0),
      hostUnmaps: since(1),
      widenedPages: since(6),
      problems: joined ? 0 : this.#mirror.problems.total - this.#problemsBefore,
      nanoseconds: joined ? 0 : this.#nanoseconds,
    };
  }
}
