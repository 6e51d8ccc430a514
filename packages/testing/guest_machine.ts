import type { GuestMemory } from "@giommu/memory-api";
import { RegisterCalls } from "./_calls.ts";
import { guestAnswer, NOTHING } from "./_guest_actions.ts";
import type { RecordedAction } from "./recorded_operation.ts";

/**
 * What a pseries guest sees of any machine: its memory and its calls. A `SpaprMachine` is one, a {@linkcode ModelMachine} too, and
 * a VMM of your own is one with three members.
 */
export interface GuestMachine {
  /** The guest's RAM, from address 0; at least 64 KiB, as RTAS calls pass their words through it. */
  readonly ram: GuestMemory;
  /**
   * Makes a hypercall as a processor does.
   *
   * @param registers r3 to r12, ten of them: the opcode and its arguments; afterwards the return code, and what else the
   * call answers. H_RTAS (0xf000) finds its block at the address in r4.
   * @returns Whether the machine knows the call; if not, nothing was changed.
   */
  hcallRegisters(registers: BigUint64Array): boolean;
  /** Resets the machine, as a reboot does: default windows, empty tables, no bypass. RAM stays. */
  reset(): void;
}

/** What a guest sees of one action, by the names that recordings use; 64-bit numbers are hexadecimal text. */
export type GuestAnswer = Readonly<Record<string, unknown>>;

/**
 * Does one action of a guest on any machine, in registers and memory as a processor does.
 *
 * @param machine The machine.
 * @param action What the guest does: from a recording, or from {@linkcode randomGuest}.
 * @returns What the guest sees afterwards, `{}` of what answers nothing: two machines that are alike answer alike. `undefined` if the
 * action is none of a guest's alone (a device's DMA, a call of the logical LAN) or the machine does not know it.
 * @throws Whatever the machine throws.
 *
 * @example
 * ```ts
 * import { SpaprMachine } from "@giommu/spapr-tce";
 * import { performAction } from "@giommu/testing";
 * import { assertEquals } from "@std/assert";
 *
 * using machine = new SpaprMachine({ ram: 0x1_0000n, phbs: [{ index: 0 }] });
 * const put = { kind: "hcall", opcode: 0x20n, args: [0x8000_0000n, 0x3000n, 0x5003n] } as const;
 * assertEquals(performAction(machine, put), { ret: 0, out: ["0x80000000", "0x3000", "0x5003", "0x0"] });
 * ```
 */
export function performAction(machine: GuestMachine, action: RecordedAction): GuestAnswer | undefined {
  if (action.kind === "reboot") {
    machine.reset();
    return Object.fromEntries(NOTHING);
  }
  const answer = guestAnswer(action, new RegisterCalls(machine), machine.ram);
  return answer && Object.fromEntries(answer);
}
