/**
 * Fails when a crate that is made for crates.io has no sound documentation, or cannot be packed: each is built from what its
 * package holds, outside of the repository.
 *
 *     deno run -A tools/check_crates.ts
 *
 * @module
 */

import { exitWith, failed, type Outcome, passed, skipped } from "./outcome.ts";
import { filesBelow, ROOT } from "./repository.ts";
import { isInstalled, run } from "./spawn.ts";

/** The names of the crates whose manifests say that they are to be published, as `manifests` has them by path. */
export function publishedCrates(manifests: Readonly<Record<string, string>>): string[] {
  return Object.entries(manifests).flatMap(([path, manifest]) => {
    if (!/^publish = true$/m.test(manifest)) return [];
    const name = /^name = "(.*)"$/m.exec(manifest)?.[1];
    if (name === undefined) throw new Error(`${path}: a crate without a name`);
    return [name];
  });
}

/** Documents and packs every crate that is to be published. */
export async function checkCrates(): Promise<Outcome> {
  if (!await isInstalled("cargo")) return skipped("cargo is not installed");
  const manifests = filesBelow("core-rs/crates").filter((path) => path.endsWith("/Cargo.toml"));
  const crates = publishedCrates(
    Object.fromEntries(manifests.map((path) => [path, Deno.readTextFileSync(`${ROOT}/${path}`)])),
  );
  const selected = crates.flatMap((name) => ["--package", name]);
  const documented = await run("cargo", ["doc", "--no-deps", "--locked", ...selected], {
    env: { RUSTDOCFLAGS: "-Dwarnings" },
  });
  if (!documented.ok) return failed(documented.text);
  // What the lock file names, if it is not there yet; then no registry is asked, which takes minutes to fail without a network.
  const fetched = await run("cargo", ["fetch", "--locked"]);
  if (!fetched.ok) return failed(fetched.text);
  // Also while something is not committed: the gate runs before that.
  const packed = await run("cargo", ["package", "--locked", "--offline", "--allow-dirty", ...selected]);
  return packed.ok ? passed() : failed(packed.text);
}

if (import.meta.main) exitWith(await checkCrates());
