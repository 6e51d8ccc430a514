import { checkInteger } from "@giommu/core";
import type { MachinePhbInit, SpaprVioInit } from "@giommu/spapr-tce";
import { HcallOpcode, RTAS_TOKENS } from "@giommu/spapr-tce";
import type { RecordedAction, RecordedRtasCall } from "./recorded_operation.ts";

/** What a {@linkcode randomGuest} runs on, and for how long. */
export interface RandomGuestInit {
  /** Which guest: the same number always gives the same one. 0 to 2^32 - 1. */
  readonly seed: number;
  /** How many actions it makes; without an end unless given. */
  readonly actions?: number;
  /** The machine's PCI host bridges. */
  readonly phbs?: readonly MachinePhbInit[];
  /** The machine's VIO devices that have a table. */
  readonly vios?: readonly SpaprVioInit[];
  /** How often, in percent, a value is anything at all and not one that is likely to matter; 6 unless given. */
  readonly wild?: number;
}

/** Where lists of entries are stored, and from where calls take them: pages 4 to 7 of RAM. */
const LISTS = 4n;
const ALL = (1n << 64n) - 1n;

/**
 * A guest that does anything a pseries guest can do to its IOMMUs: hypercalls and RTAS calls of every kind, lists in its
 * memory, reboots. Arguments are mostly near to where something happens (few pages, both ends of windows), sometimes
 * anything at all.
 *
 * Nothing here depends on what a machine answers, so that the same guest can run on several machines side by side. It stores
 * in the first 32 KiB of RAM; RTAS blocks are placed by {@linkcode performAction}.
 *
 * @param init Which guest, and what the machine has.
 * @returns Its actions, made as they are asked for.
 * @throws {RangeError} If a number is out of bounds.
 *
 * @example
 * ```ts
 * import { randomGuest } from "@giommu/testing";
 * import { assertEquals } from "@std/assert";
 *
 * const phbs = [{ index: 0 }];
 * const once = [...randomGuest({ seed: 7, phbs, actions: 50 })];
 * assertEquals(once.length, 50);
 * assertEquals([...randomGuest({ seed: 7, phbs, actions: 50 })], once);
 * ```
 */
export function randomGuest(init: RandomGuestInit): Generator<RecordedAction, void> {
  const { seed, actions = Infinity, phbs = [], vios = [], wild = 6 } = init;
  checkInteger("seed", seed);
  if (actions !== Infinity) checkInteger("actions", actions, 0, Number.MAX_SAFE_INTEGER);
  checkInteger("wild", wild, 0, 100);
  return made(new Guest(new Dice(seed), phbs, vios.map(({ unit }) => unit), wild), actions);
}

function* made(guest: Guest, actions: number): Generator<RecordedAction, void> {
  for (let count = 0; count < actions; count++) yield guest.action();
}

class Guest {
  readonly #dice: Dice;
  readonly #phbs: readonly MachinePhbInit[];
  readonly #vios: readonly number[];
  readonly #wild: number;

  constructor(dice: Dice, phbs: readonly MachinePhbInit[], vios: readonly number[], wild: number) {
    this.#dice = dice;
    this.#phbs = phbs;
    this.#vios = vios;
    this.#wild = wild;
  }

