/**
 * Writes the reference of all packages as web pages, from their doc comments.
 *
 *     deno task docs:html            to target/docs
 *     deno task docs:html FOLDER     to another folder, which is emptied first
 *
 * @module
 */

import { packages } from "./packages.ts";
import { ROOT } from "./repository.ts";
import { deno } from "./spawn.ts";

/** What people import: the packages' own modules; the core's WebAssembly is for the other packages, the command for shells. */
export function documented(): string[] {
  return packages().flatMap(({ exports }) => exports.filter((file) => file.endsWith("/mod.ts")));
}

async function main([folder = "target/docs"]: readonly string[]): Promise<number> {
  const output = folder.startsWith("/") ? folder : `${ROOT}/${folder}`;
  Deno.mkdirSync(output, { recursive: true });
  for (const { name } of Deno.readDirSync(output)) Deno.removeSync(`${output}/${name}`, { recursive: true });
  const ended = await deno(["doc", "--html", "--name=giommu", `--output=${output}`, ...documented()]);
  if (!ended.ok) {
    console.error(ended.text);
    return 1;
  }
  console.log(`${folder}/all_symbols.html lists everything that the packages export`);
  return 0;
}

if (import.meta.main) Deno.exit(await main(Deno.args));
