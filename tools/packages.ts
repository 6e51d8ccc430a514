/** The packages of the workspace, as their manifests describe them. */

import { ROOT } from "./repository.ts";

/** One package. */
export interface Package {
  /** Its name without the scope, which is its folder's name. */
  readonly name: string;
  readonly folder: string;
  /** The files that it exports, relative to the repository. */
  readonly exports: readonly string[];
  readonly version: string;
  /** One sentence, or empty. */
  readonly description: string;
  /** Where it runs, as the manifest says it and JSR shows it; `undefined` where it says nothing. */
  readonly runtimeCompat: RuntimeCompat | undefined;
}

/** Whether a package is for a runtime. */
export interface RuntimeCompat {
  readonly deno: boolean;
  readonly node: boolean;
  readonly browser: boolean;
}

/** A package's `deno.json`. `description` and `runtimeCompat` are ours: Deno ignores them, and JSR is told by `jsr:settings`. */
interface Manifest {
  readonly name: string;
  readonly version: string;
  readonly description?: string;
  readonly exports: string | Record<string, string>;
  readonly runtimeCompat?: RuntimeCompat;
}

/** Reads the manifest of every package in the workspace. */
export function packages(): Package[] {
  const workspace: { workspace: string[] } = readJson("deno.json");
  return workspace.workspace.map((path) => {
    const folder = path.replace(/^\.\//, "");
    const manifest: Manifest = readJson(`${folder}/deno.json`);
    const name = manifest.name.replace("@giommu/", "");
    if (`packages/${name}` !== folder) throw new Error(`Cannot use package ${manifest.name}: its folder is ${folder}`);
    const exports = typeof manifest.exports === "string" ? [manifest.exports] : Object.values(manifest.exports);
    return {
      name,
      folder,
      exports: exports.map((file) => `${folder}/${file.replace(/^\.\//, "")}`),
      version: manifest.version,
      description: manifest.description ?? "",
      runtimeCompat: manifest.runtimeCompat,
    };
  });
}

function readJson<T>(path: string): T {
  return JSON.parse(Deno.readTextFileSync(`${ROOT}/${path}`));
}
