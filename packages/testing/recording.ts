import type { MachinePhbInit } from "@giommu/spapr-tce";
import { readOperation } from "./_operation.ts";
import { badLine, RecordedLine } from "./_recorded_line.ts";
import type { RecordedOperation } from "./recorded_operation.ts";

/** Bridges and devices that a recording may have: as many as QEMU has places for. */
const MAX_DEVICES = 256;

/** The least RAM of a machine that can be played, in bytes: RTAS calls pass their words through it. */
const MIN_RAM = 0x1_0000n;

/** The machine that a recording was made on. */
export interface RecordedMachine {
  /** Bytes of RAM, from address 0. */
  readonly ram: bigint;
  /** Its PCI host bridges. */
  readonly phbs: readonly MachinePhbInit[];
  /** The unit numbers of its VIO devices that have a table. */
  readonly vios: readonly number[];
  /** Whether bus 0 of bridge 0 has the device that DMA operations are about. */
  readonly hasDmaDevice: boolean;
}

/** Everything that a guest did to one machine, and what it was answered. */
export interface Recording {
  /** The file's name, for messages. */
  readonly name: string;
  /** The machine. */
  readonly machine: RecordedMachine;
  /** The first line as it stands in the file: what the machine was, and what it told of itself. */
  readonly facts: Readonly<Record<string, unknown>>;
  /** The operations, in order. */
  readonly operations: readonly RecordedOperation[];
  /** The last line as it stands in the file, with `final_windows`. */
  readonly last: Readonly<Record<string, unknown>>;
}

/**
 * Reads a recording: JSON lines, of which the first describes the machine and the last has `final_windows`.
 *
 * The format is that of the recordings of QEMU in `tests/data/vectors`, whose README defines it. Fields that say what
 * the guest did must be right. What it was answered is taken as it is, and so are operations and fields that are not
 * known: they are failures when the recording is played.
 *
 * @param name The file's name, for messages.
 * @param text The file's text.
 * @returns The recording.
 * @throws {IommuError} `"bad-input"`, with the file and the line, if it is no such recording.
 *
 * @example
 * ```ts
 * import { parseRecording } from "@giommu/testing";
 * import { assertEquals, assertThrows } from "@std/assert";
 *
 * const facts = `{"ram": "0x10000000", "phbs": [], "vio": [], "dma_device": false}`;
 * const poke = `{"n": 0, "op": "POKE64", "addr": "0x5000000", "data": ["0x1"]}`;
 * const recording = parseRecording("a.jsonl", `${facts}\n${poke}\n{"final_windows": []}\n`);
 * assertEquals(recording.machine.ram, 0x1000_0000n);
 * assertEquals(recording.operations[0]?.action, { kind: "poke", address: 0x500_0000n, words: [1n] });
 *
 * assertThrows(() => parseRecording("a.jsonl", `${facts}\n{"n": 0}\n{"final_windows": []}`), Error, "line 2: it has no op");
 * ```
 */
export function parseRecording(name: string, text: string): Recording {
  const lines = text.split("\n").flatMap((line, at) => line.trim() === "" ? [] : [{ line, number: at + 1 }]);
  const [first, ...rest] = lines.map(({ line, number }) => RecordedLine.parse(name, number, line));
  if (first === undefined) throw badLine(name, 1, "it is empty");
  const last = rest.pop();
  if (last === undefined) return first.bad("nothing follows it");
  const machine = readMachine(first);
  if (!last.has("final_windows")) last.bad("it is the last and has no final_windows, so the recording was cut");
  return { name, machine, facts: first.fields, operations: rest.map(readOperation), last: last.fields };
}

function readMachine(facts: RecordedLine): RecordedMachine {
  const ram = facts.u64("ram");
  if (ram < MIN_RAM) facts.bad(`ram is 0x${ram.toString(16)}, less than 0x${MIN_RAM.toString(16)} bytes`);
  return {
    ram,
    phbs: facts.objects("phbs", MAX_DEVICES).map((phb) => ({
      index: phb.whole("index", 0x7f_ffff),
      ddw: phb.flag("ddw"),
      pgsz: phb.u64("page_size_mask"),
      dmaWinAddr: phb.u64("dma_win_addr"),
      dmaWinSize: phb.u64("dma_win_size"),
      dma64WinAddr: phb.u64("dma64_win_addr"),
    })),
    vios: facts.objects("vio", MAX_DEVICES).map((vio) => vio.u32("unit")),
    hasDmaDevice: facts.has("dma_device") && facts.flag("dma_device"),
  };
}
