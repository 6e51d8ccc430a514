// What random guests, devices and administrators do to a pseries machine: every kind of call, with arguments that are
// mostly close to where something happens, and sometimes anything at all.
import { HcallOpcode, RTAS_TOKENS, type RtasName } from "@giommu/spapr-tce";
import fc from "fast-check";

/** The machine's VIO device. */
export const UNIT = 0x7100_0001;
/** Its bridges. */
export const BUIDS: readonly bigint[] = [0x800_0000_2000_0000n, 0x800_0000_2000_0001n];
/** Bytes of its RAM. */
export const RAM_SIZE = 0x1_0000;
/** Where second windows begin: far away, as usual, or in the middle of the default window and of a large page. */
export const FAR: readonly bigint[] = [1n << 59n, 0x2000n];

/** One thing that is done to the machine. */
export type Step =
  | { readonly do: "hcall"; readonly opcode: bigint; readonly args: readonly bigint[]; readonly registers: boolean }
  | { readonly do: "rtas"; readonly token: number; readonly args: readonly number[]; readonly nret: number }
  | { readonly do: "block"; readonly at: bigint; readonly words: readonly number[] }
  | {
    readonly do: "dma";
    readonly vio: boolean;
    readonly bus: bigint;
    readonly bytes: number;
    readonly writes: boolean;
  }
  | { readonly do: "reset" | "save" | "restore" }
  | { readonly do: "plug" | "unplug"; readonly vio: boolean };

const u64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
const u32 = fc.integer({ min: 0, max: 0xffff_ffff });

function mostly<T>(likely: fc.Arbitrary<T>, anything: fc.Arbitrary<T>): fc.Arbitrary<T> {
  return fc.oneof({ weight: 15, arbitrary: likely }, { weight: 1, arbitrary: anything });
}

/** LIOBNs of the bridge that containers sit on, of the other one, of the VIO device, of nobody. */
const liobn = mostly(
  fc.constantFrom(
    ...[0x8000_0000n, 0x8000_0000n, 0x8000_0001n, 0x8000_0001n, 0x8000_0100n, 0x8000_0101n, BigInt(UNIT)],
    ...[0x8000_0002n, 0x1_8000_0000n],
  ),
  u64,
);

/** Few pages, at both ends of likely windows. */
const bus = mostly(near(0n, 0n, 0n, 0n, ...FAR, 0x3fff_c000n, 0x0fff_e000n, 1n << 24n, 2n ** 64n - 0x4000n), u64);

/** A LIOBN, and a bus address where its window mostly is. */
const place: fc.Arbitrary<readonly [liobn: bigint, bus: bigint]> = fc.oneof(
  { weight: 8, arbitrary: fc.tuple(fc.constant(0x8000_0000n), near(0n, 0n, 0n, ...FAR)) },
  { weight: 8, arbitrary: fc.tuple(fc.constant(0x8000_0001n), near(0n, ...FAR, ...FAR, (1n << 59n) + (1n << 24n))) },
  { weight: 8, arbitrary: fc.tuple(fc.constant(BigInt(UNIT)), near(0n)) },
  { weight: 1, arbitrary: fc.tuple(fc.constantFrom(0x8000_0100n, 0x8000_0101n), near(0n, ...FAR)) },
  { weight: 3, arbitrary: fc.tuple(liobn, bus) },
);

function near(...bases: readonly bigint[]): fc.Arbitrary<bigint> {
  return fc.tuple(fc.constantFrom(...bases), fc.bigInt({ min: 0n, max: 0x6000n })).map(([base, more]) =>
    BigInt.asUintN(64, base + more)
  );
}

/** Pages of RAM and a few beyond it, all permissions, reserved bits. */
const tce = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.tuple(fc.bigInt({ min: 0n, max: 19n }), fc.constantFrom(0n, 1n, 2n, 3n, 3n, 3n, 0x7fbn)).map((
      [page, bits],
    ) => page << 12n | bits),
  },
  { weight: 2, arbitrary: fc.constant(0n) },
  { weight: 1, arbitrary: u64 },
);

const npages = fc.oneof(
  { weight: 6, arbitrary: fc.bigInt({ min: 0n, max: 7n }) },
  { weight: 2, arbitrary: fc.bigInt({ min: 200n, max: 800n }) },
  { weight: 1, arbitrary: fc.constant(1n << 18n) },
  { weight: 1, arbitrary: u64 },
);

const list = fc.oneof(
  { weight: 4, arbitrary: fc.bigInt({ min: 0n, max: 19n }).map((page) => page << 12n) },
  { weight: 1, arbitrary: u64 },
);

/** A hypercall about an entry, with the arguments that follow its place. */
function hcall(opcode: bigint, ...more: fc.Arbitrary<bigint>[]): fc.Arbitrary<Step> {
  return fc.record({
    do: fc.constant("hcall" as const),
    opcode: fc.constant(opcode),
    args: fc.tuple(place, ...more).map(([where, ...rest]) => [...where, ...rest]),
    registers: fc.boolean(),
  });
}

