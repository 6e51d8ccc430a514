import { hex } from "@giommu/core";
import type { GuestMemory } from "@giommu/memory-api";
import type { Answer } from "./_answer.ts";
import { type Calls, UNWRITTEN } from "./_calls.ts";
import type { RecordedAction, RecordedRtasCall } from "./recorded_operation.ts";

/** The answer of what answers nothing. */
export const NOTHING: Answer = new Map();

/** Does what a guest does by its calls and in its memory; `undefined` for anything else, and for unknown calls. */
export function guestAnswer(action: RecordedAction, calls: Calls, ram: GuestMemory): Answer | undefined {
  switch (action.kind) {
    case "hcall": {
      const after = calls.hcall(action.opcode, action.args);
      return after && registersAnswer(after.ret, after.registers, action.args);
    }
    case "rtas":
      return rtas(action, calls);
    case "poke":
      return poke(ram, action.address, action.words);
    case "sequence": {
      const { address, count: length, start, step } = action;
      return poke(ram, address, Array.from({ length }, (_, at) => BigInt.asUintN(64, start + BigInt(at) * step)));
    }
    case "peek":
      return peek(ram, action.address, action.count);
    default:
      return undefined;
  }
}

/** r3 as a signed number, r4 to r7, and any other register that is not as before. */
export function registersAnswer(ret: bigint | number, registers: readonly bigint[], args: readonly bigint[]): Answer {
  const answer = new Map<string, unknown>([["ret", Number(ret)], ["out", registers.slice(0, 4).map(hex)]]);
  for (const [at, register] of registers.entries()) {
    if (at >= 4 && register !== (args[at] ?? 0n)) answer.set(`r${4 + at}`, hex(register));
  }
  return answer;
}

function rtas({ token, args, nret }: RecordedRtasCall, calls: Calls): Answer | undefined {
  const after = calls.rtas(token, args, nret);
  if (after === undefined) return undefined;
  const { ret, words } = after;
  const [first = UNWRITTEN] = words;
  const answer = new Map<string, unknown>([
    ["nargs", args.length],
    ["h_ret", Number(ret)],
    ["rets", words.slice(0, nret)],
    ["status", first === UNWRITTEN ? null : first | 0],
  ]);
  const beyond = [...words.entries()].filter(([at, word]) => at >= nret && word !== UNWRITTEN);
  if (beyond.length > 0) answer.set("beyond", Object.fromEntries(beyond));
  return answer;
}

function poke(ram: GuestMemory, address: bigint, words: readonly bigint[]): Answer {
  const view = new DataView(new ArrayBuffer(8 * words.length));
  words.forEach((word, at) => view.setBigUint64(8 * at, word));
  // A recording's guest stores in RAM only, so that a store elsewhere has no answer to be compared.
  return ram.write(address, new Uint8Array(view.buffer)) ? NOTHING : new Map([["stored", false]]);
}

function peek(ram: GuestMemory, address: bigint, count: number): Answer {
  const bytes = new Uint8Array(8 * count);
  if (!ram.read(address, bytes)) return NOTHING;
  const view = new DataView(bytes.buffer);
  return new Map([["data", Array.from({ length: count }, (_, at) => hex(view.getBigUint64(8 * at)))]]);
}
