/**
 * The whole gate. If it is green, push.
 *
 *     deno task check                  everything; what this machine cannot do is said and skipped
 *     deno task check --no-skip        what this machine cannot do is a failure, as in CI
 *     deno task check --rebuild        builds the WebAssembly artifact again too, as CI does
 *     deno task check --without-tests  for a run in which the tests have passed already
 *
 * @module
 */

import { checkBundles } from "./check_bundles.ts";
import { checkCrates } from "./check_crates.ts";
import { checkDocs } from "./check_docs.ts";
import { checkExamples } from "./check_examples.ts";
import { checkLayers } from "./check_layers.ts";
import { checkPages } from "./check_pages.ts";
import { checkPublish } from "./check_publish.ts";
import { checkSize } from "./check_size.ts";
import { checkRebuild, checkRecord } from "./check_wasm.ts";
import { closingLine, failed, judged, type Outcome, passed, skipped, skipsFail, sum } from "./outcome.ts";
import { deno, type Ended, isInstalled, run } from "./spawn.ts";
import { denoTests, rustTests } from "./test.ts";

interface Part {
  readonly name: string;
  readonly run: () => Promise<Outcome>;
}

/** The parts in the order in which they run: quick ones first, so that most mistakes show within seconds. */
function parts(args: readonly string[]): Part[] {
  const ci = skipsFail(args);
  const all: Part[] = [
    { name: "deno fmt", run: () => ofDeno("fmt", "--check") },
    { name: "deno lint", run: () => ofDeno("lint") },
    { name: "cargo fmt", run: () => ofCargo("fmt", "--all", "--", "--check", "--color", "never") },
    { name: "layers", run: checkLayers },
    { name: "pages", run: () => Promise.resolve(checkPages()) },
    { name: "artifact", run: checkRecord },
    { name: "artifact size", run: checkSize },
    { name: "bundles", run: () => checkBundles() },
    { name: "types", run: () => ofDeno("check", "--quiet", ...(ci ? ["--frozen"] : [])) },
    { name: "documentation", run: checkDocs },
    { name: "publish", run: checkPublish },
    { name: "examples", run: checkExamples },
    { name: "clippy", run: () => ofCargo("clippy", "--workspace", "--all-targets", "--locked", "--", "-Dwarnings") },
    { name: "crates", run: checkCrates },
    { name: "benchmark", run: () => ofDeno("run", "-A", "--no-check", "bench/main.ts", "--quick") },
  ];
  if (ci || args.includes("--rebuild")) all.push({ name: "artifact rebuilt", run: checkRebuild });
  if (!args.includes("--without-tests")) {
    all.push({ name: "Deno's tests", run: () => denoTests() }, { name: "Rust's tests", run: rustTests });
  }
  return all;
}

async function ofDeno(...args: string[]): Promise<Outcome> {
  return verdict(await deno(args));
}

async function ofCargo(...args: string[]): Promise<Outcome> {
  if (!await isInstalled("cargo")) return skipped("cargo is not installed");
  return verdict(await run("cargo", args));
}

function verdict(ended: Ended): Outcome {
  return ended.ok ? passed() : failed(ended.text);
}

/** Runs one part; whatever it throws is a failure of that part, not of the gate. */
async function timed({ name, run }: Part, strict: boolean): Promise<Outcome> {
  const start = performance.now();
  let outcome: Outcome;
  try {
    outcome = await run();
  } catch (error) {
    outcome = failed(String(error instanceof Error ? error.stack : error));
  }
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  const word = outcome.failed > 0
    ? "FAILED"
    : outcome.skipped > 0
    ? strict ? "SKIPPED, which fails here" : "skipped"
    : "ok";
  console.log(`${name.padEnd(18)} ${seconds.padStart(6)} s  ${word}`);
  if (outcome.report.trim() !== "") console.log(shortened(outcome.report.trim()).replaceAll(/^/gm, "  "));
  return outcome;
}

/** Enough to see what is wrong; the part itself, run alone, tells everything. */
function shortened(report: string): string {
  const limit = 100;
  const lines = report.split("\n");
  const more = lines.length - limit;
  return more <= 0 ? report : [...lines.slice(0, limit), `… and ${more} more lines`].join("\n");
}

if (import.meta.main) {
  const strict = skipsFail();
  const outcomes: Outcome[] = [];
  for (const part of parts(Deno.args)) outcomes.push(await timed(part, strict));
  const total = judged(sum(outcomes), strict);
  console.log(closingLine(total));
  Deno.exit(total.failed === 0 ? 0 : 1);
}
