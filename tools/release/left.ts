/** What a release needs that no program on this machine can do. */

import { ROOT } from "../repository.ts";
import { STD_ON_JSR } from "../registry/std.ts";

/** One step after the other, for a person. `isBuilt` says whether the artifact is what the sources give. */
export function whatIsLeft(version: string, isBuilt: boolean): string[] {
  const { imports }: { imports: Record<string, string> } = JSON.parse(Deno.readTextFileSync(`${ROOT}/deno.json`));
  // Of the packages, only those that the command imports count: tests may use any copy.
  const published = "@std/cli/parse-args";
  const steps: string[] = [];
  if (imports[published] !== STD_ON_JSR[published]) {
    steps.push(
      `where JSR can be reached, let deno.json say  "${published}": "${STD_ON_JSR[published]}"  and run: deno install`,
    );
  }
  if (!isBuilt) steps.push("build the artifact, whose inputs name the version: deno task build");
  steps.push(
    "read the changes: git diff",
    "prove them: deno task check --no-skip",
    `commit and tag: git commit --all --message "Release ${version}" && git tag --annotate --message ${version} v${version}`,
    "push: git push --follow-tags",
    "the first time: make the scope @giommu and its packages at https://jsr.io/new",
    "publish: deno publish",
    "tell JSR descriptions and runtimes, which it takes from no file: JSR_TOKEN=… deno task jsr:settings",
    `see it from outside: deno run --allow-read jsr:@giommu/cli@${version} --help`,
  );
  return steps;
}
