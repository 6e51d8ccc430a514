import type { AddressRange, IommuError } from "@giommu/core";
import type { MemoryListener, MemorySection } from "@giommu/memory-api";
import type { GuestRun } from "./_guest_run.ts";
import type { Mirror } from "./_mirror.ts";
import { OpView } from "./_op_view.ts";

/** Follows system memory: RAM that comes or goes under entries of guest IOMMUs. */
export class MemoryFollower implements MemoryListener {
  readonly #mirror: Mirror;
  readonly #view = new OpView();
  readonly #kept = new Map<MemorySection, IommuError>();
  /** Deletions of the transaction under way: such a section that is added again is told back. */
  readonly #gone = new Set<MemorySection>();
  /** Whether what is told is of no interest: it was there when the container joined, or the container is on its way out. */
  deaf = true;
  /** Whether the container lived when the transaction under way began. */
  #wasAlive = false;

  constructor(mirror: Mirror) {
    this.#mirror = mirror;
  }

  /** A transaction begins. */
  begin(): void {
    this.#gone.clear();
    this.#wasAlive = this.#mirror.failure === undefined;
  }

  /** RAM appears: entries that point there are mapped. */
  regionAdd(section: MemorySection): void {
    if (section.region.kind !== "ram") return;
    if (this.deaf) return this.#unfollowed(() => this.#take(section.range).map(({ range }) => range));
    if (this.#kept.delete(section)) return; // told back: it never went
    const isToldBack = this.#gone.delete(section);
    if (!isToldBack) { for (const error of this.#kept.values()) throw error; }
    this.#register(section, isToldBack);
    const runs = this.#take(section.range);
    for (const [index, run] of runs.entries()) {
      try {
        this.#map(run);
      } catch (error) {
        for (const rest of runs.slice(index)) this.#note(rest);
        // Told back, what is not mapped is missing; refused, what is mapped is too much.
        const wrong = isToldBack ? runs.slice(index) : runs.slice(0, index);
        if (isToldBack || this.#mirror.failure !== undefined) {
          this.#mirror.giveUp(wrong.map(({ range }) => range), error);
        } else {
          this.#mirror.unmapTargets(section.range);
          this.#unregister(section);
        }
        throw error;
      }
    }
  }

  /** RAM disappears: entries that point there are unmapped, and remembered. */
  regionDel(section: MemorySection): void {
    if (section.region.kind !== "ram") return;
    if (this.deaf) return this.#unfollowed(() => this.#mirror.heldTo(section.range));
    const refused = this.#mirror.unmapTargets(section.range);
    if (refused !== undefined) {
      this.#kept.set(section, refused);
      return;
    }
    this.#gone.add(section);
    this.#unregister(section);
  }

  /** The transaction is complete; here a deletion can still be refused. */
  commit(): void {
    for (const error of this.#kept.values()) throw error;
    if (this.#gone.size > 0) this.#mirror.forgetRam();
  }

  /** A container that failed does not follow the rest of the transaction in which it did: that differs as well. */
  #unfollowed(ranges: () => readonly AddressRange[]): void {
    const { failure } = this.#mirror;
    if (failure !== undefined && this.#wasAlive) this.#mirror.giveUp(ranges(), failure);
  }

  /** Makes RAM known to the host, where it has to be. */
  #register(section: MemorySection, isToldBack: boolean): void {
    try {
      this.#mirror.known.add(section);
    } catch (error) {
      // Told back: what points there cannot be mapped again.
      if (isToldBack) this.#mirror.giveUp(this.#take(section.range).map(({ range }) => range), error);
      throw error;
    }
  }

  #unregister(section: MemorySection): void {
    const left = this.#mirror.known.remove(section);
    if (left !== undefined) this.#mirror.problems.add(left);
  }

  /** Maps one run, all or nothing. */
  #map(run: GuestRun): void {
    this.#mirror.begin();
    try {
      this.#mirror.map(run);
    } catch (error) {
      this.#mirror.rollback(run.range);
      throw error;
    }
    this.#mirror.commit();
  }

  /** Takes the remembered entries that point into a range of memory. */
  #take(range: AddressRange): GuestRun[] {
    const { raw } = this.#mirror.driver;
    const runs: GuestRun[] = [];
    for (let count = raw.takeAbsent(range.start, range.last); count > 0;) {
      const batch = raw.batch();
      for (let i = 0; i < count; i++) {
        const { start, last, target, perm, phase, pageShift } = this.#view.at(batch, i);
        runs.push({ range: { start, last }, target, perm, phase, pageShift });
      }
      count = raw.takeAbsent(range.start, range.last);
    }
    return runs;
  }

  #note({ range, target, perm, phase, pageShift }: GuestRun): void {
    this.#mirror.driver.raw.noteAbsent(range.start, range.last, target, phase, perm | 1 << 8 | pageShift << 16);
  }
}
