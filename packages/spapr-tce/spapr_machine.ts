import type { Gpa, Iova } from "@giommu/core";
import { checkInstance, checkInteger, checkOptions, checkU64, hex, IommuError } from "@giommu/core";
import { RawSpaprMachine } from "@giommu/core/wasm/spapr";
import type { AddressSpace, GuestMemory } from "@giommu/memory-api";
import { SpaceMemory, transaction } from "@giommu/memory-api";
import { deliver, type Delivered } from "./_effects.ts";
import { MachineDevices } from "./_machine_devices.ts";
import { stateRefused } from "./_machine_state.ts";
import { readBlock, writeAnswers } from "./_rtas_block.ts";
import { systemMemory } from "./_system_memory.ts";
import { callCore } from "./_trap.ts";
import { inTransaction, PHB_INDEX_MAX } from "./_window_bus.ts";
import type { HcallResult, OnHostFailure } from "./hcall.ts";
import { Hcall, HcallOpcode } from "./hcall.ts";
import { type MachinePhb, type MachinePhbInit, PHB_DEFAULTS } from "./machine_phb.ts";
import { RTAS_TOKENS, type RtasName, type RtasResult, type RtasStatus } from "./rtas.ts";
import type { SpaprVioDevice, SpaprVioInit } from "./spapr_vio_device.ts";
import { checkOnHostFailure, DEFAULT_ENTRY_LIMIT, MAX_ENTRY_LIMIT, type TceTable } from "./tce_table.ts";

/** What a {@linkcode SpaprMachine} is made with, whether new or from a saved state. */
export interface SpaprMachineOptions {
  /** RAM from guest-physical address 0: how many bytes, which are zero, or the bytes themselves. Either this or `memory`. */
  readonly ram?: bigint | GuestMemory;
  /** System memory, where that is more than RAM from 0. Borrowed; either this or `ram`. */
  readonly memory?: AddressSpace;
  /**
   * How many entries of all tables together may be other than 0, as a guest chooses how many it stores: at most
   * {@linkcode MAX_ENTRY_LIMIT}; {@linkcode DEFAULT_ENTRY_LIMIT} unless given.
   */
  readonly entryLimit?: number;
  /** What a guest's call answers when a host refuses what it maps; `"refuse"` unless given. */
  readonly onHostFailure?: OnHostFailure;
}

/** What makes a {@linkcode SpaprMachine}. */
export interface SpaprMachineInit extends SpaprMachineOptions {
  /** Its PCI host bridges; none unless given. */
  readonly phbs?: readonly MachinePhbInit[];
  /** Its VIO devices that have a table; none unless given. */
  readonly vios?: readonly SpaprVioInit[];
}

/** What the other files of this package know of a machine. */
export interface MachineState {
  /** The core's machine, to be changed by `act`. */
  live(verb: string): RawSpaprMachine;
  /** Makes a call that may change windows and entries, and delivers what it did. */
  act(verb: string, call: (raw: RawSpaprMachine) => void): Delivered;
}

// Not from a static block of the class: that would keep machines, and their part of the core, in bundles that use none.
const states = new WeakMap<SpaprMachine, MachineState>();

/** The state of a machine; not exported by the package. */
export function machineState(machine: SpaprMachine): MachineState {
  return states.get(checkInstance("machine", machine, SpaprMachine)) as MachineState;
}

/** What can be said of a machine and its devices: a misspelt name would be ignored. */
const FIELDS: Readonly<Record<keyof SpaprMachineInit, true>> = {
  ram: true,
  memory: true,
  entryLimit: true,
  onHostFailure: true,
  phbs: true,
  vios: true,
};
const PHB_FIELDS: Readonly<Record<keyof MachinePhbInit, true>> = {
  index: true,
  ddw: true,
  pgsz: true,
  dmaWinAddr: true,
  dmaWinSize: true,
  dma64WinAddr: true,
};
const VIO_FIELDS: Readonly<Record<keyof SpaprVioInit, true>> = { unit: true, windowSize: true };

