import type { AddressRange, Gpa } from "@giommu/core";
import type { IommuPerm } from "@giommu/notifiers";
import type { EntryRun } from "./rebuilt_table.ts";

/** Neighbouring pages whose targets adjoin, with the same permission. */
export interface MappedRange {
  /** The bus addresses, both ends included. */
  readonly iova: AddressRange;
  /** How many pages of the table. */
  readonly pages: number;
  /** Where the first page points to. */
  readonly target: Gpa;
  /** What a device may do there. */
  readonly perm: IommuPerm;
}

/** A run of entries of a table that map neighbouring pages. */
export interface MappedRun extends EntryRun, MappedRange {}

/** What one line of a log changed in a table. An entry that was changed in place is in both lists. */
export interface TableChange {
  /** The line, from 1. */
  readonly line: number;
  /** The table. */
  readonly liobn: number;
  /** The mappings that vanished, were overwritten, or became unknown, as they were: read from the core one by one. */
  unmaps(): Generator<MappedRange, void, void>;
  /** The mappings that appeared, or became known. */
  maps(): Generator<MappedRange, void, void>;
}

/** Hears of all changes of a machine's tables, in the log's order; see `RebuiltMachine.follow`. */
export interface TableFollower {
  /**
   * A line changed entries of a table.
   *
   * @param change What it did. Of use until this returns.
   */
  changed(change: TableChange): void;
  /**
   * Tables came, went, were replaced by others (whose serials are different) or, where a bridge refused a change, may differ
   * from what was told: look at `RebuiltMachine.tables` and their contents. What the same line stored in a table that is new
   * is among these contents, and not told again.
   *
   * @param line The last line that was read. The line that made the difference may be an earlier one, if only a later one
   * shows what it meant.
   */
  replaced(line: number): void;
}
