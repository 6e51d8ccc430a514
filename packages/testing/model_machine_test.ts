import { assertEquals } from "@std/assert";
import { ModelMachine } from "./model_machine.ts";
import { playRecordingOn } from "./play_recording.ts";
import { parseRecording } from "./recording.ts";
import { SpaprModel } from "./spapr_model.ts";
import { SparseGuestMemory } from "./sparse_guest_memory.ts";

const VECTORS = new URL("../../tests/data/vectors/", import.meta.url);

Deno.test("A model machine answers every recorded call of a guest as QEMU did, raw blocks too", async () => {
  let passed = 0;
  for await (const { name } of Deno.readDir(VECTORS)) {
    if (!name.endsWith(".jsonl")) continue;
    const recording = parseRecording(name, await Deno.readTextFile(new URL(name, VECTORS)));
    const { ram, phbs, vios } = recording.machine;
    const model = new SpaprModel({ phbs, vios: vios.map((unit) => ({ unit })) });
    const played = playRecordingOn(recording, new ModelMachine(model, new SparseGuestMemory(ram)));
    // What devices stored is not there to be loaded: these, and nothing else, may differ.
    const others = played.differences.filter(({ op }) => op !== "PEEK64");
    assertEquals(others, [], name);
    if (played.skipped === 0) assertEquals(played.failed, 0, name);
    passed += played.passed;
  }
  assertEquals(passed > 5_000, true);
});

Deno.test("A model machine leaves registers alone of a call that it does not know", () => {
  const machine = new ModelMachine(new SpaprModel(), new SparseGuestMemory(0x1000n));
  const registers = BigUint64Array.from([0x54n, 1n, 2n, 3n, 4n, 5n, 6n, 7n, 8n, 9n]);
  assertEquals(machine.hcallRegisters(registers), false);
  assertEquals(registers[0], 0x54n);
});
