/**
 * Keeps the WebAssembly module small: every program that uses a package loads it.
 *
 *     deno run -A tools/check_size.ts
 *
 * @module
 */

import { exitWith, failed, type Outcome, passed } from "./outcome.ts";
import { ROOT } from "./repository.ts";
import { OUTPUT } from "./wasm/modules.ts";

/**
 * In bytes of the module itself; as text it is a third larger. The goal behind it: loading the core adds at most 5 ms to
 * the start of an empty Deno program. Measured on two cores, minimum of 40 starts: 53 KB add 2 ms, 289 KB add 4.7 ms,
 * 333 KB 5.1 ms, nearly all of it compiling. Neither opt-level "s" (-9 %) nor wasm-opt -O3 (-5 %) changes that by much.
 */
const BUDGET = 360_000;

/** Fails if the module is over its budget. */
export async function checkSize(): Promise<Outcome> {
  const module: { bytes(): Uint8Array } = await import(`file://${ROOT}/${OUTPUT}/giommu_wasm_bytes.js`);
  const size = module.bytes().length;
  const report = `${size} of ${BUDGET} bytes`;
  return size <= BUDGET ? passed(report) : failed(`The WebAssembly module is too large: ${report}`);
}

if (import.meta.main) exitWith(await checkSize());
