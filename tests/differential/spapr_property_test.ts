// Random guests of a pseries machine, with devices plugged in and out on a PCI bus and a VIO device, on hosts that hold
// everything, that have the rules of Linux, and that fail at any call: after every step the guest's tables are those of
// a plain model, every host holds exactly what its devices must reach, and what was refused changed nothing.
import { HcallOpcode } from "@giommu/spapr-tce";
import type { SimulatedHostOptions } from "@giommu/vfio-sync";
import { assert } from "@std/assert";
import fc from "fast-check";
import { FAR, type Step, step } from "./spapr_calls.ts";
import { ContainerFailed, SpaprPair, type Tally } from "./spapr_pair.ts";

const HOSTS: readonly (readonly [string, SimulatedHostOptions])[] = [
  ["without rules", {}],
  ["type1", { rules: "type1" }],
  ["type1 with room for 12", { rules: "type1", maxMappings: 12 }],
  ["iommufd that splits", { rules: "iommufd", split: "atomic" }],
  ["spapr", { rules: "spapr" }],
];

/** A guest's story: what it does before there are devices, and after; its state is saved when they are plugged in. */
interface Story {
  readonly early: readonly Step[];
  readonly late: readonly Step[];
  readonly far: bigint;
}

function story(length: number): fc.Arbitrary<Story> {
  return fc.record({
    early: fc.array(step, { maxLength: 6, size: "max" }),
    late: fc.array(step, { minLength: 1, maxLength: length, size: "max" }),
    far: fc.constantFrom(...FAR),
  });
}

/** Where a host may refuse two things and fail at a third, so that each of these happens in every run. */
const MAPPED_AND_CHANGED: Story = {
  early: [],
  late: [0x1003n, 0x2003n].map((tce) => ({
    do: "hcall",
    opcode: HcallOpcode.PUT_TCE,
    args: [0x8000_0000n, 0x5000n, tce],
    registers: true,
  })),
  far: 1n << 59n,
};

/** Plays a story; returns how many calls a host got at most. */
function play(
  { early, late, far }: Story,
  host: SimulatedHostOptions,
  failAt: readonly number[],
  tally: Tally,
): number {
  using pair = new SpaprPair({ far, host, failAt }, tally);
  const plug: readonly Step[] = [{ do: "save" }, { do: "plug", vio: false }, { do: "plug", vio: true }];
  try {
    for (const one of [...early, ...plug, ...late]) pair.step(one);
  } catch (error) {
    if (!(error instanceof ContainerFailed)) throw error;
  }
  return pair.hostCalls;
}

for (const [name, host] of HOSTS) {
  Deno.test(`Guest, model and hosts agree after every call: host ${name}`, () => {
    const tally: Tally = { done: 0, refused: 0, failed: 0 };
    fc.assert(fc.property(story(40), (one) => void play(one, host, [], tally)), { numRuns: 40 });
    assert(tally.done > 200 && tally.failed === 0, JSON.stringify(tally));
  });

  Deno.test(`Guest, model and hosts agree, or it is said, whichever host call fails: host ${name}`, () => {
    const tally: Tally = { done: 0, refused: 0, failed: 0 };
    fc.assert(
      fc.property(story(12), fc.nat(2), (one, first) => {
        const calls = Math.min(60, play(one, host, [], tally));
        for (let k = 1; k <= calls; k++) play(one, host, [k], tally);
        // And undone in vain: mappings are lost, rollbacks fail.
        for (let k = 1 + first; k <= calls; k += 3) play(one, host, [k, k + 1, k + 2], tally);
      }),
      { numRuns: 12, examples: [[MAPPED_AND_CHANGED, 0]] },
    );
    assert(tally.refused >= 2 && tally.failed >= 1, JSON.stringify(tally));
  });
}
