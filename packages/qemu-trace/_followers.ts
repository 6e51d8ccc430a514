/** Tells whoever follows a machine's tables of what a log changes. */

import { ExtentView } from "@giommu/core/wasm";
import { memory, type RawLogMachine } from "@giommu/core/wasm/log";
import type { RebuiltTable } from "./rebuilt_table.ts";
import type { MappedRange, TableFollower } from "./table_change.ts";

const view = new ExtentView(memory);

/** A follower, and the tables that it was shown. */
interface Following {
  readonly follower: TableFollower;
  serials: ReadonlySet<number>;
  /** Tables that it was shown as they were after a line, and the line: what that line stored was shown with them. */
  shown: { readonly line: number; readonly liobns: readonly number[] };
}

/** All who follow the tables of one machine. */
export class Followers {
  readonly #tables: () => readonly RebuiltTable[];
  readonly #list = new Set<Following>();

  /** Begins with nobody; `tables` gives the machine's tables as they are. */
  constructor(tables: () => readonly RebuiltTable[]) {
    this.#tables = tables;
  }

  /** Whether anybody follows. */
  get any(): boolean {
    return this.#list.size > 0;
  }

  /** Joins; returns what leaves again. */
  add(follower: TableFollower): () => void {
    const following: Following = {
      follower,
      serials: new Set(this.#tables().map(({ serial }) => serial)),
      shown: { line: 0, liobns: [] },
    };
    this.#list.add(following);
    return () => this.#list.delete(following);
  }

  /** Everybody leaves. */
  clear(): void {
    this.#list.clear();
  }

  /** A line changed a table. */
  changed(raw: RawLogMachine, line: number): void {
    const liobn = raw.changedLiobn;
    const change = {
      line,
      liobn,
      unmaps: () => rangesAt(raw.unmapsPointer, raw.unmapsLength),
      maps: () => rangesAt(raw.mapsPointer, raw.mapsLength),
    };
    for (const { follower, shown } of [...this.#list]) {
      if (shown.line !== line || !shown.liobns.includes(liobn)) follower.changed(change);
    }
  }

  /** Tables of some owner came, went or were replaced; or, if `certain`, contents changed otherwise than by a call. */
  replaced(line: number, certain = false): void {
    const tables = this.#tables();
    for (const following of [...this.#list]) {
      const { serials, shown } = following;
      const added = tables.filter(({ serial }) => !serials.has(serial));
      if (!certain && added.length === 0 && tables.length === serials.size) continue;
      following.serials = new Set(tables.map(({ serial }) => serial));
      const before = shown.line === line ? shown.liobns : [];
      following.shown = { line, liobns: [...before, ...added.map(({ liobn }) => liobn)] };
      following.follower.replaced(line);
    }
  }
}

function* rangesAt(pointer: number, length: number): Generator<MappedRange, void, void> {
  for (let i = 0; i < length; i++) {
    view.at(pointer, i);
    yield mappedRange(view);
  }
}

/** Copies the extent that a cursor stands on. */
export function mappedRange({ iova, last, pages, target, perm }: ExtentView): MappedRange {
  return { iova: { start: iova, last }, pages, target, perm };
}
