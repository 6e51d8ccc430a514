/**
 * Publishes the packages to a registry on this machine, which answers as JSR does, and keeps it running.
 *
 *     deno task registry              on port 8787
 *     deno task registry --port 9000
 *
 * Programs anywhere on this machine can then import `jsr:@giommu/…`, before the packages are on JSR, or as they are in this
 * checkout: it says how.
 *
 * @module
 */

import { parseArgs } from "@std/cli/parse-args";
import { publishedRegistry } from "./registry/publish.ts";

if (import.meta.main) {
  const { port } = parseArgs(Deno.args, { string: ["port"], default: { port: "8787" } });
  const registry = await publishedRegistry(Number(port));
  for (const { name, version, files } of registry.packages) {
    console.log(`${`${name}@${version}`.padEnd(28)} ${files.size} files`);
  }
  console.log(`
Serving until Ctrl-C. With Deno, elsewhere on this machine:

  export JSR_URL=${registry.url}
  deno run --allow-read jsr:@giommu/cli --help

With npm, in the .npmrc of a project:

  @jsr:registry=${registry.npmUrl}`);
}
