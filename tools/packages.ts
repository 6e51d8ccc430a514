/** The packages of the workspace, as their manifests describe them. */

import { ROOT } from "./repository.ts";

/** One package. */
export interface Package {
  /** Its name without the scope, which is its folder's name. */
  readonly name: string;
  readonly folder: string;
  /** The files that it exports, relative to the repository. */
  readonly exports: readonly string[];
}

/** Reads the manifest of every package in the workspace. */
export function packages(): Package[] {
  const workspace: { workspace: string[] } = readJson("deno.json");
  return workspace.workspace.map((path) => {
    const folder = path.replace(/^\.\//, "");
    const manifest: { name: string; exports: string | Record<string, string> } = readJson(`${folder}/deno.json`);
    const name = manifest.name.replace("@giommu/", "");
    if (`packages/${name}` !== folder) throw new Error(`Cannot use package ${manifest.name}: its folder is ${folder}`);
    const exports = typeof manifest.exports === "string" ? [manifest.exports] : Object.values(manifest.exports);
    return { name, folder, exports: exports.map((file) => `${folder}/${file.replace(/^\.\//, "")}`) };
  });
}

function readJson<T>(path: string): T {
  return JSON.parse(Deno.readTextFileSync(`${ROOT}/${path}`));
}
