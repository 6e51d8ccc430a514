/**
 * Builds the library that `@giommu/vfio-linux` calls, target/release/libgiommu_host.so, and writes its TypeScript side.
 *
 *     deno task build:host
 *
 * Needs Linux and cargo. The library is not committed, its TypeScript side is: a test of the crate compares.
 *
 * @module
 */

import { ROOT } from "./repository.ts";
import { run } from "./spawn.ts";

/** Where deno_bindgen's output goes. */
const BINDINGS = `${ROOT}/packages/vfio-linux/_bindings.ts`;

/** Builds it; returns what cargo said if that failed. */
export async function buildHost(): Promise<string | undefined> {
  for (
    const args of [
      ["build", "--release", "--locked", "--quiet", "-p", "giommu-host"],
      ["run", "--release", "--locked", "--quiet", "-p", "giommu-host", "--example", "bindings", "--", BINDINGS],
    ]
  ) {
    const ended = await run("cargo", args);
    if (!ended.ok) return ended.text;
  }
  return undefined;
}

if (import.meta.main) {
  const failure = await buildHost();
  if (failure !== undefined) {
    console.error(failure);
    Deno.exit(1);
  }
  console.log("Built target/release/libgiommu_host.so");
}
