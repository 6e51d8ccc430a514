import { IommuError } from "@giommu/core";
import { type Answer, compareAnswers, type FieldDifference } from "./_answer.ts";
import { type GuestMachine, performAction } from "./guest_machine.ts";
import { ABOUT, factsOf, windowsOf } from "./_machine_facts.ts";
import { merged } from "./_merge.ts";
import { PlayedMachine, type Via } from "./_played_machine.ts";
import type { RecordedOperation } from "./recorded_operation.ts";
import type { Recording } from "./recording.ts";

/** A field in which a recording and a machine differ. */
export interface RecordingDifference {
  /** The operation's number; `null` for what the machine tells of itself before the first and after the last one. */
  readonly n: number | null;
  /** The operation's name; the field's for what the machine tells of itself. */
  readonly op: string;
  /**
   * The field. `op` for an operation that the machine does not know, `error` where it threw, `r8` and on for a register
   * that changed.
   */
  readonly field: string;
  /** What was recorded; `null` if nothing was. */
  readonly expected: unknown;
  /** What the machine answered, as the recording would say it; `null` if nothing. */
  readonly actual: unknown;
  /**
   * How the call was made that differs, where it is one of the two: in registers and a block in guest memory, or by the
   * methods of `SpaprMachine`. Absent where both differ alike.
   */
  readonly via?: "registers" | "methods";
}

/** How playing a recording went. */
export interface PlayedRecording {
  /**
   * How many operations it has: those in the file, one for what the machine tells of itself before the first
   * (`fdt_dma_windows` and the other facts), one for `final_windows`.
   */
  readonly ops: number;
  /** How many of them agree in every field. */
  readonly passed: number;
  /** How many do not. */
  readonly failed: number;
  /** The fields that differ, in the order of the file. */
  readonly differences: readonly RecordingDifference[];
}

/** How playing a recording on a machine of one's own went; `ops` are the operations in the file. */
export interface PlayedOnMachine extends PlayedRecording {
  /** How many operations are none of the guest's alone, and were left out: a device's DMA, calls of the logical LAN. */
  readonly skipped: number;
}

const BOTH: readonly Via[] = ["registers", "methods"];

/**
 * Does everything that a recording's guest did to a `SpaprMachine`, and compares every answer.
 *
 * The guest is played twice at the same time, on two machines: as a processor calls them, by `hcallRegisters` and with
 * RTAS calls as blocks in guest memory, and as a program does, by `putTce`, `rtas` and the other methods. An operation
 * passes if both answer as recorded. After one that does not, the rest is played all the same.
 *
 * @param recording The recording.
 * @returns What agrees and what does not.
 * @throws {IommuError} `"bad-input"` if its machine cannot be built.
 *
 * @example
 * ```ts
 * import { parseRecording, playRecording } from "@giommu/testing";
 * import { assertEquals } from "@std/assert";
 *
 * const text = await Deno.readTextFile("tests/data/vectors/put_get.jsonl");
 * assertEquals(playRecording(parseRecording("put_get.jsonl", text)).failed, 0);
 *
 * const altered = text.replace(`"ret": 0`, `"ret": -4`);
 * const { failed, differences } = playRecording(parseRecording("put_get.jsonl", altered));
 * assertEquals(failed, 1);
 * assertEquals(differences, [{ n: 0, op: "H_PUT_TCE", field: "ret", expected: -4, actual: 0 }]);
 * ```
 */
export function playRecording(recording: Recording): PlayedRecording {
  const pair: Played[] = [];
  // Not a DisposableStack, which Node.js before 24 has not.
  try {
    for (const via of BOTH) pair.push({ via, played: build(recording, via) });
    return playOn(pair, recording);
  } finally {
    for (const { played } of pair) played[Symbol.dispose]();
  }
}

/** A machine, and how calls reach it. */
interface Played {
  readonly via: Via;
  readonly played: PlayedMachine;
}

