/** Compares imports with the picture of the layers. */

import type { Import } from "./imports.ts";
import { ABOVE_ALL, BELOW, PUBLISHED_THIRD_PARTY, SYSTEM_PACKAGES } from "./picture.ts";

/** Returns one sentence per import that the picture does not allow. */
export function breaches(imports: readonly Import[]): string[] {
  return imports.flatMap((entry) => {
    const reason = breach(entry);
    return reason === undefined ? [] : [`${entry.from}: "${entry.specifier}": ${reason}`];
  });
}

/** Is the file one of a test or benchmark, which are not published? */
export function isTest(path: string): boolean {
  return /_(?:test|bench)\.ts$|\/testdata\/|\/_testing\//.test(path);
}

function breach({ from, specifier, to }: Import): string | undefined {
  const [folder, name = ""] = from.split("/");
  if (/^(?:npm|jsr|https?|file|data|blob):/.test(specifier)) {
    return "third-party modules are named in the root import map only";
  }
  if (/^[./]/.test(specifier)) return relative(from, to);
  if (folder === "packages" && BELOW[name] === undefined) {
    return `the package "${name}" is not in tools/layers/picture.ts`;
  }
  const wanted = /^@giommu\/([^/]+)(\/.*)?$/.exec(specifier);
  if (wanted !== null) return byName(folder, name, wanted[1] ?? "", wanted[2]);
  if (folder !== "packages" || isTest(from)) return undefined;
  if (specifier.startsWith("node:")) {
    return SYSTEM_PACKAGES.includes(name) ? undefined : `the package "${name}" must run in browsers too`;
  }
  if (PUBLISHED_THIRD_PARTY[name]?.includes(specifier)) return undefined;
  return "what is published imports no third-party module but those that tools/layers/picture.ts lists";
}

function relative(from: string, to: string | undefined): string | undefined {
  if (to === undefined) return "it leads out of the repository";
  const own = territory(from);
  if ((own === "tests" || own === "bench") && territory(to) === "tools") return undefined;
  if (territory(to) === own) {
    return isTest(to) && !isTest(from) && own.startsWith("packages/") ? "tests are not published" : undefined;
  }
  return `a relative import must stay in ${own}; packages are imported by name`;
}

function byName(folder: string | undefined, importer: string, wanted: string, subpath?: string): string | undefined {
  if (BELOW[wanted] === undefined) return `the package "${wanted}" is not in tools/layers/picture.ts`;
  if (folder === "packages") {
    if (importer === wanted) return "inside a package imports are relative";
    return BELOW[importer]?.includes(wanted) ? undefined : `"${importer}" is not above "${wanted}"`;
  }
  if (wanted === "core" && subpath === "/wasm" && folder === "examples") {
    return "the raw core is for the packages; an example uses what they offer";
  }
  return undefined;
}

/** The part of the repository in which relative imports stay; tests of what a tool makes import the tool, too. */
function territory(path: string): string {
  const [top = "", second] = path.split("/");
  if (top === "packages") return `${top}/${second}`;
  return ABOVE_ALL.includes(top) || top === "tools" ? top : path;
}
