/**
 * Keeps the WebAssembly modules small: a program that uses a package loads them.
 *
 *     deno run -A tools/check_size.ts
 *
 * @module
 */

import { exitWith, failed, type Outcome, passed } from "./outcome.ts";
import { ROOT } from "./repository.ts";
import { type ModuleName, MODULES, OUTPUT } from "./wasm/modules.ts";

/**
 * In bytes of each module; as text it is a third larger. The goal behind it: a program loads 120 KB at most, and at most
 * 5 ms are added to the start of an empty Deno program. A module is read when it is first used, which takes 0.35 ms and as
 * much again per 100 KB; its functions are compiled as they are called. Those above 120 KB hold tables and what works on
 * them, in one memory; the doctor holds a rebuilt machine beside what it compares that with. What helps where one grows:
 * `inline(never)` on what many places call and no loop does, and one type of tree or list for several kinds of values;
 * opt-level "s" does not (-1 %).
 */
const BUDGETS: Readonly<Record<ModuleName, number>> = {
  walker: 11_000,
  container: 105_000,
  table: 73_000,
  spapr: 143_000,
  log: 165_000,
  hostlog: 24_000,
  doctor: 188_000,
};

/** Fails if a module is over its budget. */
export async function checkSize(): Promise<Outcome> {
  const reports: string[] = [];
  let over = false;
  for (const name of MODULES) {
    const module: { bytes(): Uint8Array } = await import(`file://${ROOT}/${OUTPUT}/${name}_bytes.js`);
    const size = module.bytes().length;
    over ||= size > BUDGETS[name];
    reports.push(`${name} ${size} of ${BUDGETS[name]} bytes`);
  }
  const report = reports.join("\n");
  return over ? failed(`A WebAssembly module is too large:\n${report}`) : passed(report);
}

if (import.meta.main) exitWith(await checkSize());
