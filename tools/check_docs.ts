/**
 * Fails when something that a package exports has no documentation, or shows a type that it does not export.
 *
 *     deno run -A tools/check_docs.ts
 *
 * @module
 */

import { exitWith, failed, type Outcome, passed } from "./outcome.ts";
import { packages } from "./packages.ts";
import { deno } from "./spawn.ts";

/** Runs `deno doc --lint` over all exports of all packages. */
export async function checkDocs(): Promise<Outcome> {
  const ended = await deno(["doc", "--lint", ...packages().flatMap((entry) => entry.exports)]);
  return ended.ok ? passed() : failed(ended.text);
}

if (import.meta.main) exitWith(await checkDocs());