const anyRegisters: fc.Arbitrary<Step> = fc.record({
  do: fc.constant("hcall" as const),
  opcode: mostly(fc.constantFrom<bigint>(...Object.values(HcallOpcode)), u64),
  args: fc.array(u64, { minLength: 9, maxLength: 9 }),
  registers: fc.constant(true),
});

const buidCells = fc.constantFrom(...BUIDS, 0x800_0000_2000_0002n).map((
  buid,
): [number, number] => [Number(buid >> 32n), Number(buid & 0xffff_ffffn)]);

/** A page shift, mostly one that is allowed, and a window shift that makes a small or a large window of it. */
const shifts = fc.tuple(
  fc.oneof(
    { weight: 6, arbitrary: fc.constantFrom(12, 12, 16, 21, 24) },
    { weight: 1, arbitrary: fc.integer({ min: 10, max: 80 }) },
    { weight: 1, arbitrary: u32 },
  ),
  fc.oneof(
    { weight: 6, arbitrary: fc.integer({ min: 0, max: 6 }) },
    { weight: 2, arbitrary: fc.integer({ min: -2, max: 60 }) },
    { weight: 1, arbitrary: u32 },
  ),
).map(([page, more]): [number, number] => [page, Math.min(0xffff_ffff, Math.max(0, page + more))]);

interface RtasWords {
  readonly token: number;
  readonly args: readonly number[];
  readonly nret: number;
}

function rtas(name: RtasName, args: fc.Arbitrary<readonly number[]>, ...nrets: number[]): fc.Arbitrary<RtasWords> {
  return fc.record({ token: fc.constant(RTAS_TOKENS[name]), args, nret: fc.constantFrom(...nrets) });
}

const rtasWords: fc.Arbitrary<RtasWords> = fc.oneof(
  {
    weight: 8,
    arbitrary: rtas(
      "ibm,create-pe-dma-window",
      fc.tuple(u32, buidCells, shifts).map(([config, buid, both]) => [config, ...buid, ...both]),
      4,
    ),
  },
  {
    weight: 5,
    arbitrary: rtas("ibm,remove-pe-dma-window", liobn.map((all) => [Number(all & 0xffff_ffffn)]), 1),
  },
  { weight: 2, arbitrary: rtas("ibm,query-pe-dma-window", buidCells.map((buid) => [0, ...buid]), 5, 6) },
  { weight: 1, arbitrary: rtas("ibm,reset-pe-dma-window", buidCells.map((buid) => [0, ...buid]), 1) },
  {
    weight: 2,
    arbitrary: rtas("ibm,set-tce-bypass", fc.constantFrom(0, 1, 7).map((on) => [UNIT, on]), 0, 1, 4),
  },
  { weight: 1, arbitrary: rtas("quiesce", fc.constant([]), 0, 1, 2) },
  {
    weight: 1,
    arbitrary: fc.record({
      token: mostly(fc.constantFrom(...Object.values(RTAS_TOKENS)), u32),
      args: fc.array(u32, { maxLength: 20 }),
      nret: mostly(fc.integer({ min: 0, max: 7 }), u32),
    }),
  },
);

/** A block in RAM, which may hang over its end or have one of the four address bits that mean nothing. */
const block: fc.Arbitrary<Step> = fc.record({
  do: fc.constant("block" as const),
  at: fc.tuple(
    fc.constantFrom(0xf000n, 0xf001n, 0xf802n, 0xffd0n, 0xfffen, 0x1_0000n),
    fc.constantFrom(0n, 0n, 0n, 0xfn),
  ).map(([at, high]) => at | high << 60n),
  words: rtasWords.map(({ token, args, nret }) => [token, args.length, nret, ...args]),
});

/** Any step; the weights make that most windows have entries, and most entries a window. */
export const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 14, arbitrary: hcall(HcallOpcode.PUT_TCE, tce) },
  { weight: 8, arbitrary: hcall(HcallOpcode.STUFF_TCE, tce, npages) },
  { weight: 8, arbitrary: hcall(HcallOpcode.PUT_TCE_INDIRECT, list, npages) },
  { weight: 2, arbitrary: hcall(HcallOpcode.GET_TCE) },
  { weight: 1, arbitrary: anyRegisters },
  { weight: 10, arbitrary: rtasWords.map((words): Step => ({ do: "rtas", ...words })) },
  { weight: 4, arbitrary: block },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant("dma" as const),
      vio: fc.boolean(),
      bus,
      bytes: fc.integer({ min: 0, max: 0x2000 }),
      writes: fc.boolean(),
    }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constantFrom("reset", "save", "restore", "restore") }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom("plug", "plug", "unplug"), vio: fc.boolean() }) },
);
