import type { Proof } from "./finding.ts";

/** What happened at an address. */
export type HistoryEvent =
  /** The guest wrote its entry; `entry` is absent where the log does not tell it. */
  | { readonly what: "guest"; readonly call: string; readonly liobn?: bigint; readonly entry?: bigint }
  /** A line showed what the entry is. */
  | { readonly what: "learned"; readonly entry: bigint }
  /** QEMU told its listeners that something is mapped there, or not any more. */
  | { readonly what: "told"; readonly map: boolean; readonly start: bigint; readonly last: bigint }
  /** The host mapped it; `paddr` is absent where the kernel's log does not tell it. */
  | { readonly what: "host-mapped"; readonly paddr?: bigint }
  /** The host refused to map it. */
  | { readonly what: "host-refused"; readonly errno: number | null; readonly proof: Proof }
  /** The host unmapped it. */
  | { readonly what: "host-unmapped"; readonly bytes: bigint }
  /** There was nothing to unmap. */
  | { readonly what: "nothing-to-unmap" }
  /** The host kept it although it was to be unmapped. */
  | { readonly what: "host-kept"; readonly errno: number | null; readonly proof: Proof }
  /** A container got the window, or lost it. */
  | { readonly what: "attached" | "detached"; readonly window: bigint | string }
  /** A device was refused. */
  | { readonly what: "fault"; readonly flags: bigint };

/** One moment of the history of an address. */
export type HistoryMoment = HistoryEvent & {
  /** The line of QEMU's log, or its newest line then. */
  readonly line: number;
  /** The kernel's line, where there is one. */
  readonly kernel?: number;
  /** The line on standard error, where there is one. */
  readonly stderr?: number;
};

/** The history of one address. */
export interface AddressHistory {
  /** The address. */
  readonly iova: bigint;
  /** How often something happened there. */
  readonly count: number;
  /** The first thousand times. */
  readonly moments: readonly HistoryMoment[];
}
