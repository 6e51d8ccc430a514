import type { Gpa, Iova } from "@giommu/core";
import type { GuestMemory } from "@giommu/memory-api";
import { DEFAULT_ENTRY_LIMIT, Hcall, HcallOpcode, RTAS_TOKENS, RtasStatus } from "@giommu/spapr-tce";
import type { MachinePhbInit, SpaprVioInit } from "@giommu/spapr-tce";
import { ModelPhb } from "./_model_phb.ts";
import { ModelWindow } from "./model_window.ts";

/** The most entries of one H_PUT_TCE_INDIRECT: a page of 4 KiB. */
const INDIRECT_MAX = 512n;

/** The defaults of QEMU's `spapr-pci-host-bridge` (hw/ppc/spapr_pci.c). */
const PHB: Required<Omit<MachinePhbInit, "index">> = {
  ddw: true,
  pgsz: 0x121_1000n,
  dmaWinAddr: 0n,
  dmaWinSize: 0x4000_0000n,
  dma64WinAddr: 0x800_0000_0000_0000n,
};

/** What makes a {@linkcode SpaprModel}: what makes a `SpaprMachine`, but for its memory. */
export interface SpaprModelInit {
  /** The PCI host bridges. */
  readonly phbs?: readonly MachinePhbInit[];
  /** The VIO devices with a table. */
  readonly vios?: readonly SpaprVioInit[];
  /** How many entries all tables together may have that are not 0. */
  readonly entryLimit?: number;
}

/** How a hypercall of the model ended. */
export interface ModelHcall {
  /** r3. */
  readonly ret: number;
  /** r4, after an H_GET_TCE that succeeded. */
  readonly value?: bigint;
}

/** How an RTAS call of the model ended. */
export interface ModelRtas {
  /** r3. */
  readonly ret: number;
  /** The words that are written after the arguments, the status first. */
  readonly rets: readonly number[];
}

/** A VIO device of the model. */
interface ModelVio {
  readonly window: ModelWindow;
  bypass: boolean;
}

/**
 * What a pseries machine does, as plainly as it can be said: maps of entries, no tables, no listeners, byte by byte.
 *
 * It is for tests that do the same to a `SpaprMachine` and to a model and compare. It was written from the recordings of
 * QEMU 10.0.2 in `tests/data/vectors`, which it agrees with, and from PAPR; not from the code that it is compared with.
 * No host is behind it, so that nothing is ever refused but by the entry limit. Arguments are taken to be in range.
 *
 * @example
 * ```ts
 * import { ArrayGuestMemory } from "@giommu/memory-api";
 * import { HcallOpcode, RTAS_TOKENS } from "@giommu/spapr-tce";
 * import { SpaprModel } from "@giommu/testing";
 * import { assertEquals } from "@std/assert";
 *
 * const model = new SpaprModel({ phbs: [{ index: 0 }] });
 * const ram = new ArrayGuestMemory(0x10000);
 * assertEquals(model.hcall(HcallOpcode.PUT_TCE, [0x8000_0000n, 0x3000n, 0x5001n], ram).ret, 0);
 * assertEquals(model.reachFromPci(0, 0x3010n, 1), 0x5010n);
 * assertEquals(model.reachFromPci(0, 0x3010n, 2), undefined); // read-only
 *
 * const remove = RTAS_TOKENS["ibm,remove-pe-dma-window"];
 * assertEquals(model.rtas(remove, [0x8000_0000], 1), { ret: 0, rets: [0] });
 * assertEquals(model.windows, []);
 * ```
 */
export class SpaprModel {
  readonly #limit: number;
  readonly #phbs: readonly ModelPhb[];
  readonly #vios: ReadonlyMap<number, ModelVio>;

