import { IommuError } from "@giommu/core";
import { parseRecording, playRecording, type Recording } from "@giommu/testing";
import type { ConformanceReport } from "./conformance_report.ts";
import { parseConformanceOptions } from "./options.ts";
import { write, writeJson } from "./output.ts";
import { renderConformance } from "./render_conformance.ts";
import { fileSize, styleFor } from "./terminal.ts";
import { UsageError } from "./usage_error.ts";

/** How a recording's file name ends. */
const EXTENSION = ".jsonl";

/** The largest file that is read, in bytes; it is read as a whole. A recording of 300 operations has 45 kB. */
const MAX_FILE = 64_000_000;

/** One recording, by the name under which reports have it. */
interface Named {
  readonly file: string;
  readonly recording: Recording;
}

/**
 * Runs `giommu conformance`.
 *
 * @param args What was typed after `conformance`.
 * @returns The exit status.
 * @throws {UsageError} If the arguments are bad, or a file or folder is not what it should be.
 * @throws {IommuError} `"bad-input"` if a file is no recording.
 */
export async function conformanceCommand(args: readonly string[]): Promise<number> {
  const { inputs, json } = parseConformanceOptions(args);
  // All are read before the first is played: a bad one is said at once, and by itself.
  const files = (await Promise.all(inputs.map(recordingFiles))).flat();
  const recordings = await Promise.all(files.map(read));
  const report = play(recordings);
  if (json) writeJson(report);
  else write(renderConformance(report, styleFor(Deno.stdout.isTerminal(), Deno.noColor)));
  return report.failed === 0 ? 0 : 1;
}

function play(recordings: readonly Named[]): ConformanceReport {
  const played = recordings.map(({ file, recording }) => ({ file, ...playRecording(recording) }));
  return {
    scenarios: played.map(({ file, ops, passed, failed }) => ({ file, ops, passed, failed })),
    passed: played.reduce((sum, { passed }) => sum + passed, 0),
    failed: played.reduce((sum, { failed }) => sum + failed, 0),
    differences: played.flatMap(({ file, differences }) => differences.map((one) => ({ file, ...one }))),
  };
}

/** The recordings that an argument names: itself, or those in the folder that it is, by name. */
async function recordingFiles(input: string): Promise<string[]> {
  const { isDirectory } = await opening(input, () => Deno.stat(input));
  if (!isDirectory) return [input];
  const names = await opening(input, async () => {
    const found: string[] = [];
    for await (const { name } of Deno.readDir(input)) if (name.endsWith(EXTENSION)) found.push(name);
    return found;
  });
  if (names.length === 0) throw new UsageError(`the folder ${input} holds no recording: no file ends in ${EXTENSION}`);
  return names.sort().map((name) => `${input.replace(/[\\/]+$/, "")}/${name}`);
}

async function read(file: string): Promise<Named> {
  const bytes = await opening(file, () => readWhole(file));
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new IommuError("bad-input", `Cannot read the recording ${file}: it is not UTF-8 text`, { cause });
  }
  return { file, recording: parseRecording(file, text) };
}

/** All bytes of a file, which may be a pipe and tell no size. */
async function readWhole(file: string): Promise<Uint8Array> {
  using opened = await Deno.open(file, { read: true });
  const pieces: Uint8Array[] = [];
  let length = 0;
  for await (const piece of opened.readable) {
    pieces.push(piece);
    length += piece.length;
    if (length > MAX_FILE) throw new UsageError(`it has more than ${fileSize(MAX_FILE)}, which is no recording`);
  }
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const piece of pieces) {
    bytes.set(piece, at);
    at += piece.length;
  }
  return bytes;
}

/** Says of what the system refuses which file it was. */
async function opening<T>(file: string, act: () => Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) {
      throw new UsageError(`cannot read ${file}: there is no such file or folder`);
    }
    const why = error instanceof Error ? error.message : String(error);
    throw new UsageError(`cannot read ${file}: ${why}`);
  }
}
