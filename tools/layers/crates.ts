/** The layers of the Rust crates: who may depend on what, and that the core does no I/O. Needs no Rust. */

import { CRATE_DEPENDENCIES } from "./picture.ts";

/** Returns one sentence per dependency of a crate's manifest that the picture does not allow. */
export function manifestBreaches(path: string, manifest: string): string[] {
  const name = /^name = "(.*)"$/m.exec(manifest)?.[1] ?? "";
  const allowed = CRATE_DEPENDENCIES[name];
  if (allowed === undefined) return [`${path}: the crate "${name}" is not in tools/layers/picture.ts`];
  const found: string[] = [];
  let section = "";
  for (const line of manifest.split("\n")) {
    const header = /^\[+(.*?)\]+/.exec(line)?.[1];
    if (header !== undefined) section = header;
    const table = /(?:^|\.)(dev-|build-)?dependencies(?:\.(.+))?$/.exec(section);
    if (table === null) continue;
    const [, kind = "", inHeader] = table;
    const dependency = header === undefined
      ? inHeader === undefined ? /^["\w-]+/.exec(line)?.[0] : undefined
      : inHeader;
    if (dependency === undefined) continue;
    const ok = kind === "dev-"
      ? !dependency.startsWith("giommu-") || allowed.includes(dependency)
      : allowed.includes(dependency);
    if (!ok) found.push(`${path}: ${name} may not depend on ${dependency}`);
  }
  return found;
}

/** Returns one sentence per use of the system in a source file of the core; tests may read vectors from files. */
export function ioBreaches(path: string, source: string): string[] {
  if (/\/tests\.rs$|\/tests\//.test(path)) return [];
  const shipped = source.split(/^#\[cfg\(test\)\]\nmod /m)[0] ?? "";
  return shipped.split("\n").flatMap((line, index) => {
    const code = line.replace(/\/\/.*/, "");
    const used = /\bstd::(?:fs|net|process|env|thread|time|os|io)\b|\bprintln!|\beprintln!|\bunsafe\b/.exec(code)?.[0];
    return used === undefined ? [] : [`${path}:${index + 1}: the core does no I/O and has no unsafe code: ${used}`];
  });
}
