/**
 * Makes random guests and hosts against plain models, for as long as wanted. The same properties run in every test run,
 * with few cases; here each round makes thousands of new ones, optimised, with overflow checks on.
 *
 *     deno task fuzz                  ten minutes
 *     deno task fuzz --minutes 600    a night
 *     deno task fuzz --only spapr     the suites whose name contains this
 *
 * A failure ends the run, with the smallest input that shows it. Needs cargo.
 *
 * @module
 */

import { parseArgs } from "@std/cli/parse-args";
import { type Ended, run } from "./spawn.ts";

/** Rust's property suites, as test targets, and what each is about. */
const SUITES: Readonly<Record<string, string>> = {
  spapr_properties: "sequences of hypercalls, RTAS calls, DMA, save, restore and undo, against a model of maps",
  table_model: "writes to one table, their extents and their undo, against an array",
  container_properties: "mappings on hosts that refuse, against what the host holds",
  entry_budget: "tables that share one limit",
  access_model: "what vm-memory reads and writes through tables, against a model by the byte",
  bridge_mirror: "a bus in step with a machine's bridge",
};

/** The crates that have them. */
const CRATES = ["-p", "giommu-core", "-p", "giommu-vm-memory"];

/** Cases in the first round; each round has twice as many, up to the last number. */
const CASES = 1000;
const MOST_CASES = 256_000;

function test(suite: string, cases: number): Promise<Ended> {
  const args = ["test", "--quiet", "--locked", "--profile", "fuzz", ...CRATES, "--test", suite];
  return run("cargo", args, { env: { PROPTEST_CASES: String(cases) } });
}

async function main(): Promise<number> {
  const { minutes, only } = parseArgs(Deno.args, { string: ["minutes", "only"], default: { minutes: "10", only: "" } });
  const limit = Number(minutes);
  const suites = Object.keys(SUITES).filter((name) => name.includes(String(only)));
  if (!(limit > 0) || suites.length === 0) {
    console.error(`usage: deno task fuzz [--minutes N] [--only NAME]; suites: ${Object.keys(SUITES).join(", ")}`);
    return 2;
  }
  const end = performance.now() + limit * 60_000;
  let made = 0;
  for (let cases = CASES; performance.now() < end; cases = Math.min(cases * 2, MOST_CASES)) {
    for (const suite of suites) {
      const { ok, text } = await test(suite, cases);
      if (!ok) {
        console.log(text);
        console.log(`${suite} failed in a round of ${cases} cases; the smallest input that shows it stands above`);
        return 1;
      }
      made += cases;
      const left = Math.max(0, Math.ceil((end - performance.now()) / 60_000));
      console.log(`${suite}: ${cases} cases of each property hold; ${made} in all, ${left} min left`);
      if (performance.now() >= end) break;
    }
  }
  return 0;
}

if (import.meta.main) Deno.exit(await main());
