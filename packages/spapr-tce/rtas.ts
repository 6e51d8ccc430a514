import type { IommuError } from "@giommu/core";
import type { Hcall } from "./hcall.ts";

/**
 * The RTAS calls that a {@linkcode SpaprMachine} answers, by their names in the device tree, and their tokens.
 *
 * The names are PAPR's, the tokens those that QEMU 10.0 gives out (include/hw/ppc/spapr.h).
 *
 * @example
 * ```ts
 * import { RTAS_TOKENS } from "@giommu/spapr-tce";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(RTAS_TOKENS["ibm,create-pe-dma-window"], 0x2027);
 * ```
 */
export const RTAS_TOKENS = {
  /** Unit, whether on: a VIO device goes past its table. */
  "ibm,set-tce-bypass": 0x2010,
  /** No arguments: the tables of VIO devices are emptied. */
  "quiesce": 0x2011,
  /** Config address, BUID high and low: what windows there can be. Answers four or five words beside the status. */
  "ibm,query-pe-dma-window": 0x2026,
  /** Config address, BUID high and low, page shift, window shift. Answers LIOBN, bus address high and low. */
  "ibm,create-pe-dma-window": 0x2027,
  /** LIOBN. */
  "ibm,remove-pe-dma-window": 0x2028,
  /** Config address, BUID high and low: only the default window, empty. */
  "ibm,reset-pe-dma-window": 0x2029,
} as const;

/** The name of an RTAS call. */
export type RtasName = keyof typeof RTAS_TOKENS;

/**
 * The status of an RTAS call, the first word that it answers.
 *
 * @example
 * ```ts
 * import { RtasStatus, SpaprMachine } from "@giommu/spapr-tce";
 * import { assertEquals } from "@std/assert";
 *
 * using machine = new SpaprMachine({ ram: 0x10000n, phbs: [{ index: 0 }] });
 * assertEquals(machine.rtas("ibm,remove-pe-dma-window", [0x8000_0001], 1).status, RtasStatus.PARAMETER_ERROR);
 * ```
 */
export const RtasStatus = {
  /** Done. */
  SUCCESS: 0,
  /** The hardware failed: no window is free, it would be too large, or a host refused it. */
  HARDWARE_ERROR: -1,
  /** A parameter is wrong. */
  PARAMETER_ERROR: -3,
} as const;

/** One of the values of {@linkcode RtasStatus}. */
export type RtasStatus = typeof RtasStatus[keyof typeof RtasStatus];

/** How an RTAS call ended. What a guest does wrong is in `status`, never an exception. */
export interface RtasResult {
  /** What H_RTAS puts in r3: success also where the status says otherwise, unless there is no such call. */
  readonly ret: Hcall;
  /** The first of `rets` as a signed number. */
  readonly status: RtasStatus;
  /**
   * The 32-bit words that the call writes after its arguments, the status first: also beyond those that the guest
   * declared. After an error it is the status alone; the others keep what was there.
   */
  readonly rets: readonly number[];
  /** Why, where not the guest but a host refused or failed. For people and logs; the guest sees `status` only. */
  readonly error?: IommuError;
}
