import { IommuError } from "@giommu/core";
import type { AddressSpace } from "./address_space.ts";
import { spaceState } from "./address_space.ts";
import type { FlatView } from "./flat_view.ts";
import type { MemoryListener } from "./memory_listener.ts";
import type { MemorySection } from "./memory_section.ts";

/** What one transaction changed in one space. */
export interface SpaceUpdate {
  readonly space: AddressSpace;
  readonly old: FlatView;
  readonly next: FlatView;
  readonly gone: readonly MemorySection[];
  readonly come: readonly MemorySection[];
}

/** Thrown by a delivery that was told back; the map has to be put back too. */
export class Undone {
  /** What the caller of the transaction is to see. */
  readonly reason: unknown;

  constructor(reason: unknown) {
    this.reason = reason;
  }
}

interface Told {
  readonly listener: MemoryListener;
  readonly section: MemorySection;
  readonly added: boolean;
}

/** Tells the listeners of all spaces of one transaction, and tells back if one refuses. */
export class Delivery {
  readonly #updates: readonly SpaceUpdate[];
  /** The listeners as they were when the delivery began. */
  readonly #listeners = new Map<AddressSpace, readonly MemoryListener[]>();
  readonly #told: Told[] = [];
  readonly #began = new Set<MemoryListener>();
  readonly #failures: unknown[] = [];
  #switched = false;

  constructor(updates: readonly SpaceUpdate[]) {
    this.#updates = updates;
    for (const { space } of updates) this.#listeners.set(space, [...spaceState(space).listeners]);
  }

  /** Tells everybody; throws {@linkcode Undone} if somebody refused, and the first failed deletion once all is told. */
  deliver(): void {
    try {
      for (const { space } of this.#updates) {
        for (const listener of this.#live(space)) this.#begin(listener);
      }
      for (const { space, gone } of this.#updates.toReversed()) {
        for (const section of gone) {
          for (const listener of this.#live(space).toReversed()) this.#delete(listener, section);
        }
      }
      this.#show("next");
      for (const { space, come } of this.#updates) {
        for (const section of come) {
          for (const listener of this.#live(space)) this.#add(listener, section);
        }
      }
      for (const listener of [...this.#began]) this.#commit(listener);
    } catch (error) {
      throw new Undone(this.#undo(error));
    }
    if (this.#failures.length > 0) throw this.#failures[0];
  }

  /** The listeners of a space that have not left since the delivery began. */
  #live(space: AddressSpace): readonly MemoryListener[] {
    const { listeners } = spaceState(space);
    return (this.#listeners.get(space) ?? []).filter((listener) => listeners.includes(listener));
  }

  #isLive({ listener, section }: Told): boolean {
    return spaceState(section.space).listeners.includes(listener);
  }

  #show(which: "old" | "next"): void {
    this.#switched = which === "next";
    for (const update of this.#updates) spaceState(update.space).view = update[which];
  }

  #begin(listener: MemoryListener): void {
    if (this.#began.has(listener)) return;
    listener.begin?.();
    this.#began.add(listener);
  }

  #commit(listener: MemoryListener): void {
    // Off the set only afterwards: a commit that throws is told back within the same bracket.
    if (this.#updates.some(({ space }) => this.#live(space).includes(listener))) listener.commit?.();
    this.#began.delete(listener);
  }

  #add(listener: MemoryListener, section: MemorySection): void {
    listener.regionAdd?.(section);
    this.#told.push({ listener, section, added: true });
  }

  #delete(listener: MemoryListener, section: MemorySection): void {
    this.#told.push({ listener, section, added: false });
    try {
      listener.regionDel?.(section);
    } catch (error) {
      this.#failures.push(error);
    }
  }

  /** Tells everything back in reverse; returns what the caller is to see. */
  #undo(reason: unknown): unknown {
    const told = this.#told.splice(0).reverse();
    for (const one of told) {
      if (!one.added && this.#switched) this.#show("old");
      if (!this.#isLive(one)) continue;
      this.#attempt(() => {
        this.#begin(one.listener);
        if (one.added) one.listener.regionDel?.(one.section);
        else one.listener.regionAdd?.(one.section);
      });
    }
    if (this.#switched) this.#show("old");
    for (const listener of [...this.#began]) this.#attempt(() => this.#commit(listener));
    if (this.#failures.length === 0) return reason;
    const message = reason instanceof Error ? reason.message : String(reason);
    return new IommuError("rollback-failed", `Cannot undo a refused change of the memory map: ${message}`, {
      cause: new AggregateError([reason, ...this.#failures], message),
    });
  }

  #attempt(act: () => void): void {
    try {
      act();
    } catch (error) {
      this.#failures.push(error);
    }
  }
}
