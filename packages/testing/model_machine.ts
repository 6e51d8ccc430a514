import type { GuestMemory } from "@giommu/memory-api";
import { HcallOpcode } from "@giommu/spapr-tce";
import type { GuestMachine } from "./guest_machine.ts";
import type { SpaprModel } from "./spapr_model.ts";

/** The words before the arguments of an RTAS block: token, number of arguments, number of answers. */
const HEADER = 3;

/** The most arguments of a block that is read: more than any call takes. */
const MAX_ARGS = 64;

/**
 * A {@linkcode SpaprModel} with memory, called in registers: the plain side of a comparison with a machine of your own.
 *
 * @example A guest on a machine and on the model
 * ```ts
 * import { SpaprMachine } from "@giommu/spapr-tce";
 * import { ModelMachine, performAction, randomGuest, SparseGuestMemory, SpaprModel } from "@giommu/testing";
 * import { assertEquals } from "@std/assert";
 *
 * const phbs = [{ index: 0 }];
 * using machine = new SpaprMachine({ ram: 0x10_0000n, phbs });
 * const model = new ModelMachine(new SpaprModel({ phbs }), new SparseGuestMemory(0x10_0000n));
 * for (const action of randomGuest({ seed: 1, phbs, actions: 200 })) {
 *   assertEquals(performAction(machine, action), performAction(model, action));
 * }
 * ```
 */
export class ModelMachine implements GuestMachine {
  /** What its devices reach and what its tables hold can be asked here. */
  readonly model: SpaprModel;
  /** The guest's RAM. Borrowed. */
  readonly ram: GuestMemory;

  /**
   * Puts memory to a model.
   *
   * @param model The model. Borrowed.
   * @param ram The guest's RAM.
   */
  constructor(model: SpaprModel, ram: GuestMemory) {
    this.model = model;
    this.ram = ram;
  }

  /**
   * Makes a hypercall; see {@linkcode GuestMachine}.
   *
   * @param registers r3 to r12.
   * @returns Whether it is one of the TCE calls or H_RTAS.
   */
  hcallRegisters(registers: BigUint64Array): boolean {
    const [opcode = 0n, ...args] = registers;
    if (!Object.values<bigint>(HcallOpcode).includes(opcode)) return false;
    if (opcode === HcallOpcode.RTAS) {
      registers[0] = BigInt.asUintN(64, BigInt(this.#rtas(args[0] ?? 0n)));
      return true;
    }
    const { ret, value } = this.model.hcall(opcode, args, this.ram);
    registers[0] = BigInt.asUintN(64, BigInt(ret));
    if (value !== undefined) registers[1] = value;
    return true;
  }

  /** Resets the model; memory is left alone. */
  reset(): void {
    this.model.reset();
  }

  /** A block of big-endian words; the top four bits of its address mean nothing, and what is not RAM reads as 0. */
  #rtas(address: bigint): number {
    const at = address & 0x0fff_ffff_ffff_ffffn;
    const [token = 0, nargs = 0, nret = 0] = this.#words(at, HEADER);
    const args = this.#words(at + 4n * BigInt(HEADER), Math.min(nargs, MAX_ARGS));
    const { ret, rets } = this.model.rtas(token, args, nret);
    const start = at + 4n * BigInt(HEADER + nargs);
    for (const [n, word] of rets.entries()) {
      const bytes = new DataView(new ArrayBuffer(4));
      bytes.setUint32(0, word);
      this.ram.write(start + 4n * BigInt(n), new Uint8Array(bytes.buffer));
    }
    return ret;
  }

  #words(address: bigint, count: number): number[] {
    return Array.from({ length: count }, (_, n) => {
      const bytes = new Uint8Array(4);
      return this.ram.read(address + 4n * BigInt(n), bytes) ? new DataView(bytes.buffer).getUint32(0) : 0;
    });
  }
}