  action(): RecordedAction {
    return this.#dice.weighed<RecordedAction>([
      [14, () => this.#hcall(HcallOpcode.PUT_TCE, this.#tce())],
      [8, () => this.#hcall(HcallOpcode.STUFF_TCE, this.#tce(), this.#npages())],
      [8, () => this.#hcall(HcallOpcode.PUT_TCE_INDIRECT, this.#list(), this.#npages())],
      [6, () => this.#hcall(HcallOpcode.GET_TCE)],
      [4, () => this.#poke()],
      [10, () => this.#rtas()],
      [1, () => ({ kind: "reboot" })],
    ]);
  }

  #hcall(opcode: bigint, ...more: readonly bigint[]): RecordedAction {
    return { kind: "hcall", opcode, args: [...this.#place(), ...more] };
  }

  /** A LIOBN, and a bus address where its window mostly is. */
  #place(): readonly [liobn: bigint, ioba: bigint] {
    const units = this.#phbs.length * 2 + this.#vios.length;
    const which = this.#dice.below(Math.max(units, 1));
    const phb = this.#phbs[which >> 1];
    const { dmaWinAddr = 0n, dmaWinSize = 1n << 30n, dma64WinAddr = 1n << 59n, index = 0 } = phb ?? {};
    const window = phb === undefined ? 0 : which & 1;
    const unit = this.#vios[which - 2 * this.#phbs.length] ?? 0x7100_0001;
    const liobn = phb === undefined ? BigInt(unit) : 0x8000_0000n | BigInt(index) << 8n | BigInt(window);
    const start = this.#dice.of(window === 0 ? [dmaWinAddr, dmaWinAddr, dma64WinAddr] : [dma64WinAddr, dmaWinAddr]);
    const base = this.#dice.below(6) === 0 ? start + dmaWinSize - 0x3000n : start;
    const ioba = BigInt.asUintN(64, base + BigInt(this.#dice.below(0x6000)));
    return [this.#or(liobn), this.#or(ioba)];
  }

  /** Few pages of RAM and some beyond, all permissions, reserved bits; often nothing. */
  #tce(): bigint {
    if (this.#dice.below(4) === 0) return 0n;
    const bits = this.#dice.of([0n, 1n, 2n, 3n, 3n, 3n, 0x7fbn]);
    return this.#or(BigInt(this.#dice.below(20)) << 12n | bits);
  }

  #npages(): bigint {
    return this.#or(this.#dice.weighed<bigint>([
      [6, () => BigInt(this.#dice.below(8))],
      [2, () => BigInt(200 + this.#dice.below(600))],
      [1, () => 1n << 18n],
    ]));
  }

  #list(): bigint {
    return this.#or((LISTS + BigInt(this.#dice.below(4))) << 12n);
  }

  #poke(): RecordedAction {
    const address = (LISTS + BigInt(this.#dice.below(4))) << 12n;
    return { kind: "poke", address, words: Array.from({ length: 1 + this.#dice.below(16) }, () => this.#tce()) };
  }

  #rtas(): RecordedRtasCall {
    const { index = 0 } = this.#phbs.length > 0 ? this.#dice.of(this.#phbs) : {};
    const buid = [0x0800_0000, 0x2000_0000 + index];
    const call = (name: keyof typeof RTAS_TOKENS, args: readonly number[], nret: number): RecordedRtasCall => {
      const words = args.map((word) => Number(this.#or(BigInt(word)) & 0xffff_ffffn));
      return { kind: "rtas", token: RTAS_TOKENS[name], args: words, nret };
    };
    return this.#dice.weighed<RecordedRtasCall>([
      [8, () => call("ibm,create-pe-dma-window", [0, ...buid, ...this.#shifts()], 4)],
      [5, () => call("ibm,remove-pe-dma-window", [0x8000_0000 + 256 * index + this.#dice.below(2)], 1)],
      [2, () => call("ibm,query-pe-dma-window", [0, ...buid], this.#dice.of([5, 6]))],
      [1, () => call("ibm,reset-pe-dma-window", [0, ...buid], 1)],
      [
        2,
        () =>
          call("ibm,set-tce-bypass", [this.#vios.length > 0 ? this.#dice.of(this.#vios) : 0, this.#dice.below(2)], 1),
      ],
      [1, () => call("quiesce", [], 1)],
    ]);
  }

  /** A page shift, mostly one that is allowed, and a window shift that makes a small window of it. */
  #shifts(): [page: number, window: number] {
    const page = this.#dice.of([12, 12, 16, 21, 24, 20]);
    return [page, page + this.#dice.below(8)];
  }

  #or(likely: bigint): bigint {
    return this.#dice.below(100) < this.#wild ? this.#dice.u64() & ALL >> BigInt(this.#dice.below(64)) : likely;
  }
}

/** Numbers that look random and are the same for the same seed, on every machine (mulberry32, in the public domain). */
class Dice {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  u32(): number {
    this.#state = (this.#state + 0x6d2b_79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ mixed >>> 15, mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ mixed >>> 7, mixed | 61);
    return (mixed ^ mixed >>> 14) >>> 0;
  }

  u64(): bigint {
    return BigInt(this.u32()) << 32n | BigInt(this.u32());
  }

  /** 0 to `limit` - 1. */
  below(limit: number): number {
    return this.u32() % limit;
  }

  of<T>(values: readonly T[]): T {
    return values[this.below(values.length)] as T;
  }

  /** Makes one of several things, each as often as its weight says. */
  weighed<T>(choices: readonly (readonly [weight: number, make: () => T])[]): T {
    let left = this.below(choices.reduce((sum, [weight]) => sum + weight, 0));
    for (const [weight, make] of choices) {
      if (left < weight) return make();
      left -= weight;
    }
    throw new RangeError("Cannot choose: there is nothing to choose from");
  }
}