/** Machines that exist in the core already, for the constructor that is about to be called with this init. */
const adopted = new WeakMap<SpaprMachineInit, RawSpaprMachine>();

/**
 * The IOMMUs of a pseries machine as its guest sees them: PCI host bridges with their DMA windows, VIO devices, and the
 * hypercalls and RTAS calls by which the guest programs them.
 *
 * Every call answers as QEMU 10.0.2 does (6,023 recorded operations are among the tests), with these exceptions: a call
 * that a host refuses has no effect and says so; calls that abort QEMU, or shift by 64 and more, answer an error; and
 * the entries that a guest stores are limited. No argument of a guest's call makes it throw.
 *
 * The machine is synchronous: when a call returns, every container on its buses has done what the call asked for.
 *
 * @example A guest creates a window, maps a page, and a device writes to it
 * ```ts
 * import { writeDma } from "@giommu/memory-api";
 * import { SpaprMachine } from "@giommu/spapr-tce";
 * import { assertEquals } from "@std/assert";
 *
 * using machine = new SpaprMachine({ ram: 0x100_0000n, phbs: [{ index: 0 }] });
 * const phb = machine.phb(0);
 * const { status, rets } = machine.rtas("ibm,create-pe-dma-window", [0, ...phb.buidCells, 16, 30], 4);
 * assertEquals([status, rets], [0, [0, 0x8000_0001, 0x0800_0000, 0]]);
 *
 * const bus = 1n << 59n;
 * assertEquals(machine.putTce(0x8000_0001, bus, 0x12_0003n).ret, 0);
 * writeDma(phb.space, bus + 0x20n, new TextEncoder().encode("hello"));
 * const bytes = new Uint8Array(5);
 * machine.ram.read(0x12_0020n, bytes);
 * assertEquals(new TextDecoder().decode(bytes), "hello");
 * ```
 */
export class SpaprMachine implements Disposable {
  /** System memory: where entries point to. */
  readonly memory: AddressSpace;
  /** System memory as the guest's processor reads and writes it. */
  readonly ram: GuestMemory;
  /** How many entries of all tables together may be other than 0. */
  readonly entryLimit: number;
  /** What a guest's call answers when a host refuses what it maps. */
  readonly onHostFailure: OnHostFailure;
  readonly #ownsMemory: boolean;
  readonly #devices: MachineDevices;
  #raw: RawSpaprMachine | undefined;

