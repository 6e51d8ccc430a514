/**
 * The packages of Deno's standard library that programs here import, as JSR would serve them: made of the npm copy that the
 * root import map names, for machines that cannot reach JSR.
 */

import { dirname, resolve } from "node:path/posix";
import { fileURLToPath } from "node:url";
import type { LocalRegistry } from "./registry.ts";
import { specifiersOf } from "./specifiers.ts";

/** What the import map of the root says of each module once it names JSR. */
export const STD_ON_JSR: Readonly<Record<string, string>> = {
  "@std/assert": "jsr:@std/assert@^1.0.0",
  "@std/cli/parse-args": "jsr:@std/cli@^1.0.0/parse-args",
};

/** Their modules in the npm copy, by package and export. */
const MODULES: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  "@std/assert": { ".": "/assert/mod.js" },
  "@std/cli": { "./parse-args": "/cli/parse_args.js" },
};

/** Puts them into a registry. */
export function addStd(registry: LocalRegistry): void {
  for (const [name, exports] of Object.entries(MODULES)) {
    const files = new Map<string, Uint8Array<ArrayBuffer>>();
    for (const module of Object.values(exports)) collect(module, files);
    const relative = Object.entries(exports).map(([key, path]) => [key, `.${path}`]);
    registry.add({ name, version: "1.0.0", exports: Object.fromEntries(relative), files });
  }
}

/** Reads a module and all that it imports. */
function collect(path: string, files: Map<string, Uint8Array<ArrayBuffer>>): void {
  if (files.has(path)) return;
  const bytes = Deno.readFileSync(fileURLToPath(import.meta.resolve(`deno-std${path}`)));
  files.set(path, bytes);
  for (const specifier of specifiersOf(new TextDecoder().decode(bytes))) {
    collect(resolve(dirname(path), specifier), files);
  }
}
