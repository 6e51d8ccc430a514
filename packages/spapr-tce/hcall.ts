import type { IommuError } from "@giommu/core";

/**
 * What a hypercall answers in r3.
 *
 * The values are PAPR's. QEMU answers {@linkcode Hcall.PARAMETER} to every mistake of the guest in these calls;
 * `NOT_ENOUGH_RESOURCES` is what a guest gets when the host refuses, as it is the only code that Linux's TCE paths take
 * for a failure.
 *
 * @example
 * ```ts
 * import { Hcall, TceTable } from "@giommu/spapr-tce";
 * import { assertEquals } from "@std/assert";
 *
 * using table = new TceTable({ liobn: 0x8000_0000, entries: 16 });
 * assertEquals(table.putTce(0x10_000n, 3n).ret, Hcall.PARAMETER); // just beyond the window
 * ```
 */
export const Hcall = {
  /** Done. */
  SUCCESS: 0,
  /** The hardware failed: an old mapping could not be removed. */
  HARDWARE: -1,
  /** There is no such call. */
  FUNCTION: -2,
  /** A parameter is wrong. */
  PARAMETER: -4,
  /** A resource ran out, or the host refused. */
  NOT_ENOUGH_RESOURCES: -44,
} as const;

/** One of the values of {@linkcode Hcall}. */
export type Hcall = typeof Hcall[keyof typeof Hcall];

/**
 * The opcodes of the hypercalls that a {@linkcode SpaprMachine} answers, in r3.
 *
 * The numbers are PAPR's; {@linkcode HcallOpcode.RTAS} is KVM's way to RTAS (QEMU, include/hw/ppc/spapr.h).
 *
 * @example
 * ```ts
 * import { Hcall, HcallOpcode, SpaprMachine } from "@giommu/spapr-tce";
 * import { assertEquals } from "@std/assert";
 *
 * using machine = new SpaprMachine({ ram: 0x10000n, phbs: [{ index: 0 }] });
 * assertEquals(machine.hcall(HcallOpcode.PUT_TCE, [0x8000_0000n, 0x3000n, 0x5003n]).ret, Hcall.SUCCESS);
 * assertEquals(machine.hcall(HcallOpcode.GET_TCE, [0x8000_0000n, 0x3000n]).value, 0x5003n);
 * ```
 */
export const HcallOpcode = {
  /** H_GET_TCE: LIOBN, bus address. */
  GET_TCE: 0x1cn,
  /** H_PUT_TCE: LIOBN, bus address, entry. */
  PUT_TCE: 0x20n,
  /** H_STUFF_TCE: LIOBN, bus address, entry, number of entries. */
  STUFF_TCE: 0x138n,
  /** H_PUT_TCE_INDIRECT: LIOBN, bus address, address of the list, number of entries. */
  PUT_TCE_INDIRECT: 0x13cn,
  /** H_RTAS: address of a block in guest memory. */
  RTAS: 0xf000n,
} as const;

/** One of the values of {@linkcode HcallOpcode}. */
export type HcallOpcode = typeof HcallOpcode[keyof typeof HcallOpcode];

/** How a hypercall ended. What a guest does wrong is in `ret`, never an exception. */
export interface HcallResult {
  /** The return code, r3. */
  readonly ret: Hcall;
  /** What a successful H_GET_TCE puts in r4. */
  readonly value?: bigint;
  /**
   * How many entries an H_PUT_TCE_INDIRECT or an H_STUFF_TCE stored, from the one that it named. With
   * {@linkcode Hcall.PARAMETER} some may be: a call that runs off the end keeps what it stored before.
   */
  readonly stored?: number;
  /** Why, where not the guest but the host or a limit refused. For people and logs; the guest sees `ret` only. */
  readonly error?: IommuError;
}

/**
 * What a guest's call answers when the host refuses to map what the guest stored.
 *
 * - `"refuse"`: the call has no effect and answers {@linkcode Hcall.NOT_ENOUGH_RESOURCES}.
 * - `"qemu"`: the entries are kept, the host lacks what it refused, and the guest gets {@linkcode Hcall.SUCCESS}. This is
 *   what QEMU does, for comparison with it.
 */
export type OnHostFailure = "refuse" | "qemu";
