/**
 * Fails when an import or a crate's dependency breaks the layers that tools/layers/picture.ts draws.
 *
 *     deno run -A tools/check_layers.ts
 *
 * @module
 */

import { breaches } from "./layers/breaches.ts";
import { ioBreaches, manifestBreaches } from "./layers/crates.ts";
import { importsOf } from "./layers/imports.ts";
import { ABOVE_ALL } from "./layers/picture.ts";
import { exitWith, failed, type Outcome, passed } from "./outcome.ts";
import { filesBelow, ROOT } from "./repository.ts";

/** Reads every import in packages, examples, tests and benchmarks below `root`, and every crate. */
export async function checkLayers(root: string = ROOT): Promise<Outcome> {
  const read = (path: string): string => Deno.readTextFileSync(`${root}/${path}`);
  const modules = ["packages", ...ABOVE_ALL].flatMap((folder) => filesBelow(folder, root)).filter((path) =>
    /\.tsx?$/.test(path)
  );
  const found = breaches(await importsOf(modules, root));
  const rust = filesBelow("core-rs", root);
  for (const path of rust.filter((path) => path.endsWith("/Cargo.toml"))) {
    found.push(...manifestBreaches(path, read(path)));
  }
  for (const path of rust.filter((path) => /^core-rs\/crates\/core\/src\/.*\.rs$/.test(path))) {
    found.push(...ioBreaches(path, read(path)));
  }
  return found.length === 0 ? passed() : failed(found.join("\n"));
}

if (import.meta.main) exitWith(await checkLayers());
