import { fileURLToPath } from "node:url";

/** One JSON line of a recording. */
// deno-lint-ignore no-explicit-any -- tests alter any field
export type Line = any;

const FOLDER = fileURLToPath(new URL("../data/vectors/", import.meta.url));

/** The names of the bundled recordings, without their extension. */
export function recordingNames(): string[] {
  const files = Array.from(Deno.readDirSync(FOLDER), ({ name }) => name);
  return files.filter((name) => name.endsWith(".jsonl")).map((name) => name.slice(0, -".jsonl".length)).sort();
}

/** The text of a bundled recording. */
export function recordingText(name: string): string {
  return Deno.readTextFileSync(`${FOLDER}${name}.jsonl`);
}

/** The lines of a bundled recording. */
export function recordingLines(name: string): Line[] {
  return recordingText(name).trimEnd().split("\n").map((line) => JSON.parse(line));
}

/** The text of lines. */
export function linesText(lines: readonly Line[]): string {
  return lines.map((line) => `${JSON.stringify(line)}\n`).join("");
}