  /**
   * Makes a machine with its default windows.
   *
   * @param init Its bridges and devices; or a model, of which this becomes a copy.
   */
  constructor(init: SpaprModelInit | SpaprModel = {}) {
    if (init instanceof SpaprModel) {
      this.#limit = init.#limit;
      this.#phbs = init.#phbs.map(({ options, slots }) => new ModelPhb(options, slots));
      this.#vios = new Map(
        Array.from(init.#vios, ([unit, { window, bypass }]) => {
          return [unit, { window: new ModelWindow(window.geometry, window.tces), bypass }];
        }),
      );
      return;
    }
    const { phbs = [], vios = [], entryLimit = DEFAULT_ENTRY_LIMIT } = init;
    this.#limit = entryLimit;
    this.#phbs = phbs.map((phb) => new ModelPhb({ ...PHB, ...phb }));
    this.#vios = new Map(
      vios.map(({ unit, windowSize = 0x1000_0000n }) => {
        const geometry = { liobn: unit, busOffset: 0n, pageShift: 12, entries: Number(windowSize >> 12n) };
        return [unit, { window: new ModelWindow(geometry), bypass: false }];
      }),
    );
  }

  /** The windows that are there now, by ascending LIOBN. */
  get windows(): readonly ModelWindow[] {
    const pci = this.#phbs.flatMap(({ slots }) => slots.filter((window) => window !== undefined));
    const vio = Array.from(this.#vios.values(), ({ window }) => window);
    return [...vio, ...pci].sort((a, b) => a.geometry.liobn - b.geometry.liobn);
  }

  /** How many entries are not 0. */
  get stored(): number {
    return this.windows.reduce((sum, { tces }) => sum + tces.size, 0);
  }

  /**
   * Whether a VIO device goes past its table.
   *
   * @param unit The device's unit number.
   * @returns Whether it does.
   */
  bypass(unit: number): boolean {
    return this.#vios.get(unit)?.bypass ?? false;
  }

  /**
   * Makes a hypercall.
   *
   * @param opcode One of the opcodes of the four TCE calls.
   * @param args r4 and on; what is missing is 0.
   * @param memory The guest's memory, for the list of an H_PUT_TCE_INDIRECT.
   * @returns How it ended.
   */
  hcall(opcode: bigint, args: readonly bigint[], memory: GuestMemory): ModelHcall {
    const [liobn = 0n, ioba = 0n, third = 0n, npages = 0n] = args;
    const window = this.windows.find(({ geometry }) => BigInt(geometry.liobn) === liobn);
    if (window === undefined) return { ret: this.#knows(opcode) ? Hcall.PARAMETER : Hcall.FUNCTION };
    const { entries } = window.geometry;
    switch (opcode) {
      case HcallOpcode.GET_TCE: {
        const index = window.index(ioba);
        if (index === undefined) return { ret: Hcall.PARAMETER };
        return { ret: Hcall.SUCCESS, value: window.tces.get(index) ?? 0n };
      }
      case HcallOpcode.PUT_TCE:
        return { ret: this.#store(window, ioba, 1, () => third) };
      case HcallOpcode.STUFF_TCE:
        if (npages > BigInt(entries)) return { ret: Hcall.PARAMETER };
        return { ret: this.#store(window, ioba, Number(npages), () => third) };
      case HcallOpcode.PUT_TCE_INDIRECT: {
        if (npages > INDIRECT_MAX || (third & 0xfffn) !== 0n) return { ret: Hcall.PARAMETER };
        return { ret: this.#store(window, ioba, Number(npages), (at) => word(memory, third + 8n * BigInt(at))) };
      }
      default:
        return { ret: Hcall.FUNCTION };
    }
  }

  /**
   * Makes an RTAS call.
   *
   * @param token The number by which RTAS knows it.
   * @param args Its arguments, 32-bit words.
   * @param nret How many words the guest expects back.
   * @returns How it ended.
   */
  rtas(token: number, args: readonly number[], nret: number): ModelRtas {
    const done = this.#rtas(token, args, nret);
    if (done === undefined) return { ret: Hcall.PARAMETER, rets: [RtasStatus.PARAMETER_ERROR >>> 0] };
    return { ret: Hcall.SUCCESS, rets: typeof done === "number" ? [done >>> 0] : [RtasStatus.SUCCESS, ...done] };
  }

  /** Resets the machine, as a reboot does: default windows, empty tables, no bypass. */
  reset(): void {
    for (const phb of this.#phbs) phb.reset();
    for (const vio of this.#vios.values()) {
      vio.window.tces.clear();
      vio.bypass = false;
    }
  }

  /**
   * Where an access of a PCI device to one byte goes. The window with the higher LIOBN hides the other, also where its
   * entry allows nothing.
   *
   * @param phb The index of the bridge.
   * @param bus The bus address.
   * @param access 1 to read, 2 to write.
   * @returns The guest-physical address, whether or not RAM is there; `undefined` if the access is not allowed.
   */
  reachFromPci(phb: number, bus: Iova, access: 1 | 2): Gpa | undefined {
    const slots = this.#phbs.find(({ options }) => options.index === phb)?.slots ?? [];
    return slots.findLast((window) => window?.covers(bus))?.target(bus, access);
  }

  /**
   * Where an access of a VIO device to one byte goes.
   *
   * @param unit The device's unit number.
   * @param bus The bus address.
   * @param access 1 to read, 2 to write.
   * @returns The guest-physical address, whether or not RAM is there; `undefined` if the access is not allowed.
   */
  reachFromVio(unit: number, bus: Iova, access: 1 | 2): Gpa | undefined {
    const vio = this.#vios.get(unit);
    if (vio?.bypass) return bus;
    return vio?.window.covers(bus) ? vio.window.target(bus, access) : undefined;
  }

  /** Stores `value(i)` in entries from a bus address on. One that runs off the end keeps what it stored. */
  #store(window: ModelWindow, ioba: Iova, count: number, value: (at: number) => bigint): number {
    const first = window.index(ioba);
    if (count === 0 || first === undefined) return Hcall.PARAMETER;
    const fits = Math.min(count, window.geometry.entries - first);
    const old = [...window.tces.keys()].filter((index) => index >= first && index < first + fits);
    // More than a list's worth is one value.
    const looked = Array.from({ length: Math.min(fits, Number(INDIRECT_MAX)) }, (_, at) => value(at));
    const news = looked.filter((tce) => tce !== 0n).length;
    const more = news > 0 && fits > looked.length ? fits : news;
    if (news > 0 && this.stored - old.length + more > this.#limit) return Hcall.NOT_ENOUGH_RESOURCES;
    for (const index of old) window.tces.delete(index);
    for (let at = 0; news > 0 && at < fits; at++) {
      const tce = looked[at] ?? looked[0] ?? 0n;
      if (tce !== 0n) window.tces.set(first + at, tce);
    }
    return fits < count ? Hcall.PARAMETER : Hcall.SUCCESS;
  }

  /** The words beside the status, or the status; `undefined` if there is no such call. */
  #rtas(token: number, args: readonly number[], nret: number): readonly number[] | RtasStatus | undefined {
    const nargs = args.length;
    switch (token) {
      case RTAS_TOKENS["ibm,query-pe-dma-window"]: {
        if (nargs !== 3 || nret !== 5 && nret !== 6) return RtasStatus.PARAMETER_ERROR;
        return this.#ddw(args)?.query(nret) ?? RtasStatus.PARAMETER_ERROR;
      }
      case RTAS_TOKENS["ibm,create-pe-dma-window"]: {
        if (nargs !== 5 || nret !== 4) return RtasStatus.PARAMETER_ERROR;
        const [, , , pageShift = 0, windowShift = 0] = args;
        return this.#ddw(args)?.create(pageShift, windowShift) ?? RtasStatus.PARAMETER_ERROR;
      }
      case RTAS_TOKENS["ibm,remove-pe-dma-window"]: {
        if (nargs !== 1 || nret !== 1) return RtasStatus.PARAMETER_ERROR;
        const [liobn = 0] = args;
        const owner = this.#phbs.find((phb) => liobn >= phb.liobn(0) && liobn < phb.liobn(0x100));
        return owner?.remove(liobn) ?? RtasStatus.PARAMETER_ERROR;
      }
      case RTAS_TOKENS["ibm,reset-pe-dma-window"]: {
        const phb = nargs === 3 && nret === 1 ? this.#ddw(args) : undefined;
        phb?.reset();
        return phb === undefined ? RtasStatus.PARAMETER_ERROR : RtasStatus.SUCCESS;
      }
      case RTAS_TOKENS["ibm,set-tce-bypass"]: {
        const [unit = 0, on = 0] = args;
        const vio = nargs === 2 ? this.#vios.get(unit) : undefined; // nret is not looked at
        if (vio === undefined) return RtasStatus.PARAMETER_ERROR;
        vio.bypass = on !== 0;
        return RtasStatus.SUCCESS;
      }
      case RTAS_TOKENS["quiesce"]:
        if (nargs !== 0) return RtasStatus.PARAMETER_ERROR;
        for (const { window } of this.#vios.values()) window.tces.clear();
        return RtasStatus.SUCCESS;
      default:
        return undefined;
    }
  }

  /** The bridge that a call names by its BUID; the config address means nothing. */
  #ddw([, high = 0, low = 0]: readonly number[]): ModelPhb | undefined {
    const buid = BigInt(high) << 32n | BigInt(low);
    return this.#phbs.find((phb) => phb.buid === buid && phb.options.ddw);
  }

  #knows(opcode: bigint): boolean {
    return Object.values<bigint>(HcallOpcode).includes(opcode);
  }
}

/** A big-endian word of guest memory; outside RAM it reads as 0. */
function word(memory: GuestMemory, gpa: Gpa): bigint {
  const bytes = new Uint8Array(8);
  return memory.read(gpa, bytes) ? new DataView(bytes.buffer).getBigUint64(0) : 0n;
}
