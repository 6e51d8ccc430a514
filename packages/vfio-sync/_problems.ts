import type { IommuError } from "@giommu/core";

/** How many problems are kept: enough to see a pattern, little enough that a guest cannot fill memory with them. */
const KEPT = 100;

/** What could not be mapped and refused nothing: the newest of it, and how much there was in all. */
export class Problems {
  readonly #kept: IommuError[] = [];
  #total = 0;
  /** Those of the change under way, which may yet be undone. */
  #open: IommuError[] | undefined;

  /** The newest ones, the oldest of them first. */
  get kept(): readonly IommuError[] {
    return [...this.#kept];
  }

  /** How many there were. */
  get total(): number {
    return this.#total;
  }

  /** Adds one. */
  add(problem: IommuError): void {
    if (this.#open !== undefined && this.#open.length < KEPT) this.#open.push(problem);
    else this.#keep(problem);
  }

  /** A change begins. */
  begin(): void {
    this.#open = [];
  }

  /** The change is complete. */
  commit(): void {
    const open = this.#open ?? [];
    this.#open = undefined;
    for (const problem of open) this.#keep(problem);
  }

  /** The change is undone, and its problems with it. */
  rollback(): void {
    this.#open = undefined;
  }

  #keep(problem: IommuError): void {
    this.#total++;
    if (this.#kept.push(problem) > KEPT) this.#kept.shift();
  }
}