function playOn(pair: readonly Played[], { facts, operations, last }: Recording): PlayedRecording {
  const differences: RecordingDifference[] = [];
  let failed = 0;
  const check = (n: number | null, op: string | undefined, differs: (played: PlayedMachine) => FieldDifference[]) => {
    const found = merged(pair.map(({ via, played }) => [via, differs(played)]));
    if (found.length > 0) failed++;
    for (const { field, ...rest } of found) differences.push({ n, op: op ?? field, field, ...rest });
  };
  const told = Object.fromEntries(Object.entries(facts).filter(([name]) => !ABOUT.has(name)));
  check(null, undefined, ({ machine }) => compareAnswers(told, factsOf(machine, facts)));
  for (const operation of operations) {
    check(operation.n, operation.op, (played) => answered(operation, () => played.perform(operation)));
  }
  check(
    null,
    undefined,
    ({ machine }) => compareAnswers(last, new Map([["final_windows", windowsOf(machine)]])),
  );
  const ops = operations.length + 2;
  return { ops, passed: ops - failed, failed, differences };
}

/**
 * Does what a recording's guest did to any machine, in registers and memory, and compares every answer.
 *
 * Of a machine of your own nothing is known but what its guest sees: windows are told apart by what calls to them answer.
 *
 * @param recording The recording.
 * @param machine The machine, as after a reset, with the bridges, devices and RAM of `recording.machine`.
 * @returns What agrees, what does not, and how much was left out. A machine that throws has failed that operation.
 *
 * @example A VMM that forgets to round addresses down
 * ```ts
 * import { SpaprMachine } from "@giommu/spapr-tce";
 * import { parseRecording, playRecordingOn, SparseGuestMemory } from "@giommu/testing";
 * import { assertEquals } from "@std/assert";
 *
 * const recording = parseRecording("put_get.jsonl", await Deno.readTextFile("tests/data/vectors/put_get.jsonl"));
 * const { ram, phbs } = recording.machine;
 * using machine = new SpaprMachine({ ram: new SparseGuestMemory(ram), phbs });
 * const { failed, differences } = playRecordingOn(recording, {
 *   ram: machine.ram,
 *   reset: () => machine.reset(),
 *   hcallRegisters(registers) {
 *     if (((registers[2] ?? 0n) & 0xfffn) === 0n) return machine.hcallRegisters(registers);
 *     registers[0] = BigInt.asUintN(64, -4n); // H_PARAMETER
 *     return true;
 *   },
 * });
 * assertEquals([failed, differences[0]?.n, differences[0]?.expected], [13, 30, 0]);
 * ```
 */
export function playRecordingOn(recording: Recording, machine: GuestMachine): PlayedOnMachine {
  const differences: RecordingDifference[] = [];
  let failed = 0;
  let skipped = 0;
  for (const operation of recording.operations) {
    const { n, op, action } = operation;
    if (action.kind === "dma" || action.kind === "lan") {
      skipped++;
      continue;
    }
    const found = answered(operation, () => {
      const answer = performAction(machine, action);
      return answer && new Map(Object.entries(answer));
    });
    if (found.length > 0) failed++;
    for (const difference of found) differences.push({ n, op, ...difference });
  }
  const ops = recording.operations.length;
  return { ops, passed: ops - failed - skipped, failed, skipped, differences };
}

function build({ name, machine }: Recording, via: Via): PlayedMachine {
  try {
    return new PlayedMachine(machine, via);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new IommuError("bad-input", `Cannot play the recording ${name}: ${why}`, { cause });
  }
}

/** What differs once an operation was done; nothing that a guest does may throw, and what is left is played on. */
function answered(operation: RecordedOperation, perform: () => Answer | undefined): FieldDifference[] {
  let answer: Answer | undefined;
  try {
    answer = perform();
  } catch (error) {
    const actual = error instanceof Error ? error.message : String(error);
    return [{ field: "error", expected: null, actual }];
  }
  if (answer === undefined) return [{ field: "op", expected: operation.op, actual: null }];
  return compareAnswers(operation.answer, answer);
}
