/** The commands of a page's `sh` blocks, and which of them can be run anywhere. */

import type { CodeBlock } from "./page.ts";

/** One command that a reader is told to type. */
export interface Command {
  /** The command, without what follows it as a comment; `npx --yes deno@VERSION` is `deno`. */
  readonly text: string;
  /** The exit code that the page tells: `# exit 1`; 0 unless it does. */
  readonly exit: number;
  readonly line: number;
}

/** Files of the reader's, and what stands for them here. */
const STANDS_FOR: Readonly<Record<string, string>> = {
  "qemu.log": "tests/data/logs/hotplug-1g-4k.log.gz",
  "kernel.log": "tests/data/doctor/hotplug-1g-4k.kernel.gz",
  "qemu.stderr": "tests/data/doctor/hotplug-1g-4k.stderr",
  "before.log": "tests/data/logs/migration-ddw-on.log.gz",
  "state.mig": "tests/data/logs/migration-ddw-on.mig.gz",
};

/** Tasks that CI runs by itself, or that need what a test cannot ask for: hours, a toolchain, a device. */
const RUN_ELSEWHERE: ReadonlySet<string> = new Set([
  "test",
  "check",
  "build",
  "build:host",
  "vm",
  "test:vm",
  "bench",
  "fuzz",
  "model-check",
  "release",
]);

/**
 * Reads the commands of a block that begin with `deno`, or are one of the reader's variables that does. All others (how to
 * install something, how to bind a device) are for the reader's machine alone.
 */
export function denoCommands(block: CodeBlock): Command[] {
  if (block.language !== "sh") return [];
  const variables = new Map<string, string>();
  const found: Command[] = [];
  for (const [at, raw] of joined(block.code)) {
    const [, written = "", comment = ""] = /^(.*?)(?:\s+#\s(.*))?$/.exec(raw.trim()) ?? [];
    const [, name, value = ""] = /^(\w+)="(.*)"$/.exec(written) ?? [];
    if (name !== undefined) {
      variables.set(name, value);
      continue;
    }
    const known = written.replaceAll(/\$(\w+)/g, (all, variable) => variables.get(variable) ?? all);
    const text = known.replaceAll(/npx (?:--yes )?deno@[\w.]+/g, "deno");
    if (!/^deno (?:run|task)\b/.test(text)) continue;
    found.push({ text: standIn(text), exit: Number(/\bexit (\d)/.exec(comment)?.[1] ?? 0), line: block.line + at });
  }
  return found;
}

/** Why a command is not run by the tests of pages; `undefined` if it is. */
export function reasonNotToRun({ text }: Command): string | undefined {
  for (const [, task = ""] of text.matchAll(/\bdeno task (\S+)/g)) {
    if (RUN_ELSEWHERE.has(task)) return `deno task ${task} runs elsewhere`;
  }
  if (/--host (?:vfio|iommufd)|--device\b|\bvm\//.test(text)) return "needs a device";
  if (/^deno run (?:-\S+ )*\w+\.ts\b/.test(text)) return "runs a file of the reader's own";
  if (/…|\.\.\.|\b[A-Z]{3,}\b/.test(text)) return "is a form to be filled in";
  return undefined;
}

/** The logical lines of a block with their numbers from 1: a backslash at the end goes on. */
function joined(code: string): [number, string][] {
  const found: [number, string][] = [];
  let open: [number, string] | undefined;
  code.split("\n").forEach((line, at) => {
    const [start, text] = open === undefined ? [at + 1, line] : [open[0], `${open[1]} ${line.trim()}`];
    open = text.endsWith("\\") ? [start, text.slice(0, -1).trimEnd()] : undefined;
    if (open === undefined && text.trim() !== "") found.push([start, text]);
  });
  return found;
}

function standIn(text: string): string {
  return text.replaceAll(/(?<=\s)\S+/g, (word) => STANDS_FOR[word] ?? word);
}
