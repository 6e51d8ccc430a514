/** The examples of this checkout, as users of published packages would have them. */

import { statedCommand } from "../../tools/check_examples.ts";
import { withSpecifiers } from "../../tools/registry/specifiers.ts";
import { STD_ON_JSR } from "../../tools/registry/std.ts";
import { filesBelow, ROOT } from "../../tools/repository.ts";

/** One program of `examples/`, or a file that one imports. */
export interface Example {
  readonly path: string;
  readonly text: string;
  readonly isProgram: boolean;
  /** What follows `deno run` in its header; `undefined` for what is no program. */
  readonly command: readonly string[] | undefined;
}

/** Reads them all. */
export function examples(): Example[] {
  return filesBelow("examples").filter((path) => path.endsWith(".ts")).map((path) => {
    const text = Deno.readTextFileSync(`${ROOT}/${path}`);
    return { path, text, isProgram: /^examples\/[^_/][^/]*$/.test(path), command: statedCommand(path, text) };
  });
}

/** The files and folders of the checkout that an example's header lets it read. */
export function readPaths({ command }: Example): string[] {
  const flags = command?.filter((word) => word.startsWith("--allow-read=")) ?? [];
  return flags.flatMap((flag) => flag.slice("--allow-read=".length).split(","));
}

/** The same program with packages imported from JSR; nothing else is changed. */
export function fromJsr(text: string, version: string): string {
  return withSpecifiers(text, (specifier) => {
    const ours = /^(@giommu\/[^/]+)(\/.*)?$/.exec(specifier);
    return ours === null ? STD_ON_JSR[specifier] : `jsr:${ours[1]}@^${version}${ours[2] ?? ""}`;
  });
}
