// The plain model that property tests compare machines with, against the same recordings: it would prove nothing if it
// were wrong itself.
import { Hcall, HcallOpcode } from "@giommu/spapr-tce";
import {
  parseRecording,
  type RecordedDma,
  type RecordedHcall,
  type RecordedOperation,
  type RecordedRtasCall,
  SpaprModel,
  SparseGuestMemory,
} from "@giommu/testing";
import { assertEquals } from "@std/assert";
import { recordingNames, recordingText } from "./vectors.ts";

const UNWRITTEN = 0xa5a5_a5a5;

const hex = (value: bigint | number) => `0x${value.toString(16)}`;

/** The model beside the RAM that lists are read from. */
class Guest {
  readonly model: SpaprModel;
  readonly ram: SparseGuestMemory;

  constructor(model: SpaprModel, ram: bigint) {
    this.model = model;
    this.ram = new SparseGuestMemory(ram);
  }

  /** Does one operation; returns whether the model has anything to say of it. */
  perform({ action, answer, n }: RecordedOperation): boolean {
    switch (action.kind) {
      case "hcall":
        if (action.opcode === HcallOpcode.RTAS) return false;
        this.#hcall(action, answer, n);
        return true;
      case "rtas":
        this.#rtas(action, answer, n);
        return true;
      case "dma":
        this.#dma(action, answer, n);
        return true;
      case "poke":
        action.words.forEach((word, at) => this.#store(action.address + 8n * BigInt(at), word));
        return false;
      case "sequence":
        for (let at = 0n; at < BigInt(action.count); at++) {
          this.#store(action.address + 8n * at, action.start + at * action.step);
        }
        return false;
      case "reboot":
        this.model.reset();
        return true;
      default:
        return false;
    }
  }

  #hcall({ opcode, args }: RecordedHcall, { ret, out }: RecordedOperation["answer"], n: number): void {
    const done = this.model.hcall(opcode, args, this.ram);
    const [r4, ...others] = Array.from({ length: 4 }, (_, at) => args[at] ?? 0n);
    assertEquals([done.ret, [done.value ?? r4 ?? 0n, ...others].map(hex)], [ret, out], `n ${n}`);
  }

  #rtas({ token, args, nret }: RecordedRtasCall, answer: RecordedOperation["answer"], n: number): void {
    const { ret, rets } = this.model.rtas(token, args, nret);
    const words = Array.from({ length: nret }, (_, at) => rets[at] ?? UNWRITTEN);
    assertEquals([ret, words], [answer["h_ret"], answer["rets"]], `n ${n}`);
    assertEquals(rets.slice(nret), Object.values(answer["beyond"] ?? {}), `n ${n}`);
  }

  /** What the model reaches at the first byte of each page is what QEMU translated. */
  #dma({ bus, length, reads }: RecordedDma, { xlate }: RecordedOperation["answer"], n: number): void {
    const access = reads ? 1 : 2;
    const recorded = xlate as readonly (readonly [string, string, string, number])[];
    const byLiobn = new Map(this.model.windows.map((window) => [hex(window.geometry.liobn), window.geometry]));
    const starts = recorded.map(([liobn, offset]) => BigInt(offset) + (byLiobn.get(liobn)?.busOffset ?? -1n));
    recorded.forEach(([liobn, offset, page, perm], at) => {
      const mask = (1n << BigInt(byLiobn.get(liobn)?.pageShift ?? 0)) - 1n;
      const target = (perm & access) === 0 ? undefined : BigInt(page) | BigInt(offset) & mask;
      assertEquals(this.model.reachFromPci(0, starts[at] ?? 0n, access), target, `n ${n}`);
    });
    if (recorded.length > 0) return;
    assertEquals(this.model.reachFromPci(0, bus, access), undefined, `n ${n}`);
    assertEquals(this.model.reachFromPci(0, bus + BigInt(length) - 1n, access), undefined, `n ${n}`);
  }

  #store(address: bigint, word: bigint): void {
    const bytes = new DataView(new ArrayBuffer(8));
    bytes.setBigUint64(0, BigInt.asUintN(64, word));
    this.ram.write(address, new Uint8Array(bytes.buffer));
  }
}

Deno.test("The model answers the recorded hypercalls, RTAS calls and translations as QEMU did", () => {
  let compared = 0;
  for (const name of recordingNames()) {
    const { machine, operations, last } = parseRecording(name, recordingText(name));
    const vios = machine.vios.map((unit) => ({ unit }));
    const guest = new Guest(new SpaprModel({ phbs: machine.phbs, vios }), machine.ram);
    for (const operation of operations) if (guest.perform(operation)) compared++;
    const windows = guest.model.windows.map(({ geometry: { liobn, busOffset, pageShift, entries } }) => ({
      liobn: hex(liobn),
      bus: hex(busOffset),
      size: hex(BigInt(entries) << BigInt(pageShift)),
    }));
    assertEquals(windows, last["final_windows"], name);
  }
  // All but pokes, peeks, the calls of the LAN, and H_RTAS on raw blocks.
  assertEquals(compared, 6_023 - 396 - 312 - 405 - 22 - 8);
});

Deno.test("The model does not know other hypercalls", () => {
  const model = new SpaprModel({ phbs: [{ index: 0 }] });
  assertEquals(model.hcall(0x54n, [0x8000_0000n], new SparseGuestMemory(0n)).ret, Hcall.FUNCTION);
  assertEquals(model.hcall(0x54n, [], new SparseGuestMemory(0n)).ret, Hcall.FUNCTION);
});
