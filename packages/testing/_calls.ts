import { type Hcall, HcallOpcode, type SpaprMachine } from "@giommu/spapr-tce";
import type { GuestMachine } from "./guest_machine.ts";

/** What a word holds that no call has written. */
export const UNWRITTEN = 0xa5a5_a5a5;

/** Words that are looked at beyond those that a guest expects back: more than any call writes. */
const BEYOND = 16;

/** The registers after a call: r3, and r4 and on as far as they are known. */
export interface AfterHcall {
  readonly ret: bigint | number;
  readonly registers: readonly bigint[];
}

/** The result words of an RTAS call, those beyond the declared ones too, and r3. */
export interface AfterRtas {
  readonly ret: bigint | number;
  readonly words: readonly number[];
}

/** How a guest's calls reach the machine. */
export interface Calls {
  /** Makes a hypercall; `undefined` if the machine does not know it. */
  hcall(opcode: bigint, args: readonly bigint[]): AfterHcall | undefined;
  /** Makes an RTAS call; `undefined` if the machine does not know H_RTAS. */
  rtas(token: number, args: readonly number[], nret: number): AfterRtas | undefined;
}

/** As a processor makes them: in registers, and RTAS in a block in guest memory. */
export class RegisterCalls implements Calls {
  readonly #machine: GuestMachine;

  constructor(machine: GuestMachine) {
    this.#machine = machine;
  }

  hcall(opcode: bigint, args: readonly bigint[]): AfterHcall | undefined {
    const registers = new BigUint64Array(10);
    registers.set([opcode, ...args]);
    if (!this.#machine.hcallRegisters(registers)) return undefined;
    const [ret = 0n, ...others] = registers;
    return { ret: BigInt.asIntN(64, ret), registers: others };
  }

  rtas(token: number, args: readonly number[], nret: number): AfterRtas | undefined {
    const block = wordBytes([token, args.length, nret, ...args, ...new Array<number>(nret + BEYOND).fill(UNWRITTEN)]);
    const { ram } = this.#machine;
    // At address 0, and what was there is put back: the guest of the recording knows nothing of this block.
    const before = new Uint8Array(block.length);
    ram.read(0n, before);
    ram.write(0n, block);
    const after = this.hcall(HcallOpcode.RTAS, [0n]);
    ram.read(0n, block);
    ram.write(0n, before);
    return after && { ret: after.ret, words: bytesWords(block).slice(3 + args.length) };
  }
}

/** As a program makes them: by methods. */
export class MethodCalls implements Calls {
  readonly #machine: SpaprMachine;

  constructor(machine: SpaprMachine) {
    this.#machine = machine;
  }

  hcall(opcode: bigint, args: readonly bigint[]): AfterHcall {
    const registers = Array.from({ length: 9 }, (_, at) => args[at] ?? 0n);
    const { ret, value } = this.#call(opcode, registers);
    if (value !== undefined) registers[0] = value;
    return { ret, registers };
  }

  rtas(token: number, args: readonly number[], nret: number): AfterRtas {
    const { ret, rets } = this.#machine.rtas(token, args, nret);
    return { ret, words: Array.from({ length: nret + BEYOND }, (_, at) => rets[at] ?? UNWRITTEN) };
  }

  #call(opcode: bigint, args: readonly bigint[]): { readonly ret: Hcall; readonly value?: bigint } {
    const [liobn = 0n, ioba = 0n, third = 0n, fourth = 0n] = args;
    switch (opcode) {
      case HcallOpcode.GET_TCE:
        return this.#machine.getTce(liobn, ioba);
      case HcallOpcode.PUT_TCE:
        return this.#machine.putTce(liobn, ioba, third);
      case HcallOpcode.STUFF_TCE:
        return this.#machine.stuffTce(liobn, ioba, third, fourth);
      case HcallOpcode.PUT_TCE_INDIRECT:
        return this.#machine.putTceIndirect(liobn, ioba, third, fourth);
      default:
        return this.#machine.hcall(opcode, args);
    }
  }
}

function wordBytes(words: readonly number[]): Uint8Array {
  const view = new DataView(new ArrayBuffer(4 * words.length));
  words.forEach((word, at) => view.setUint32(4 * at, word));
  return new Uint8Array(view.buffer);
}

function bytesWords(bytes: Uint8Array): number[] {
  const view = new DataView(bytes.buffer);
  return Array.from({ length: bytes.length / 4 }, (_, at) => view.getUint32(4 * at));
}
