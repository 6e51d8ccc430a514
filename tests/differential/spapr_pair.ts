// A pseries machine beside its model, with a container on a PCI bus and one on a VIO device's. After every step guest,
// model and hosts are the same, or the documented consequence of a host's failure happened and was said.
import { IommuError } from "@giommu/core";
import { ArrayGuestMemory, readDma, writeDma } from "@giommu/memory-api";
import { Hcall, HcallOpcode, SpaprMachine } from "@giommu/spapr-tce";
import { SpaprModel } from "@giommu/testing";
import { SimulatedHost, type SimulatedHostOptions, verify, VfioContainer } from "@giommu/vfio-sync";
import { assert, assertEquals } from "@std/assert";
import { RAM_SIZE, type Step, UNIT } from "./spapr_calls.ts";

const ENTRY_LIMIT = 700;
const PAGE = 0x1000n;
/** What an RTAS call answers that a host refuses. */
const REFUSED = { ret: Hcall.SUCCESS, rets: [0xffff_ffff] };
/** Addresses that are looked at after a step, and after every host call of it. */
const SAMPLES = 48;

/** How steps ended, so that a test can see that it tested something. */
export interface Tally {
  done: number;
  refused: number;
  failed: number;
}

/** A container failed, as it must where its host does not unmap: this guest's story is over. */
export class ContainerFailed extends Error {}

/** A container's place: a bus, its host, and the container while a device is plugged in. */
interface Place {
  readonly vio: boolean;
  readonly host: SimulatedHost;
  container?: VfioContainer | undefined;
  /** What must be reached after every single host call of the step. */
  watched: ReadonlyMap<bigint, string>;
}

/** How a pair is made. */
export interface PairInit {
  readonly far: bigint;
  readonly host: SimulatedHostOptions;
  /** Numbers of host calls that fail, of each host. */
  readonly failAt: readonly number[];
}