  /**
   * Creates a machine as it is after a reset: default windows, empty tables, no bypass.
   *
   * @param init Its memory, its devices, its limits.
   * @throws {TypeError} If a field has the wrong type, there is one that is not known, or not exactly one of `ram` and `memory`.
   * @throws {RangeError} If a field is out of bounds, or a window passes the top of the 64-bit space.
   * @throws {IommuError} `"duplicate-liobn"` if two devices have one number; `"core-trapped"` if the core ran out of
   * memory, now or before.
   */
  constructor(init: SpaprMachineInit) {
    checkOptions("the options of an sPAPR machine", init, FIELDS);
    states.set(this, { live: (verb) => this.#live(verb), act: (verb, call) => this.#act(verb, call) });
    const existing = adopted.get(init);
    const limit = existing?.entryLimit ?? init.entryLimit ?? DEFAULT_ENTRY_LIMIT;
    this.entryLimit = checkInteger("entryLimit", limit, 0, MAX_ENTRY_LIMIT);
    this.onHostFailure = checkOnHostFailure(init.onHostFailure);
    this.#ownsMemory = init.memory === undefined;
    this.memory = systemMemory(init);
    this.ram = new SpaceMemory(this.memory);
    this.#devices = new MachineDevices(this.memory, this.onHostFailure);
    this.#raw = existing ?? callCore(() => new RawSpaprMachine(this.entryLimit), () => `make ${this}`);
    try {
      if (existing !== undefined) this.#devices.showAll(existing);
      for (const phb of init.phbs ?? []) this.addPhb(phb);
      for (const vio of init.vios ?? []) this.addVio(vio);
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  /** The PCI host bridges, by ascending index. */
  get phbs(): readonly MachinePhb[] {
    return this.#devices.phbs;
  }

  /** The VIO devices that have a table, by ascending unit. */
  get vios(): readonly SpaprVioDevice[] {
    return this.#devices.vios;
  }

  /** The tables of all windows that are there now, by ascending LIOBN. */
  get tables(): readonly TceTable[] {
    return [...this.#devices.tables.values()];
  }

  /** How many entries of all tables together are not 0. */
  get stored(): number {
    return this.#live("count entries of").stored;
  }

  /**
   * The bridge with an index.
   *
   * @param index The index that it was made with.
   * @returns The bridge.
   * @throws {RangeError} If the machine has none of that index; {@linkcode phbs} are all that it has.
   */
  phb(index: number): MachinePhb {
    return this.#devices.phb(index) ?? missing(`bridge ${index}`, this.phbs);
  }

  /**
   * The VIO device with a unit number.
   *
   * @param unit The unit number that it was made with.
   * @returns The device.
   * @throws {RangeError} If the machine has none of that number; {@linkcode vios} are all that it has.
   */
  vio(unit: number): SpaprVioDevice {
    return this.#devices.vio(unit) ?? missing(`VIO device ${hex(checkInteger("unit", unit))}`, this.vios);
  }

  /**
   * Finds a table as a guest's call does.
   *
   * @param liobn The LIOBN, with all 64 bits of the register.
   * @returns The table; `undefined` if there is no such window now, or any of the high 32 bits is set.
   */
  table(liobn: number | bigint): TceTable | undefined {
    return this.#devices.called(liobn);
  }

  /**
   * Adds a PCI host bridge, with its default window.
   *
   * @param init Its number and its options.
   * @returns The bridge. The machine owns it.
   * @throws {TypeError} If a field has the wrong type.
   * @throws {RangeError} If a field is out of bounds, or the default window passes the top of the 64-bit space.
   * @throws {IommuError} `"duplicate-liobn"` if there is one with this number; `"disposed"`; `"core-trapped"`.
   */
  addPhb(init: MachinePhbInit): MachinePhb {
    const raw = this.#live("add a bridge to");
    checkOptions("the options of a PCI host bridge", init, PHB_FIELDS);
    const options: Required<MachinePhbInit> = Object.freeze({
      index: checkInteger("index", init.index, 0, PHB_INDEX_MAX),
      ddw: init.ddw ?? PHB_DEFAULTS.ddw,
      pgsz: checkU64("pgsz", init.pgsz ?? PHB_DEFAULTS.pgsz),
      dmaWinAddr: checkU64("dmaWinAddr", init.dmaWinAddr ?? PHB_DEFAULTS.dmaWinAddr),
      dmaWinSize: checkU64("dmaWinSize", init.dmaWinSize ?? PHB_DEFAULTS.dmaWinSize),
      dma64WinAddr: checkU64("dma64WinAddr", init.dma64WinAddr ?? PHB_DEFAULTS.dma64WinAddr),
    });
    if (typeof options.ddw !== "boolean") {
      throw new TypeError(`Cannot use ddw: expected a boolean, got ${typeof options.ddw}`);
    }
    if (this.#devices.phb(options.index) !== undefined) throw duplicate(`bridge ${options.index}`);
    const { index, ddw, pgsz, dmaWinAddr, dmaWinSize, dma64WinAddr } = options;
    this.#configure(`add bridge ${index} to`, () => {
      raw.addPhb(index, ddw, pgsz, dmaWinAddr, dmaWinSize, dma64WinAddr);
    });
    return this.#devices.showPhb(raw, options);
  }

  /**
   * Adds a VIO device with a table.
   *
   * @param init Its unit number and its window.
   * @returns The device. The machine owns it.
   * @throws {TypeError} If a field has the wrong type.
   * @throws {RangeError} If a field is out of bounds.
   * @throws {IommuError} `"duplicate-liobn"` if there is one with this number; `"disposed"`; `"core-trapped"`.
   */
  addVio(init: SpaprVioInit): SpaprVioDevice {
    const raw = this.#live("add a device to");
    checkOptions("the options of a VIO device", init, VIO_FIELDS);
    const unit = checkInteger("unit", init.unit, 0, 0x7fff_ffff);
    const windowSize = checkU64("windowSize", init.windowSize ?? 256n << 20n);
    if (this.#devices.vio(unit) !== undefined) throw duplicate(`VIO device ${hex(unit)}`);
    this.#configure(`add VIO device ${hex(unit)} to`, () => raw.addVio(unit, windowSize));
    return this.#devices.showVio(raw, unit);
  }

  /**
   * H_PUT_TCE: the guest stores one entry.
   *
   * @param liobn The table.
   * @param ioba The bus address of the page, rounded down to it.
   * @param tce The entry: bit 0 lets devices read, bit 1 lets them write. Never validated; all 64 bits are kept.
   * @returns How it ended.
   * @throws {TypeError} If an argument has the wrong type.
   * @throws {RangeError} If an argument does not fit 64 bits.
   * @throws {IommuError} `"disposed"`; `"change-in-progress"` from inside a notifier of this table; `"core-trapped"`.
   */
  putTce(liobn: number | bigint, ioba: Iova, tce: bigint): HcallResult {
    const table = this.#called(liobn);
    return table === undefined ? NO_TABLE : table.putTce(ioba, tce);
  }

  /**
   * H_GET_TCE: the guest reads one entry.
   *
   * @param liobn The table.
   * @param ioba The bus address of the page, rounded down to it.
   * @returns How it ended, and the entry with all its bits.
   * @throws As {@linkcode putTce}.
   */
  getTce(liobn: number | bigint, ioba: Iova): HcallResult {
    const table = this.#called(liobn);
    return table === undefined ? NO_TABLE : table.getTce(ioba);
  }

  /**
   * H_PUT_TCE_INDIRECT: the guest stores up to 512 entries from a list in its memory.
   *
   * @param liobn The table.
   * @param ioba The bus address of the first page, rounded down to it.
   * @param list Where the list lies, on a 4 KiB boundary. What of it is not RAM reads as 0.
   * @param npages How many entries: 1 to 512.
   * @returns How it ended. A call that runs off the end keeps what it stored.
   * @throws As {@linkcode putTce}.
   */
  putTceIndirect(liobn: number | bigint, ioba: Iova, list: Gpa, npages: bigint): HcallResult {
    const table = this.#called(liobn);
    return table === undefined ? NO_TABLES : table.putTceIndirect(ioba, list, npages, this.ram);
  }

  /**
   * H_STUFF_TCE: the guest stores one value in consecutive entries.
   *
   * @param liobn The table.
   * @param ioba The bus address of the first page, rounded down to it.
   * @param tce The value of every entry.
   * @param npages How many entries, at most as many as the table has.
   * @returns How it ended. A call that runs off the end keeps what it stored.
   * @throws As {@linkcode putTce}.
   */
  stuffTce(liobn: number | bigint, ioba: Iova, tce: bigint, npages: bigint): HcallResult {
    const table = this.#called(liobn);
    return table === undefined ? NO_TABLES : table.stuffTce(ioba, tce, npages);
  }

  /**
   * Makes a hypercall by its opcode.
   *
   * @param opcode Which.
   * @param args r4 and on; those that are missing are 0.
   * @returns How it ended; {@linkcode Hcall.FUNCTION} if there is no such call.
   * @throws As {@linkcode putTce}, and what {@linkcode rtas} throws.
   */
  hcall(opcode: bigint, args: readonly bigint[]): HcallResult {
    const [r4 = 0n, r5 = 0n, r6 = 0n, r7 = 0n] = args;
    return this.#hcall(opcode, r4, r5, r6, r7);
  }

  /**
   * Makes a hypercall as a processor does: in registers. H_RTAS finds its block in guest memory.
   *
   * @param registers r3 to r12: the opcode and its arguments; the return code and what else the call answers afterwards.
   * @returns Whether it is one of these calls. If not, nothing is changed: it is another's to answer, or H_FUNCTION.
   * @throws {TypeError} If there are not ten registers.
   * @throws As {@linkcode hcall}; never for what the guest put into the registers.
   */
  hcallRegisters(registers: BigUint64Array): boolean {
    if (!(registers instanceof BigUint64Array) || registers.length !== 10) {
      throw new TypeError("Cannot make a hypercall: expected r3 to r12, ten registers of 64 bits");
    }
    // One by one: to take an array apart costs more than a call.
    const [r3, r4] = [registers[0] as bigint, registers[1] as bigint];
    const [r5, r6] = [registers[2] as bigint, registers[3] as bigint];
    const { ret, value } = this.#hcall(r3, r4, r5, r6, registers[4] as bigint);
    if (ret === Hcall.FUNCTION) return false;
    registers[0] = ret === Hcall.SUCCESS ? 0n : BigInt.asUintN(64, BigInt(ret));
    if (value !== undefined) registers[1] = value;
    return true;
  }

  /**
   * Makes an RTAS call.
   *
   * Windows that it creates, removes or resets appear and disappear in one transaction of the memory map. If a container
   * on the bus cannot hold what would appear, the call has no effect and answers {@linkcode RtasStatus.HARDWARE_ERROR}.
   *
   * @param call Its name, or a token as the guest gives it.
   * @param args Its arguments, 32 bits each.
   * @param nret How many words the guest expects. The calls look at it; it bounds nothing.
   * @returns How it ended.
   * @throws {TypeError} If an argument has the wrong type.
   * @throws {RangeError} If an argument does not fit 32 bits, or there is no call of this name.
   * @throws {IommuError} `"change-in-progress"` inside a transaction, or from inside a listener or a notifier;
   * `"disposed"`; `"core-trapped"`.
   */
  rtas(call: RtasName | number, args: readonly number[], nret: number): RtasResult {
    const token = typeof call === "number" ? checkInteger("token", call) : tokenOf(call);
    const words = Uint32Array.from(args, (arg, at) => checkInteger(`argument ${at}`, arg));
    checkInteger("nret", nret);
    return this.#rtas((raw) => raw.rtas(token, words, nret));
  }

  /**
   * Resets the machine as a reboot does: default windows, empty tables, no bypass. Memory is left alone.
   *
   * @throws {IommuError} If a container cannot hold a default window, the machine is as before, and the error is its.
   * `"unmap-failed"` if one could not let go of what was mapped: the machine is reset, and the container has failed.
   * `"change-in-progress"` inside a transaction, or from inside a listener or a notifier; `"disposed"`; `"core-trapped"`.
   */
  reset(): void {
    const { error } = this.#act("reset", (raw) => raw.reset());
    if (error !== undefined) throw error;
  }

  /**
   * Saves the state of all windows and devices: options, windows, entries with all their bits, bypass. Memory is not in it.
   *
   * @returns Bytes in a format of giommu's own, which begins with its version. Their number follows what is stored.
   * @throws {IommuError} `"disposed"`; `"core-trapped"`.
   */
  save(): Uint8Array {
    const raw = this.#live("save");
    return callCore(() => raw.save(), () => `save ${this}`);
  }

  /**
   * Brings the machine into a saved state. Containers on its buses are brought in step with it, all or nothing.
   *
   * @param state What {@linkcode save} returned, of a machine with the same bridges and devices.
   * @throws {TypeError} If it is no `Uint8Array`.
   * @throws {IommuError} `"snapshot-version"`, `"snapshot-mismatch"` (of another machine), `"bad-input"` (damaged),
   * `"entry-limit"`, or whatever a container refuses with: the machine is as before. `"unmap-failed"` if a container
   * could not let go of what was mapped: the state is the saved one, and the container has failed.
   * `"change-in-progress"` inside a transaction, or from inside a listener or a notifier; `"disposed"`; `"core-trapped"`.
   */
  restore(state: Uint8Array): void {
    checkState(state);
    const { error } = this.#act("restore", (raw) => {
      try {
        raw.restore(state);
      } catch (error) {
        throw stateRefused(`restore ${this}`, error);
      }
    });
    if (error !== undefined) throw error;
  }

  /**
   * Makes a machine as it was saved, with all its bridges and devices.
   *
   * @param state What {@linkcode save} returned, in this process or another one.
   * @param options Its memory, and its limits.
   * @returns The machine, which the caller disposes of.
   * @throws {TypeError} If `state` is no `Uint8Array`, or there are not exactly one of `ram` and `memory`.
   * @throws {IommuError} `"snapshot-version"`, `"bad-input"` (damaged), `"entry-limit"`; `"core-trapped"`.
   *
   * @example
   * ```ts
   * import { SpaprMachine } from "@giommu/spapr-tce";
   * import { assertEquals } from "@std/assert";
   *
   * using machine = new SpaprMachine({ ram: 0x10000n, phbs: [{ index: 0 }], vios: [{ unit: 0x7100_0001 }] });
   * machine.putTce(0x7100_0001, 0x3000n, 0x5003n);
   *
   * using moved = SpaprMachine.fromSnapshot(machine.save(), { ram: 0x10000n });
   * assertEquals(moved.getTce(0x7100_0001, 0x3000n).value, 0x5003n);
   * ```
   */
  static fromSnapshot(state: Uint8Array, options: SpaprMachineOptions): SpaprMachine {
    checkState(state);
    const limit = checkInteger("entryLimit", options.entryLimit ?? DEFAULT_ENTRY_LIMIT, 0, MAX_ENTRY_LIMIT);
    const raw = callCore(() => {
      try {
        return RawSpaprMachine.fromSnapshot(state, limit);
      } catch (error) {
        throw stateRefused("restore an sPAPR machine", error);
      }
    }, () => "restore an sPAPR machine");
    const init: SpaprMachineInit = { ...options };
    adopted.set(init, raw);
    return new SpaprMachine(init);
  }

  /**
   * Removes all devices, disposes of their tables and spaces, and of the memory that it made; twice is fine.
   *
   * @throws {IommuError} `"change-in-progress"` from inside a listener's callback; nothing is done then.
   * @throws The first error that a listener throws, once all is done.
   */
  dispose(): void {
    if (this.#raw === undefined) return;
    transaction(() => {}); // throws from inside a listener's callback
    const raw = this.#raw;
    this.#raw = undefined;
    try {
      this.#devices[Symbol.dispose]();
    } finally {
      raw.free();
      if (this.#ownsMemory) this.memory.dispose();
    }
  }

  /** The same as {@linkcode dispose}. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  /** How messages name it. */
  toString(): string {
    return "the sPAPR machine";
  }

  #hcall(opcode: bigint, r4: bigint, r5: bigint, r6: bigint, r7: bigint): HcallResult {
    switch (opcode) {
      case HcallOpcode.PUT_TCE:
        return this.putTce(r4, r5, r6);
      case HcallOpcode.GET_TCE:
        return this.getTce(r4, r5);
      case HcallOpcode.STUFF_TCE:
        return this.stuffTce(r4, r5, r6, r7);
      case HcallOpcode.PUT_TCE_INDIRECT:
        return this.putTceIndirect(r4, r5, r6, r7);
      case HcallOpcode.RTAS:
        return this.#rtasBlock(r4);
      default:
        return { ret: Hcall.FUNCTION };
    }
  }

  /** The table that a guest's call names. */
  #called(liobn: number | bigint): TceTable | undefined {
    const table = this.#devices.called(liobn);
    if (table === undefined) this.#live("make a hypercall of");
    return table;
  }

  #rtasBlock(block: bigint): HcallResult {
    checkU64("block", block);
    const words = readBlock(this.ram, block);
    let answersAt = 0n;
    const { ret, rets, error } = this.#rtas((raw) => {
      raw.rtasWords(words);
      answersAt = raw.answersAt;
    });
    writeAnswers(this.ram, block, answersAt, rets);
    return error === undefined ? { ret } : { ret, error };
  }

