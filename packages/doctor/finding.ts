import type { AddressRange } from "@giommu/core";
import type { GuestCall } from "./guest_call.ts";

/** How much a finding matters: a device may reach wrong memory or none; something is odd; something is slower than it could be. */
export const Severity = { ERROR: "error", WARNING: "warning", COST: "cost" } as const;
/** One of {@linkcode Severity}. */
export type Severity = typeof Severity[keyof typeof Severity];

/**
 * The kinds of finding, in the order in which they are reported: what lets a device reach wrong memory first. Stable: an id
 * never changes its meaning. docs/doctor.md says of each what it means and what it needs.
 */
export const FINDING_IDS = [
  "stale-mapping",
  "wrong-target",
  "mapping-left-behind",
  "mapping-unexplained",
  "wrong-permission",
  "mapping-limit",
  "window-outside-host",
  "page-too-fine",
  "mapping-missing",
  "hotplug-incomplete",
  "dma-fault",
  "change-unproved",
  "target-not-memory",
  "failure-unmatched",
  "dma-fault-unmapped",
  "mapping-limit-near",
  "permission-widened",
  "maps-adjoin",
  "unmap-without-effect",
  "replay-of-empty-window",
] as const;
/** One of {@linkcode FINDING_IDS}. */
export type FindingId = typeof FINDING_IDS[number];

/** The log that a line number is of: QEMU's, the kernel's, or QEMU's standard error. */
export type LogName = "log" | "kernel" | "stderr";

/** What a finding rests on: the kernel's log, what QEMU printed, QEMU's log, or the kernel's rules applied to QEMU's calls. */
export type Proof = "kernel" | "stderr" | "log" | "derived";

/** Where pages point to. Pages of the guest are its physical addresses, with bit 0 for may be read and bit 1 for may be written. */
export interface FindingTargets {
  /** The bus address that the others are about: the first page. */
  readonly iova: bigint;
  /** The guest's entry before. */
  readonly before?: bigint;
  /** The guest's entry now. */
  readonly now?: bigint;
  /** The host's physical page. */
  readonly host?: bigint;
  /** The other bus address of the same page of the guest. */
  readonly otherIova?: bigint;
  /** The host's physical page there. */
  readonly otherHost?: bigint;
  /** Where QEMU has the memory that it wanted to map. */
  readonly memory?: bigint;
}

/** One stretch of a finding, between a hotplug and an unplug. */
export interface FindingRound {
  /** The number of the hotplug in the log, from 1; 0 before the first. */
  readonly hotplug: number;
  /** The line where it begins. */
  readonly first: number;
  /** The last line where it was so. */
  readonly last: number;
  /** Operations. */
  readonly count: number;
}

/** One line that shows a finding. */
export interface Evidence {
  /** The log. */
  readonly source: LogName;
  /** The line, from 1. */
  readonly line: number;
  /** What it shows. */
  readonly what: string;
}

/** Something that is wrong, odd or slow: everything of one kind and one cause together. */
export interface Finding {
  /** What it is. */
  readonly id: FindingId;
  /** How much it matters. */
  readonly severity: Severity;
  /** What it is, in one line. */
  readonly title: string;
  /** The log that `first` and `last` are lines of: QEMU's, unless only another one shows it. */
  readonly source: LogName;
  /** The line where it begins. */
  readonly first: number;
  /** The last line where it was so. */
  readonly last: number;
  /** Whether it ended there; otherwise it was so to the log's end. */
  readonly ended: boolean;
  /** From the first bus address to the last. */
  readonly iova: AddressRange;
  /** The same, as it lies there: up to 64 ranges. */
  readonly ranges: readonly AddressRange[];
  /** Pages, each counted once. */
  readonly pages: number;
  /** The size of such a page. */
  readonly pageSize: bigint;
  /** The window: a LIOBN, or the name of another region; null where it concerns all. */
  readonly window: bigint | string | null;
  /** The error number with which the host refused, positive, where it is known. */
  readonly errno: number | null;
  /** Where the first page points to. */
  readonly targets: FindingTargets;
  /** What made it so. */
  readonly cause: string;
  /** The guest's call that the first of it is from; null where it was a replay. */
  readonly call: GuestCall | null;
  /** How many calls. */
  readonly calls: number;
  /** Why it happens. */
  readonly why: string;
  /** What to do. */
  readonly remedy: string;
  /** What it rests on. */
  readonly proof: Proof;
  /** Operations. */
  readonly count: number;
  /** Those of them that were part of a replay. */
  readonly replayed: number;
  /** Host calls that could have been saved. */
  readonly saved: number;
  /** Hotplug by hotplug. */
  readonly rounds: readonly FindingRound[];
  /** Lines that show it. */
  readonly evidence: readonly Evidence[];
}
