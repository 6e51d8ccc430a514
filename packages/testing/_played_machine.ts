import { hex } from "@giommu/core";
import { type MachinePhb, SpaprMachine } from "@giommu/spapr-tce";
import type { Answer } from "./_answer.ts";
import { type Calls, MethodCalls, RegisterCalls } from "./_calls.ts";
import { guestAnswer, NOTHING, registersAnswer } from "./_guest_actions.ts";
import { EduDevice } from "./edu_device.ts";
import { LogicalLan } from "./logical_lan.ts";
import type { RecordedDma, RecordedLanCall, RecordedOperation } from "./recorded_operation.ts";
import type { RecordedMachine } from "./recording.ts";
import { SparseGuestMemory } from "./sparse_guest_memory.ts";

/** How a machine's calls are made. */
export type Via = "registers" | "methods";

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
      case "lan":
        return this.#lanCall(action);
      case "dma":
        return this.#dma(action);
      case "reboot":
        this.machine.reset();
        for (const lan of this.#lans.values()) lan.reset();
        return NOTHING;
      default:
        return guestAnswer(action, this.#calls, this.machine.ram);
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

  #dma({ reads, bus, length, offset }: RecordedDma): Answer | undefined {
    if (this.#edu === undefined) return undefined;
    const { device, phb } = this.#edu;
    const xlate = translations(phb, bus, length);
    if (reads) device.read(bus, length, offset);
    else device.write(bus, length, offset);
    return new Map([["xlate", xlate]]);
  }
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
