// Random guests of a pseries machine, with devices plugged in and out on a PCI bus and a VIO device, on hosts that hold
// everything, that have the rules of Linux, and that fail at any call: after every step the guest's tables are those of
// a plain model, every host holds exactly what its devices must reach, and what was refused changed nothing.
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

/** Numbers of host calls that fail: none, one, or several in a row, of which the first is undone in vain. */
const SCRIPTS: readonly (readonly [string, fc.Arbitrary<readonly number[]>])[] = [
  ["that never fails", fc.constant([])],
  ["that may fail at any call", fc.integer({ min: 1, max: 40 }).map((call) => [call])],
  ["that may fail at several calls", fc.integer({ min: 1, max: 40 }).map((call) => [call, call + 1, call + 2])],
];

const PLUG: readonly Step[] = [{ do: "plug", vio: false }, { do: "plug", vio: true }];

for (const [hostName, host] of HOSTS) {
  for (const [scriptName, script] of SCRIPTS) {
    Deno.test(`Guest, model and hosts agree after every call: host ${hostName}, ${scriptName}`, () => {
      const tally: Tally = { done: 0, refused: 0, failed: 0 };
      fc.assert(
        fc.property(
          fc.array(step, { minLength: 1, maxLength: 40 }),
          fc.array(step, { maxLength: 4 }),
          fc.constantFrom(...FAR),
          script,
          (steps, early, far, failAt) => {
            using pair = new SpaprPair({ far, host, failAt }, tally);
            try {
              for (const one of [...early, ...PLUG, ...steps]) pair.step(one);
            } catch (error) {
              if (!(error instanceof ContainerFailed)) throw error;
            }
          },
        ),
        { numRuns: 30 },
      );
      assert(tally.done > 100, `${tally.done} steps were done`);
      if (scriptName !== "that never fails") assert(tally.refused + tally.failed > 0, "no host ever refused or failed");
      else assert(tally.failed === 0);
      console.log(tally);
    });
  }
}
