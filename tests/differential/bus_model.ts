// A plain model of a bus with two windows, written from the facts and not from the code: what a device must reach.
// Small on purpose: every page of the bus is looked at after every step.

/** One page of 4 KiB. */
export const PAGE = 0x1000n;

/** Where a window of the model lies, in pages. */
export interface ModelWindow {
  readonly first: number;
  readonly pages: number;
}

/** What a device reaches: a guest page and bits 0 (read) and 1 (write). */
export interface Reached {
  readonly gpa: bigint;
  readonly perm: number;
}

/** Two windows; the second hides the first where they overlap. */
export class BusModel {
  readonly windows: (ModelWindow | undefined)[] = [undefined, undefined];
  #tables: bigint[][] = [[], []];

  /** Adds a window whose entries are 0. */
  open(window: number, where: ModelWindow): void {
    this.windows[window] = where;
    this.#tables[window] = new Array<bigint>(where.pages).fill(0n);
  }

  /** Removes a window. */
  close(window: number): void {
    this.windows[window] = undefined;
    this.#tables[window] = [];
  }

  /** The raw entries of a window. */
  entries(window: number): readonly bigint[] {
    return this.#tables[window] ?? [];
  }

  /** Stores a value in a run of entries; what runs off the end is dropped. */
  store(window: number, first: number, values: readonly bigint[]): void {
    const table = this.#tables[window] ?? [];
    for (const [at, value] of values.entries()) {
      if (first + at < table.length) table[first + at] = value;
    }
  }

  /** What a device reaches on a page of the bus. */
  reached(busPage: number): Reached | undefined {
    for (const window of [1, 0]) {
      const where = this.windows[window];
      const index = busPage - (where?.first ?? 0);
      if (where === undefined || index < 0 || index >= where.pages) continue;
      const tce = this.entries(window)[index] ?? 0n;
      const perm = Number(tce & 3n);
      // No fall-through: a window without a mapping hides the one below all the same.
      return perm === 0 ? undefined : { gpa: tce & ~(PAGE - 1n), perm };
    }
    return undefined;
  }
}