/** The machine and the model. */
export class SpaprPair implements Disposable {
  readonly machine: SpaprMachine;
  readonly #ram = new ArrayGuestMemory(RAM_SIZE);
  readonly #places: readonly Place[];
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
    this.#places = [false, true].map((vio): Place => {
      const place: Place = {
        vio,
        host: new SimulatedHost({
          ...host,
          failAt: failAt.map((call) => ({ call, errno: "EIO" })),
          observe: () => this.#look(place),
        }),
        watched: new Map(),
      };
      return place;
    });
  }

  /** Does one step and compares everything; throws {@linkcode ContainerFailed} after one that makes a container fail. */
  step(step: Step): void {
    const failures = this.#failures;
    const done = this.#perform(step);
    for (const place of this.#places) place.watched = new Map();
    if (this.#failed.length > 0) {
      this.#tally.failed++;
      this.#compareFailed(this.#failed);
      throw new ContainerFailed();
    }
    this.#tally[done ? "done" : "refused"]++;
    // A refusal has a reason, and a failure is never passed over.
    if (!done) assert(this.#limited || this.#failures > failures, `${step.do} was refused for no reason`);
    else assertEquals(this.#failures, failures, `${step.do} passed over a failure of the host`);
    this.compare();
  }

  /** Guest and model are the same, and every host holds what its devices must reach. */
  compare(): void {
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
        if (table?.entry(index) !== tce) {
          throw new Error(`entry ${index} of ${table} is ${table?.entry(index)}, not ${tce}`);
        }
      }
    }
    assertEquals(machine.vio(UNIT)?.bypass, model.bypass(UNIT));
    for (const place of this.#places) this.#compareHost(place);
  }

  [Symbol.dispose](): void {
    for (const { host, container } of this.#places) {
      host.failNoMore();
      container?.dispose();
      assertEquals(host.size, 0, "a container takes everything along");
    }
    this.machine[Symbol.dispose]();
  }

  get #failures(): number {
    return this.#places.reduce((sum, { host }) => sum + host.failedCalls, 0);
  }

  /** Does a step; returns whether it was done, and not refused by a host. */
  #perform(step: Step): boolean {
    switch (step.do) {
      case "hcall":
        return step.opcode === HcallOpcode.RTAS
          ? this.#block(step.args[0] ?? 0n)
          : this.#hcall(step.opcode, step.args, step.registers);
      case "rtas":
        return this.#rtas(step.token, step.args, step.nret);
      case "block":
        this.#writeBlock(step.at, step.words);
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
        if (saved === undefined) return true;
        return this.#whole(() => this.machine.restore(saved.state), new SpaprModel(saved.model));
      }
      case "plug":
        return this.#plug(step.vio);
      case "unplug":
        return this.#unplug(step.vio);
    }
  }

  #hcall(opcode: bigint, args: readonly bigint[], inRegisters: boolean): boolean {
    const next = new SpaprModel(this.#model);
    const expected = next.hcall(opcode, args, this.#ram);
    this.#watch(next);
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
    const word = (index: number) => {
      const bytes = Uint8Array.from({ length: 4 }, (_, byte) => this.#ram.bytes[ramIndex(at, index, byte)] ?? 0);
      return new DataView(bytes.buffer).getUint32(0);
    };
    const [token, nargs, nret] = [word(0), word(1), word(2)];
    // More arguments than any call has mean nothing but their number.
    const args = Array.from({ length: Math.min(nargs, 20) }, (_, index) => word(3 + index));
    const next = new SpaprModel(this.#model);
    const expected = next.rtas(token, args, nret);
    const memory = this.#ram.bytes.slice();
    const { ret, error } = this.machine.hcall(HcallOpcode.RTAS, [at]);
    const answer = error === undefined ? expected : REFUSED;
    assertEquals(ret, answer.ret);
    for (const [index, answered] of answer.rets.entries()) {
      for (let byte = 0; byte < 4; byte++) {
        const gpa = ramIndex(at, 3 + nargs + index, byte);
        if (gpa < RAM_SIZE) memory[gpa] = answered >>> 24 - 8 * byte;
      }
    }
    assert(sameBytes(this.#ram.bytes, memory), "the answers are written where they fit, and nothing else");
    return this.#settle(next, error !== undefined);
  }

  /** The guest writes a block, as far as it fits RAM. */
  #writeBlock(at: bigint, words: readonly number[]): void {
    for (const [index, word] of words.entries()) {
      for (let byte = 0; byte < 4; byte++) {
        const gpa = ramIndex(at, index, byte);
        if (gpa < RAM_SIZE) this.#ram.bytes[gpa] = word >>> 24 - 8 * byte;
      }
    }
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
    const space = vio ? this.machine.vio(UNIT)?.space : this.machine.phb(0)?.space;
    assert(space !== undefined);
    const room = 2n ** 64n - bus;
    const length = room < BigInt(bytes) ? Number(room) : bytes;
    const memory = this.#ram.bytes.slice();
    const buffer = new Uint8Array(length).fill(0x5a);
    const expected = buffer.slice();
    for (let at = 0; at < length;) {
      // Within 4 KiB of the bus all bytes go the same way: no page or window is smaller.
      const end = Math.min(length, at + Number(PAGE - (bus + BigInt(at)) % PAGE));
      const gpa = this.#reach(this.#model, vio, bus + BigInt(at), writes ? 2 : 1);
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

  #plug(vio: boolean): boolean {
    const place = this.#place(vio);
    if (place.container !== undefined) return true;
    const container = new VfioContainer({ host: place.host });
    const space = vio ? this.machine.vio(UNIT)?.space : this.machine.phb(0)?.space;
    assert(space !== undefined);
    try {
      container.attach(space);
      place.container = container;
      return true;
    } catch (error) {
      assert(error instanceof IommuError, String(error));
      if (container.failed !== undefined) place.container = container;
      else assertEquals([place.host.size, space.listeners.length], [0, 0], "a refused hotplug leaves nothing");
      return false;
    }
  }

  #unplug(vio: boolean): boolean {
    const place = this.#place(vio);
    try {
      place.container?.detach();
      place.container?.dispose();
      place.container = undefined;
      return true;
    } catch (error) {
      assert(error instanceof IommuError && error.code === "unmap-failed", String(error));
      return false;
    }
  }

  #place(vio: boolean): Place {
    const place = this.#places.find((one) => one.vio === vio);
    assert(place !== undefined);
    return place;
  }

  get #failed(): readonly Place[] {
    return this.#places.filter(({ container }) => container?.failed !== undefined);
  }

  #compareHost({ vio, host, container }: Place): void {
    if (container === undefined) return assertEquals(host.size, 0, "nothing is plugged in");
    const { agrees, ranges } = verify(container);
    assert(agrees, `host and guest differ: ${ranges.map(({ kind, iova }) => `${kind} at ${iova.start.toString(16)}`)}`);
    for (const address of addresses(this.#model)) {
      assertEquals(
        held(host, address),
        this.#reaches(this.#model, vio, address),
        `bus address ${address.toString(16)}`,
      );
    }
  }

  /** A container failed: it says where, and what it says is not contradicted by what is left. */
  #compareFailed(failed: readonly Place[]): void {
    for (const { container } of failed) {
      const { failed: failure } = container ?? {};
      assert(failure !== undefined);
      assert(["unmap-failed", "rollback-failed", "mapping-lost"].includes(failure.code), failure.message);
      assert(failure.ranges.length > 0, "it must say which ranges differ");
    }
    // The other one goes on, and what the guest reads is old, new, or nothing.
    for (const { container } of this.#places) {
      if (container !== undefined && !failed.some((one) => one.container === container)) {
        assert(verify(container).agrees);
      }
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

  /** Notes what the next call must not touch: what its devices reach before it and after it alike. */
  #watch(next: SpaprModel): void {
    for (const place of this.#places) {
      if (place.container === undefined) continue;
      const watched = new Map<bigint, string>();
      for (const address of addresses(this.#model)) {
        const reached = this.#reaches(this.#model, place.vio, address);
        if (reached !== undefined && reached === this.#reaches(next, place.vio, address)) watched.set(address, reached);
      }
      place.watched = watched;
    }
  }

  #look({ host, watched }: Place): void {
    for (const [address, reached] of watched) {
      assertEquals(held(host, address), reached, `a neighbour at ${address.toString(16)} lost its translation`);
    }
  }

  /** What a device reaches at a bus address: a byte of RAM and the permission. */
  #reaches(model: SpaprModel, vio: boolean, address: bigint): string | undefined {
    const [read, write] = [this.#reach(model, vio, address, 1), this.#reach(model, vio, address, 2)];
    const gpa = read ?? write;
    return gpa === undefined ? undefined : shown(gpa, (read === undefined ? 0 : 1) + (write === undefined ? 0 : 2));
  }

  #reach(model: SpaprModel, vio: boolean, address: bigint, access: 1 | 2): bigint | undefined {
    const gpa = vio ? model.reachFromVio(UNIT, address, access) : model.reachFromPci(0, address, access);
    return gpa !== undefined && gpa < BigInt(RAM_SIZE) ? gpa : undefined;
  }
}

/** Where a byte of a word of an RTAS block lies in RAM; beyond its end for what is no RAM. The top four bits of a word's address mean nothing. */
function ramIndex(block: bigint, word: number, byte: number): number {
  const gpa = BigInt.asUintN(60, block + 4n * BigInt(word)) + BigInt(byte);
  return gpa < BigInt(RAM_SIZE) ? Number(gpa) : RAM_SIZE;
}

function held(host: SimulatedHost, address: bigint): string | undefined {
  const found = host.translate(address);
  return found && shown(found.gpa, found.perm);
}

function shown(gpa: bigint, perm: number): string {
  return `${gpa.toString(16)} ${perm}`;
}

/** Bus addresses that tell something: the ends of entries, and what lies just outside of them; the first page of all. */
function addresses(model: SpaprModel): readonly bigint[] {
  const found = new Set<bigint>([0n]);
  for (const { geometry: { busOffset, pageShift }, tces } of model.windows) {
    const size = 1n << BigInt(pageShift);
    const every = Math.ceil(tces.size / SAMPLES);
    let at = 0;
    for (const index of tces.keys()) {
      if (at++ % every !== 0) continue;
      const start = busOffset + BigInt(index) * size;
      for (const address of [start - 1n, start, start + PAGE, start + size - 1n, start + size]) {
        if (address === BigInt.asUintN(64, address)) found.add(address);
      }
    }
  }
  return [...found];
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, at) => byte === b[at]);
}