  #rtas(call: (raw: RawSpaprMachine) => void): RtasResult {
    const { error } = this.#act("make an RTAS call of", call);
    const raw = this.#live("make an RTAS call of");
    // A guest knows no third way: what did not go well is a failure of the hardware, whether undone or not.
    if (error !== undefined) raw.failReply();
    const rets = Object.freeze(Array.from(raw.rets()));
    const result = { ret: raw.ret as Hcall, status: ((rets[0] ?? 0) | 0) as RtasStatus, rets };
    return error === undefined ? result : { ...result, error };
  }

  #act(verb: string, call: (raw: RawSpaprMachine) => void): Delivered {
    const raw = this.#live(verb);
    if (inTransaction() || this.tables.some(({ region }) => region.notifiers.changing)) {
      throw new IommuError("change-in-progress", `Cannot ${verb} ${this}: another change is under way`, {
        remedy: "do it after the transaction, or after what listeners are being told",
      });
    }
    transaction(() => {}); // throws from inside a listener's callback
    callCore(() => call(raw), () => `${verb} ${this}`);
    if (raw.eventsLength === 0) return NOTHING;
    try {
      return callCore(() => deliver(raw, this.#devices), () => `${verb} ${this}`);
    } finally {
      this.#devices.settle();
    }
  }

  #configure(what: string, call: () => void): void {
    callCore(() => {
      try {
        call();
      } catch (error) {
        if (error instanceof IommuError) throw error;
        const message = error instanceof Error ? error.message : String(error);
        throw new RangeError(`Cannot ${what} ${this}: ${message}`, { cause: error });
      }
    }, () => `${what} ${this}`);
  }

  #live(verb: string): RawSpaprMachine {
    if (this.#raw === undefined) throw new IommuError("disposed", `Cannot ${verb} ${this}: it was disposed`);
    return this.#raw;
  }
}

const NO_TABLE: HcallResult = Object.freeze({ ret: Hcall.PARAMETER });
const NO_TABLES: HcallResult = Object.freeze({ ret: Hcall.PARAMETER, stored: 0 });
const NOTHING: Delivered = Object.freeze({ undone: false });

function tokenOf(name: RtasName): number {
  if (!Object.hasOwn(RTAS_TOKENS, name)) throw new RangeError(`Cannot make an RTAS call: there is no ${String(name)}`);
  return RTAS_TOKENS[name];
}

function checkState(state: Uint8Array): void {
  if (!(state instanceof Uint8Array)) {
    throw new TypeError(`Cannot restore an sPAPR machine: expected a Uint8Array, got ${typeof state}`);
  }
}

function missing(device: string, all: readonly object[]): never {
  throw new RangeError(`Cannot find ${device}: the sPAPR machine has ${all.length === 0 ? "none" : all.join(", ")}`);
}

function duplicate(device: string): IommuError {
  return new IommuError("duplicate-liobn", `Cannot add ${device} to the sPAPR machine: there is one already`);
}
