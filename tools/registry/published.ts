/** One version of a package, as `deno publish` hands it over. */

import type { Files } from "./archive.ts";

/** What a registry keeps of it. */
export interface Published {
  /** With its scope, as in `@giommu/core`. */
  readonly name: string;
  readonly version: string;
  /** Files by what importers call them: `.` or `./wasm`. */
  readonly exports: Readonly<Record<string, string>>;
  readonly files: Files;
}

/** Reads a package from its files. Throws if its manifest, `config`, is not there or does not say what it must. */
export function publishedOf(files: Files, config: string): Published {
  const manifest = files.get(config);
  if (manifest === undefined) throw new Error(`Cannot publish: ${config} is not among the files`);
  const { name, version, exports }: { name?: string; version?: string; exports?: string | Record<string, string> } =
    JSON.parse(new TextDecoder().decode(manifest));
  if (name === undefined || version === undefined || exports === undefined) {
    throw new Error(`Cannot publish: ${config} says no name, version or exports`);
  }
  return { name, version, exports: typeof exports === "string" ? { ".": exports } : exports, files };
}
