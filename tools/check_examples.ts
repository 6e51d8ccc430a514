/**
 * Runs every example with exactly the permissions that its first lines state.
 *
 *     deno run -A tools/check_examples.ts
 *
 * @module
 */

import { exitWith, failed, type Outcome, passed, skipped, sum } from "./outcome.ts";
import { filesBelow } from "./repository.ts";
import { deno } from "./spawn.ts";

/** Runs all of `examples/`, each as one check. */
export async function checkExamples(): Promise<Outcome> {
  const files = filesBelow("examples").filter((path) => /^examples\/[^_/][^/]*\.ts$/.test(path));
  if (files.length === 0) return skipped("examples: none there");
  const outcomes: Outcome[] = [];
  for (const file of files) outcomes.push(await checkExample(file, Deno.readTextFileSync(file)));
  return sum(outcomes);
}

/** Runs one example; `text` is what the file holds. */
export async function checkExample(file: string, text: string): Promise<Outcome> {
  const command = statedCommand(file, text);
  if (command === undefined) return failed(`${file}: its first lines do not say "deno run … ${file}"`);
  if (command.some((word) => word === "-A" || word === "--allow-all" || word === "-P")) {
    return failed(`${file}: asks for every permission; state the least that it needs`);
  }
  const ended = await deno(["run", "--no-prompt", "--quiet", ...command]);
  return ended.ok ? passed() : failed(`${file}: failed under the permissions that it states\n${ended.text}`);
}

/** What follows `deno run` in the header of an example: flags, the file itself, arguments. */
export function statedCommand(file: string, text: string): string[] | undefined {
  for (const line of text.split("\n", 5)) {
    const words = /^(?:\/\/|\/?\*\*?)?\s*(?:\$ )?deno run\s+(.*)$/.exec(line.trim())?.[1]?.split(/\s+/);
    if (words?.includes(file)) return words;
  }
  return undefined;
}

if (import.meta.main) exitWith(await checkExamples());
