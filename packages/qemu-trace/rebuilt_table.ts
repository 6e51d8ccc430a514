import type { Iova } from "@giommu/core";

/** The geometry of a table, for those whose geometry a log does not tell. */
export interface WindowGeometry {
  /** The table. */
  readonly liobn: number;
  /** How many bytes; rounded down to whole pages. */
  readonly size: bigint;
  /** The page size as a power of two; 12 (4 KiB) unless given. */
  readonly pageShift?: number;
  /** The bus address of its first page; 0 unless given. */
  readonly busOffset?: Iova;
}

/**
 * Where a table's geometry is known from.
 *
 * - `assumed`: the input shows the table in use, never how it was made: QEMU's default is assumed.
 * - `default`: the input shows that the table was made, and where and how large only if the machine's options are not the
 *   default.
 * - `given`: the caller says it.
 * - `told`: the input says it.
 */
export type GeometrySource = "assumed" | "default" | "given" | "told";

/** A rebuilt table, as far as the input tells it. */
export interface RebuiltTable {
  /** Its LIOBN. */
  readonly liobn: number;
  /** The bus address of entry 0. */
  readonly busOffset: Iova;
  /** The page size of an entry, as a power of two. */
  readonly pageShift: number;
  /** How many entries it has. */
  readonly entries: number;
  /** Known entries with a permission. */
  readonly mapped: number;
  /** Entries whose content the input does not tell; never among `mapped`. */
  readonly unknown: number;
  /** Entries in use: `mapped`, and unknown ones that a call stored whose last entry is mapped. */
  readonly inUse: number;
  /** Where its geometry is known from. */
  readonly geometry: GeometrySource;
  /** A number that no other table of the machine has: where a table is replaced by a new one, that has another. */
  readonly serial: number;
}

/** A run of neighbouring entries of a table. */
export interface EntryRun {
  /** The first entry, from 0. */
  readonly first: number;
  /** How many. */
  readonly pages: number;
}
