import { hex } from "@giommu/core";
import { type MachinePhb, SpaprMachine } from "@giommu/spapr-tce";
import type { Answer } from "./_answer.ts";
import { type Calls, MethodCalls, RegisterCalls, UNWRITTEN } from "./_calls.ts";
import { EduDevice } from "./edu_device.ts";
import { LogicalLan } from "./logical_lan.ts";
import type { RecordedDma, RecordedLanCall, RecordedOperation, RecordedRtasCall } from "./recorded_operation.ts";
import type { RecordedMachine } from "./recording.ts";
import { SparseGuestMemory } from "./sparse_guest_memory.ts";

/** How a machine's calls are made. */
export type Via = "registers" | "methods";

const NOTHING: Answer = new Map();

/** One machine on which a recording is played, with the devices that its operations need. */
export class PlayedMachine implements Disposable {
  readonly machine: SpaprMachine;
  readonly #calls: Calls;
  readonly #lans = new Map<bigint, LogicalLan>();
  readonly #edu: { readonly device: EduDevice; readonly phb: MachinePhb } | undefined;

  constructor({ ram, phbs, vios, hasDmaDevice }: RecordedMachine, via: Via) {
    const machine = new SpaprMachine({
      ram: new SparseGuestMemory(ram),
      phbs,
      vios: vios.map((unit) => ({ unit })),
    });
    this.machine = machine;
    this.#calls = via === "registers" ? new RegisterCalls(machine) : new MethodCalls(machine);
    for (const { unit, space } of machine.vios) this.#lans.set(BigInt(unit), new LogicalLan(space));
    const phb = hasDmaDevice ? machine.phb(0) : undefined;
    this.#edu = phb && { device: new EduDevice(phb.space), phb };
  }

  /** Does one operation; `undefined` if this machine has no such one. */
  perform({ action }: RecordedOperation): Answer | undefined {
    switch (action.kind) {
      case "hcall": {
        const after = this.#calls.hcall(action.opcode, action.args);
        return after && registersAnswer(after.ret, after.registers, action.args);
      }
      case "lan":
        return this.#lanCall(action);
      case "rtas":
        return this.#rtas(action);
      case "poke":
        return this.#poke(action.address, action.words);
      case "sequence": {
        const { address, count: length, start, step } = action;
        const words = Array.from({ length }, (_, at) => BigInt.asUintN(64, start + BigInt(at) * step));
        return this.#poke(address, words);
      }
      case "peek":
        return this.#peek(action.address, action.count);
      case "dma":
        return this.#dma(action);
      case "reboot":
        this.machine.reset();
        for (const lan of this.#lans.values()) lan.reset();
        return NOTHING;
      case "unknown":
        return undefined;
    }
  }

  [Symbol.dispose](): void {
    this.machine[Symbol.dispose]();
  }

  #lanCall({ registers, args }: RecordedLanCall): Answer {
    const [unit = 0n, list = 0n, queue = 0n, filters = 0n] = args;
    const lan = this.#lans.get(unit);
    const ret = lan === undefined ? -4 : registers ? lan.register(list, queue, filters) : lan.free();
    return registersAnswer(ret, Array.from({ length: 4 }, (_, at) => args[at] ?? 0n), args);
  }

  #rtas({ token, args, nret }: RecordedRtasCall): Answer | undefined {
    const after = this.#calls.rtas(token, args, nret);
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

  #poke(address: bigint, words: readonly bigint[]): Answer {
    const view = new DataView(new ArrayBuffer(8 * words.length));
    words.forEach((word, at) => view.setBigUint64(8 * at, word));
    // A recording's guest stores in RAM only, so that a store elsewhere has no answer to be compared.
    return this.machine.ram.write(address, new Uint8Array(view.buffer)) ? NOTHING : new Map([["stored", false]]);
  }

  #peek(address: bigint, count: number): Answer {
    const bytes = new Uint8Array(8 * count);
    if (!this.machine.ram.read(address, bytes)) return NOTHING;
    const view = new DataView(bytes.buffer);
    return new Map([["data", Array.from({ length: count }, (_, at) => hex(view.getBigUint64(8 * at)))]]);
  }

  #dma({ reads, bus, length, offset }: RecordedDma): Answer | undefined {
    if (this.#edu === undefined) return undefined;
    const { device, phb } = this.#edu;
    const xlate = translations(phb, bus, length);
    if (reads) device.read(bus, length, offset);
    else device.write(bus, length, offset);
    return new Map([["xlate", xlate]]);
  }
}

/** r3 as a signed number, r4 to r7, and any other register that is not as before. */
function registersAnswer(ret: bigint | number, registers: readonly bigint[], args: readonly bigint[]): Answer {
  const answer = new Map<string, unknown>([["ret", Number(ret)], ["out", registers.slice(0, 4).map(hex)]]);
  for (const [at, register] of registers.entries()) {
    if (at >= 4 && register !== (args[at] ?? 0n)) answer.set(`r${4 + at}`, hex(register));
  }
  return answer;
}

/** What each page that a transfer touches is translated to; what lies in no window has no translation. */
function translations(phb: MachinePhb, bus: bigint, length: number): [string, string, string, number][] {
  const found: [string, string, string, number][] = [];
  const end = bus + BigInt(length);
  const view = phb.space.flatView();
  for (let at = bus; at < end;) {
    const section = view.sections[view.indexFrom(at)];
    if (section === undefined) break;
    if (section.range.start > at) {
      at = section.range.start;
      continue;
    }
    const table = phb.windows.find(({ region }) => region === section.region);
    if (table === undefined) {
      at = section.range.last + 1n;
      continue;
    }
    const page = 1n << BigInt(table.pageShift);
    const offset = section.offsetWithinRegion + (at - section.range.start);
    const entry = table.translate(offset);
    // An entry that allows nothing translates nothing, but QEMU tells where it would point to.
    const target = entry?.target ?? table.entry(Number(offset / page)) & ~(page - 1n);
    found.push([hex(table.liobn), hex(offset), hex(target), entry?.perm ?? 0]);
    const next = at + page - offset % page;
    at = next <= section.range.last ? next : section.range.last + 1n;
  }
  return found;
}
