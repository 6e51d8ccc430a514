import { HcallOpcode, RTAS_TOKENS, SpaprMachine } from "@giommu/spapr-tce";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { performAction } from "./guest_machine.ts";
import { ModelMachine } from "./model_machine.ts";
import { randomGuest } from "./random_guest.ts";
import { SpaprModel } from "./spapr_model.ts";
import { SparseGuestMemory } from "./sparse_guest_memory.ts";

const VIOS = [{ unit: 0x7100_0001 }];
const PHBS = [{ index: 0 }, { index: 1, dma64WinAddr: 0x2000n }];

Deno.test("A random guest sees the same on the machine and on the model", () => {
  const seen = new Map<unknown, number>();
  for (let seed = 0; seed < 30; seed++) {
    const init = { phbs: PHBS, vios: VIOS, entryLimit: 700 };
    using machine = new SpaprMachine({ ram: new SparseGuestMemory(0x10_0000n), ...init });
    const model = new ModelMachine(new SpaprModel(init), new SparseGuestMemory(0x10_0000n));
    for (const action of randomGuest({ seed, phbs: PHBS, vios: VIOS, actions: 300 })) {
      const answer = performAction(machine, action);
      assertEquals(answer, performAction(model, action), `seed ${seed}, ${JSON.stringify(action, plain)}`);
      const what = action.kind === "hcall"
        ? `${action.opcode} ${answer?.["ret"]}`
        : action.kind === "rtas"
        ? `${action.token} ${answer?.["status"]}`
        : action.kind;
      seen.set(what, (seen.get(what) ?? 0) + 1);
    }
  }
  // Every call succeeds often, and is refused often: a guest that only ever gets H_PARAMETER would test nothing.
  for (
    const opcode of [HcallOpcode.PUT_TCE, HcallOpcode.STUFF_TCE, HcallOpcode.PUT_TCE_INDIRECT, HcallOpcode.GET_TCE]
  ) {
    assert((seen.get(`${opcode} 0`) ?? 0) > 100, `${opcode} succeeded`);
    assert((seen.get(`${opcode} -4`) ?? 0) > 50, `${opcode} was refused`);
  }
  assert((seen.get(`${HcallOpcode.STUFF_TCE} -44`) ?? 0) > 10);
  assert((seen.get(`${RTAS_TOKENS["ibm,create-pe-dma-window"]} 0`) ?? 0) > 50);
  assert((seen.get(`${RTAS_TOKENS["ibm,create-pe-dma-window"]} -1`) ?? 0) > 50);
  assert((seen.get(`${RTAS_TOKENS["ibm,remove-pe-dma-window"]} 0`) ?? 0) > 50);
});

Deno.test("randomGuest() makes another guest of another seed", () => {
  assert(
    JSON.stringify([...randomGuest({ seed: 1, phbs: PHBS, actions: 9 })], plain) !==
      JSON.stringify([...randomGuest({ seed: 2, phbs: PHBS, actions: 9 })], plain),
  );
});

Deno.test("randomGuest() does without bridges and devices, and refuses numbers that are none", () => {
  assertEquals([...randomGuest({ seed: 3, actions: 40 })].length, 40);
  assertThrows(() => randomGuest({ seed: -1, actions: 1 }), RangeError, "seed");
  assertThrows(() => randomGuest({ seed: 1, actions: 1.5 }), RangeError, "actions");
  assertThrows(() => randomGuest({ seed: 1, actions: 1, wild: 101 }), RangeError, "wild");
});

function plain(_: string, value: unknown): unknown {
  return typeof value === "bigint" ? `0x${value.toString(16)}` : value;
}
