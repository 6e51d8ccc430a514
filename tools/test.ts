/**
 * Runs all tests: Deno's, those in doc comments and in Markdown, and, where cargo is there, Rust's.
 *
 *     deno task test            everything
 *     deno task test PATH...    Deno's tests below these paths only
 *
 * @module
 */

import { exitWith, failed, type Outcome, skipped, sum } from "./outcome.ts";
import { deno, isInstalled, run } from "./spawn.ts";

/** Runs Deno's tests below `paths`, everywhere if there are none, with the code in documentation. */
export async function denoTests(paths: readonly string[] = []): Promise<Outcome> {
  const ended = await deno(["test", "-A", "--doc", "--parallel", ...paths], { echo: true });
  const outcome = denoCounts(ended.text);
  if (outcome === undefined) return failed("Deno's tests did not run to their end");
  // A module that cannot be loaded fails without being counted.
  return ended.ok || outcome.failed > 0 ? outcome : sum([outcome, failed("Deno's tests failed")]);
}

/** Runs Rust's tests natively, with those in doc comments. */
export async function rustTests(): Promise<Outcome> {
  if (!await isInstalled("cargo")) return skipped("Rust's tests were skipped: cargo is not installed");
  const ended = await run("cargo", ["test", "--workspace", "--locked", "--quiet", "--no-fail-fast"], { echo: true });
  const outcome = cargoCounts(ended.text);
  return ended.ok || outcome.failed > 0 ? outcome : sum([outcome, failed("cargo test failed")]);
}

/** Reads the closing line of `deno test`; `undefined` if there is none. */
export function denoCounts(output: string): Outcome | undefined {
  const line = /^(?:ok|FAILED) \| (\d+) passed.*? \| (\d+) failed(.*)$/m.exec(output);
  if (line === null) return undefined;
  const ignored = Number(/ \| (\d+) ignored/.exec(line[3] ?? "")?.[1] ?? 0);
  const report = ignored === 0 ? "" : `${ignored} of Deno's tests were skipped`;
  return { passed: Number(line[1]), failed: Number(line[2]), skipped: ignored, report };
}

/** Adds up the result lines of `cargo test`, one per test binary. */
export function cargoCounts(output: string): Outcome {
  return sum(
    Array.from(output.matchAll(/^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored/gm), (line) => ({
      passed: Number(line[1]),
      failed: Number(line[2]),
      skipped: Number(line[3]),
      report: line[3] === "0" ? "" : `${line[3]} of Rust's tests were skipped`,
    })),
  );
}

if (import.meta.main) {
  const paths = Deno.args.filter((arg) => !arg.startsWith("--"));
  const outcomes = [await denoTests(paths)];
  if (paths.length === 0) outcomes.push(await rustTests());
  exitWith(sum(outcomes));
}
