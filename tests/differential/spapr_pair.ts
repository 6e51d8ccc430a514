// A pseries machine beside its model, with devices on a PCI bus and behind a VIO device. After every step guest, model and
// hosts are the same, or the documented consequence of a host's failure happened and was said.
import { IommuError } from "@giommu/core";
import { ArrayGuestMemory, readDma, writeDma } from "@giommu/memory-api";
import { Hcall, HcallOpcode, SpaprMachine } from "@giommu/spapr-tce";
import { SpaprModel } from "@giommu/testing";
import type { SimulatedHostOptions } from "@giommu/vfio-sync";
import { assert, assertEquals } from "@std/assert";
import { DevicePlace } from "./device_place.ts";
import { readWord, writeWords } from "./rtas_block.ts";
import { RAM_SIZE, type Step, UNIT } from "./spapr_calls.ts";

const ENTRY_LIMIT = 700;
const PAGE = 0x1000n;
/** What an RTAS call answers that a host refuses. */
const REFUSED = { ret: Hcall.SUCCESS, rets: [0xffff_ffff] };

/** How steps ended, so that a test can see that it tested something. */
export interface Tally {
  done: number;
  refused: number;
  failed: number;
}

/** A container failed, as it must where its host does not unmap: this guest's story is over. */
export class ContainerFailed extends Error {}

/** How a pair is made. */
export interface PairInit {
  /** Where a created window begins while there is another. */
  readonly far: bigint;
  /** The hosts' rules. */
  readonly host: SimulatedHostOptions;
  /** Numbers of host calls that fail, of each host. */
  readonly failAt: readonly number[];
}

/** The machine and the model. */
export class SpaprPair implements Disposable {
  readonly machine: SpaprMachine;
  readonly #ram = new ArrayGuestMemory(RAM_SIZE);
  readonly #places: readonly DevicePlace[];
  readonly #limited: boolean;
  readonly #mayLose: boolean;
  readonly #tally: Tally;
  #model: SpaprModel;
  /** What the newest call would have made of it. */
  #next: SpaprModel | undefined;
  #saved: { readonly state: Uint8Array; readonly model: SpaprModel } | undefined;

