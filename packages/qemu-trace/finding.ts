import type { Gpa, Iova } from "@giommu/core";
import type { IommuPerm } from "@giommu/notifiers";

/** How often a log and the tables rebuilt from it said the same of an entry. */
export interface Agreement {
  /** Both said the same. */
  readonly agreed: number;
  /** They did not: see {@linkcode Disagreement}. */
  readonly disagreed: number;
  /** The entry was unknown, and the log's answer made it known. */
  readonly learned: number;
}

/** What an entry says. */
export interface TableAnswer {
  /** The page it points to; all bits but the permission where a guest read it. */
  readonly target: Gpa;
  /** What a device may do. */
  readonly perm: IommuPerm;
  /** The page's mask as QEMU prints it, cut to 32 bits; all ones where there is no entry. */
  readonly mask: number;
}

/** A line that contradicts a rebuilt table. */
export interface Disagreement {
  /** The line, from 1. */
  readonly line: number;
  /** The table. */
  readonly liobn: number;
  /** The bus address. */
  readonly iova: Iova;
  /** `xlate`: QEMU translated the address; `get`: a guest read the entry. */
  readonly by: "xlate" | "get";
  /** What the lines before it make of the table. */
  readonly rebuilt: TableAnswer;
  /** What the line says. */
  readonly logged: TableAnswer;
}

/** Why a line could not be taken as it stands. */
export const TroubleKind = {
  /** A call succeeded outside its table: the window is not where it is thought to be. `windows` may say where it is. */
  OUTSIDE_WINDOW: "outside-window",
  /** A call succeeded on a table that is not there. */
  NO_TABLE: "no-table",
  /** The line says another geometry than the caller or an earlier line did. */
  OTHER_GEOMETRY: "other-geometry",
  /** The line says a geometry that no table can have. */
  BAD_GEOMETRY: "bad-geometry",
  /** More is stored, or known of, than memory is given for: some of it was given up and is unknown. */
  TOO_MUCH: "too-much",
} as const;

/** One of {@linkcode TroubleKind}. */
export type TroubleKind = typeof TroubleKind[keyof typeof TroubleKind];

/** A line that could not be taken as it stands. */
export interface LogProblem {
  /** Why. */
  readonly kind: TroubleKind;
  /** The line, from 1. */
  readonly line: number;
  /** The LIOBN as the line says it: guests may use any 64 bits. */
  readonly liobn: bigint;
  /** The bus address that it is about. */
  readonly iova: Iova;
}

/** What QEMU replayed at a hotplug, beside what the log tells of the tables then; in pages of the tables. */
export interface ReplayComparison {
  /** Pages that QEMU told the newcomer of. */
  readonly replayed: number;
  /** Of these, pages that are known to be mapped. */
  readonly agreed: number;
  /** Of these, pages that are known not to be mapped. */
  readonly missing: number;
  /** Pages that are known to be mapped and that QEMU did not tell of. */
  readonly extra: number;
  /** Pages that QEMU told of and whose entries are unknown. */
  readonly unknown: number;
}

/** A hotplug of a VFIO device, as a log shows it. */
export interface LogHotplug {
  /** The line with which it begins: the first `region_add_iommu` while no container is attached. */
  readonly line: number;
  /** The tables that the container got. */
  readonly liobns: readonly number[];
  /** What QEMU replayed; there once the replay has ended. */
  readonly comparison?: ReplayComparison;
  /** Where it ended: the line of the container's `region_del_iommu`, and how many events the log has before it. */
  readonly unplug?: { readonly line: number; readonly events: number };
}

/** The most pages that the tables of a PCI host bridge had in use together. */
export interface UsagePeak {
  /** The bridge's index. */
  readonly index: number;
  /**
   * Pages in use now: those that are mapped, and those that a call stored whose last page is mapped and whose values the
   * log does not show.
   */
  readonly inUse: number;
  /** The most. */
  readonly peak: number;
  /** The last line that made them so many; 0 if there never were any. */
  readonly line: number;
}

/** How a table of a migration stream compares with what a log tells of it. */
export interface StateComparison {
  /** The table. */
  readonly liobn: number;
  /** How many entries it has in the stream. */
  readonly entries: number;
  /** Entries that are the same: in page and permission where no more is known, in all bits otherwise. */
  readonly agreed: number;
  /** Entries that are not. */
  readonly differing: number;
  /** Entries that the log does not tell. */
  readonly unknown: number;
  /** The first entries that differ. */
  readonly differences: readonly StateDifference[];
}

/** An entry that a log and a migration stream tell differently. */
export interface StateDifference {
  /** Its bus address. */
  readonly iova: Iova;
  /** What the log tells; if that was learned from a translation, only page and permission count. */
  readonly log: bigint;
  /** What the stream holds. */
  readonly stream: bigint;
}
