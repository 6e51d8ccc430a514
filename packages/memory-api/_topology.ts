import { IommuError } from "@giommu/core";
import { Delivery, Undone } from "./_delivery.ts";
import type { SpaceUpdate } from "./_delivery.ts";
import { missingFrom } from "./_diff.ts";
import { render } from "./_render.ts";
import type { AddressSpace } from "./address_space.ts";
import { spaceState } from "./address_space.ts";
import type { MemoryRegion } from "./memory_region.ts";
import { regionState } from "./memory_region.ts";

// The transaction under way. There is one for all address spaces, as one change of the map may show in many of them.
let depth = 0;
let delivering = false;
const journal: (() => void)[] = [];
const altered = new Set<MemoryRegion>();
const born = new Set<AddressSpace>();

/** Whether listeners are being told of a transaction right now. */
export function isDelivering(): boolean {
  return delivering;
}

/** Takes note, inside a transaction, that a region was altered, and of how to undo it. */
export function alter(region: MemoryRegion, undo: () => void): void {
  altered.add(region);
  journal.push(undo);
}

/** Gives a new address space its first view: at once, or at the end of the transaction under way. */
export function bear(space: AddressSpace): void {
  if (depth === 0) spaceState(space).view = render(space);
  else born.add(space);
}

/** Throws if listeners are being told of a transaction right now. */
export function checkIdle(what: string): void {
  if (!delivering) return;
  throw new IommuError("change-in-progress", `Cannot ${what}: listeners are being told of another change`, {
    remedy: "do it after the transaction has ended",
  });
}

/** Keeps the memory map as it is while somebody is told of it. */
export function whileTelling<T>(tell: () => T): T {
  delivering = true;
  try {
    return tell();
  } finally {
    delivering = false;
  }
}

/**
 * Makes several changes of the memory map appear as one.
 *
 * Transactions nest; at the end of the outermost one, every address space that shows something else than before tells its
 * listeners: all deletions of all spaces, then all additions. If `fn` throws, the map is put back as it was and nobody
 * is told. If a listener refuses an addition, what was told is told back in reverse, the map is put back, and the
 * listener's error passes on.
 *
 * @param fn Changes the map. It must not be asynchronous.
 * @returns What `fn` returns.
 * @throws {TypeError} If `fn` returns a promise; the map is put back.
 * @throws {IommuError} `"change-in-progress"` from inside a listener's callback; `"rollback-failed"` if a refused
 * transaction could not be told back completely.
 * @throws Whatever `fn` or a listener throws. A `regionDel` that throws does not stop the transaction: it is completed first.
 *
 * @example Moving a region without anybody seeing it gone
 * ```ts
 * import { AddressSpace, MemoryRegion, RamRegion, transaction } from "@giommu/memory-api";
 * import { assertEquals } from "@std/assert";
 *
 * const root = new MemoryRegion({ name: "root", size: 2n ** 64n });
 * const ram = new RamRegion({ name: "ram", size: 0x1000n });
 * root.addSubregion(0n, ram);
 * using space = new AddressSpace({ name: "memory", root });
 * const heard: string[] = [];
 * space.addListener({
 *   regionAdd: (section) => heard.push(`add ${section.range.start}`),
 *   regionDel: (section) => heard.push(`del ${section.range.start}`),
 * });
 * transaction(() => {
 *   root.removeSubregion(ram);
 *   root.addSubregion(0x5000n, ram);
 * });
 * assertEquals(heard, ["add 0", "del 0", "add 20480"]);
 * ```
 */
export function transaction<T>(fn: () => T): T {
  checkIdle("change the memory map");
  const mark = journal.length;
  depth++;
  let result: T;
  try {
    result = fn();
    if (isPromise(result)) throw new TypeError("Cannot run a transaction: its function is asynchronous");
  } catch (error) {
    undoTo(mark);
    if (--depth === 0) {
      altered.clear();
      if (born.size > 0) settle(); // spaces made meanwhile stay, and have seen nothing yet
    }
    throw error;
  }
  if (--depth === 0) settle();
  return result;
}

function isPromise(value: unknown): boolean {
  return typeof value === "object" && value !== null && typeof (value as { then?: unknown }).then === "function";
}

function undoTo(mark: number): void {
  while (journal.length > mark) journal.pop()?.();
}

/** Ends the outermost transaction: works out what each space shows now, and tells. */
function settle(): void {
  const updates: SpaceUpdate[] = [];
  for (const space of touched()) {
    const { view } = spaceState(space);
    const next = render(space);
    const update = { space, old: view, next, gone: missingFrom(view, next), come: missingFrom(next, view) };
    if (update.gone.length > 0 || update.come.length > 0) updates.push(update);
  }
  altered.clear();
  born.clear();
  try {
    whileTelling(() => new Delivery(updates).deliver());
  } catch (error) {
    if (!(error instanceof Undone)) throw error;
    undoTo(0);
    throw error.reason;
  } finally {
    journal.length = 0;
  }
}

/** Every space that may show an altered region, in the order of their creation. */
function touched(): AddressSpace[] {
  const spaces = new Set<AddressSpace>(born);
  const seen = new Set<MemoryRegion>();
  const pending = [...altered];
  for (let region = pending.pop(); region !== undefined; region = pending.pop()) {
    if (seen.has(region)) continue;
    seen.add(region);
    const state = regionState(region);
    for (const space of state.spaces) spaces.add(space);
    if (state.parent !== undefined) pending.push(state.parent);
    for (const reference of state.aliases) {
      const alias = reference.deref();
      if (alias === undefined) state.aliases.delete(reference);
      else pending.push(alias);
    }
  }
  return [...spaces].filter((space) => !spaceState(space).disposed)
    .sort((a, b) => spaceState(a).order - spaceState(b).order);
}