  constructor({ far, host, failAt }: PairInit, tally: Tally) {
    const init = {
      phbs: [{ index: 0, dma64WinAddr: far }, { index: 1, dma64WinAddr: far }],
      vios: [{ unit: UNIT }],
      entryLimit: ENTRY_LIMIT,
    };
    // Lists: page n of RAM, all permissions, but for a few.
    const words = new DataView(this.#ram.bytes.buffer);
    for (let i = 0; i < RAM_SIZE / 8; i++) {
      words.setBigUint64(8 * i, i % 7 === 0 ? 0n : BigInt(i % 20) << 12n | BigInt(i & 3));
    }
    this.machine = new SpaprMachine({ ram: this.#ram, ...init });
    this.#model = new SpaprModel(init);
    this.#tally = tally;
    this.#limited = host.rules !== undefined || host.maxMappings !== undefined;
    // Two refusals in one call: by script, or by the rules and then by script while the first is being undone.
    this.#mayLose = failAt.length > 1 || this.#limited && failAt.length > 0;
    const options = { ...host, failAt: failAt.map((call) => ({ call, errno: "EIO" as const })) };
    this.#places = [this.machine.phb(0), this.machine.vio(UNIT)].map((device, at) => {
      assert(device !== undefined);
      return new DevicePlace(at === 1, device.space, options);
    });
  }

  /** How many calls the host that got more of them has had. */
  get hostCalls(): number {
    return Math.max(...this.#places.map(({ host }) => host.calls));
  }

  /** Does one step and compares everything; throws {@linkcode ContainerFailed} after one that makes a container fail. */
  step(step: Step): void {
    const failures = this.#failures;
    const done = this.#perform(step);
    for (const place of this.#places) place.watchNoMore();
    if (this.#failed.length > 0) {
      this.#tally.failed++;
      this.#compareFailed();
      throw new ContainerFailed();
    }
    this.#tally[done ? "done" : "refused"]++;
    // A refusal has a reason, and a failure is never passed over.
    if (!done) assert(this.#limited || this.#failures > failures, `${step.do} was refused for no reason`);
    else assertEquals(this.#failures, failures, `${step.do} passed over a failure of the host`);
    this.#compare();
  }

  [Symbol.dispose](): void {
    for (const place of this.#places) place.end();
    this.machine[Symbol.dispose]();
  }

  get #failures(): number {
    return this.#places.reduce((sum, { host }) => sum + host.failedCalls, 0);
  }

  get #failed(): readonly DevicePlace[] {
    return this.#places.filter(({ container }) => container?.failed !== undefined);
  }

  /** Does a step; returns whether it was done, and not refused by a host. */
  #perform(step: Step): boolean {
    switch (step.do) {
      case "hcall": {
        const { opcode, args, registers } = step;
        return opcode === HcallOpcode.RTAS ? this.#block(args[0] ?? 0n) : this.#hcall(opcode, args, registers);
      }
      case "rtas":
        return this.#rtas(step.token, step.args, step.nret);
      case "block":
        writeWords(this.#ram.bytes, step.at, 0, step.words);
        return this.#block(step.at);
      case "dma":
        this.#dma(step);
        return true;
      case "reset": {
        const next = new SpaprModel(this.#model);
        next.reset();
        return this.#whole(() => this.machine.reset(), next);
      }
      case "save":
        this.#saved = { state: this.machine.save(), model: new SpaprModel(this.#model) };
        return true;
      case "restore": {
        const saved = this.#saved;
        return saved === undefined ||
          this.#whole(() => this.machine.restore(saved.state), new SpaprModel(saved.model));
      }
      case "plug":
        return this.#place(step.vio).plug();
      case "unplug":
        return this.#place(step.vio).unplug();
    }
  }

  #hcall(opcode: bigint, args: readonly bigint[], inRegisters: boolean): boolean {
    const next = new SpaprModel(this.#model);
    const expected = next.hcall(opcode, args, this.#ram);
    for (const place of this.#places) place.watch(this.#model, next);
    const { ret, r4 } = inRegisters ? this.#inRegisters(opcode, args) : this.#byMethod(opcode, args);
    if (ret === expected.ret) assertEquals(r4, expected.value ?? args[0] ?? 0n);
    else assert(ret === Hcall.NOT_ENOUGH_RESOURCES || ret === Hcall.HARDWARE, `got ${ret}, not ${expected.ret}`);
    return this.#settle(next, ret !== expected.ret);
  }

  #inRegisters(opcode: bigint, args: readonly bigint[]): { readonly ret: number; readonly r4: bigint } {
    const registers = new BigUint64Array(10);
    registers.set([opcode, ...args]);
    const others = registers.slice(2);
    if (!this.machine.hcallRegisters(registers)) {
      assertEquals(registers[0], opcode);
      registers[0] = BigInt.asUintN(64, BigInt(Hcall.FUNCTION));
    }
    assertEquals(registers.slice(2), others, "only r3 and r4 are written");
    return { ret: Number(BigInt.asIntN(64, registers[0] ?? 0n)), r4: registers[1] ?? 0n };
  }

  #byMethod(opcode: bigint, args: readonly bigint[]): { readonly ret: number; readonly r4: bigint } {
    const { ret, value, error } = this.machine.hcall(opcode, args);
    const isRefusal = ret === Hcall.NOT_ENOUGH_RESOURCES || ret === Hcall.HARDWARE;
    assertEquals(error instanceof IommuError, isRefusal, "a refusal says why, and nothing else does");
    return { ret, r4: value ?? args[0] ?? 0n };
  }

  #rtas(token: number, args: readonly number[], nret: number): boolean {
    const next = new SpaprModel(this.#model);
    const expected = next.rtas(token, args, nret);
    const { ret, rets, error } = this.machine.rtas(token, args, nret);
    assertEquals({ ret, rets }, error === undefined ? expected : REFUSED);
    return this.#settle(next, error !== undefined);
  }

  /** H_RTAS on a block in memory, whatever it holds. */
  #block(at: bigint): boolean {
    const memory = this.#ram.bytes.slice();
    const [token, nargs, nret] = [0, 1, 2].map((index) => readWord(memory, at, index)) as [number, number, number];
    // More arguments than any call has mean nothing but their number.
    const args = Array.from({ length: Math.min(nargs, 20) }, (_, index) => readWord(memory, at, 3 + index));
    const next = new SpaprModel(this.#model);
    const expected = next.rtas(token, args, nret);
    const { ret, error } = this.machine.hcall(HcallOpcode.RTAS, [at]);
    const answer = error === undefined ? expected : REFUSED;
    assertEquals(ret, answer.ret);
    writeWords(memory, at, 3 + nargs, answer.rets);
    assert(sameBytes(this.#ram.bytes, memory), "the answers are written where they fit, and nothing else");
    return this.#settle(next, error !== undefined);
  }

  /** Something of which the caller hears by an exception. */
  #whole(act: () => void, next: SpaprModel): boolean {
    try {
      act();
    } catch (error) {
      assert(error instanceof IommuError, String(error));
      return this.#settle(next, true);
    }
    return this.#settle(next, false);
  }

  /** Takes over what a call did; or it was refused, and all is as before. */
  #settle(next: SpaprModel, refused: boolean): boolean {
    this.#next = next;
    if (!refused) this.#model = next;
    else if (this.#mayLose && this.#failed.length === 0) this.#lose();
    return !refused;
  }

  /** Where a second failure kept an old mapping from being put back, the entry reads 0. */
  #lose(): void {
    for (const { geometry, tces } of this.#model.windows) {
      const table = this.machine.table(geometry.liobn);
      for (const index of tces.keys()) if (table?.entry(index) === 0n) tces.delete(index);
    }
  }

  #dma({ vio, bus, bytes, writes }: Extract<Step, { readonly do: "dma" }>): void {
    const place = this.#place(vio);
    const space = vio ? this.machine.vio(UNIT).space : this.machine.phb(0).space;
    assert(space !== undefined);
    const room = 2n ** 64n - bus;
    const length = room < BigInt(bytes) ? Number(room) : bytes;
    const memory = this.#ram.bytes.slice();
    const buffer = new Uint8Array(length).fill(0x5a);
    const expected = buffer.slice();
    for (let at = 0; at < length;) {
      // Within 4 KiB of the bus all bytes go the same way: no page or window is smaller.
      const end = Math.min(length, at + Number(PAGE - (bus + BigInt(at)) % PAGE));
      const gpa = place.reach(this.#model, bus + BigInt(at), writes ? 2 : 1);
      if (gpa === undefined) {
        if (!writes) expected.fill(0, at, end);
      } else if (writes) memory.fill(0x5a, Number(gpa), Number(gpa) + end - at);
      else expected.set(memory.subarray(Number(gpa), Number(gpa) + end - at), at);
      at = end;
    }
    if (writes) writeDma(space, bus, buffer);
    else readDma(space, bus, buffer);
    assert(sameBytes(buffer, expected), "a device reads what it may, and zeros");
    assert(sameBytes(this.#ram.bytes, memory), "a device writes where it may, and nowhere else");
  }

  #place(vio: boolean): DevicePlace {
    const place = this.#places.find((one) => one.vio === vio);
    assert(place !== undefined);
    return place;
  }

  /** Guest and model are the same, and every host holds what its devices must reach. */
  #compare(): void {
    const { machine } = this;
    const model = this.#model;
    assertEquals(machine.stored, model.stored);
    const geometry = machine.tables.map(({ liobn, busOffset, pageShift, entries }) => {
      return { liobn, busOffset, pageShift, entries };
    });
    assertEquals(geometry, model.windows.map((window) => window.geometry));
    for (const { geometry, tces } of model.windows) {
      const table = machine.table(geometry.liobn);
      for (const [index, tce] of tces) {
        const entry = table?.entry(index);
        if (entry !== tce) throw new Error(`entry ${index} of ${table} is ${entry}, not ${tce}`);
      }
    }
    assertEquals(machine.vio(UNIT).bypass, model.bypass(UNIT));
    for (const place of this.#places) place.compare(model);
  }

  /** A container failed: it says where; the other one goes on; and what the guest reads is old, new, or nothing. */
  #compareFailed(): void {
    // A failed container does not follow what else the same call does, in other tables or to the memory map.
    const wasOneTable = differences(this.#model, this.#next ?? this.#model) <= 1;
    for (const place of this.#places) {
      if (place.container?.failed === undefined) place.agree();
      else place.compareFailed(wasOneTable);
    }
    for (const table of this.machine.tables) {
      const versions = [this.#model, this.#next ?? this.#model].map(({ windows }) =>
        windows.find(({ geometry }) => geometry.liobn === table.liobn)
      );
      const indices = new Set(versions.flatMap((window) => [...window?.tces.keys() ?? []]));
      for (const index of indices) {
        const allowed = [0n, ...versions.map((window) => window?.tces.get(index) ?? 0n)];
        assert(allowed.includes(table.entry(index)), `entry ${index} of ${table}`);
      }
      assert(table.stored <= indices.size, `${table} has entries that nobody stored`);
    }
  }
}

/** In how many tables two models differ; more than any number if in their windows or bypass. */
function differences(a: SpaprModel, b: SpaprModel): number {
  const [map, other] = [a, b].map((model) =>
    [model.bypass(UNIT), ...model.windows.flatMap(({ geometry }) => Object.values(geometry))].join()
  );
  if (map !== other) return Infinity;
  return a.windows.filter(({ tces }, at) => {
    const others = b.windows[at]?.tces;
    return tces.size !== others?.size || [...tces].some(([index, tce]) => others.get(index) !== tce);
  }).length;
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, at) => byte === b[at]);
}
