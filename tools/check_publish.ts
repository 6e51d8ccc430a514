/**
 * Fails when the packages cannot be published as they are, or would carry along what is not theirs to publish.
 *
 *     deno run -A tools/check_publish.ts
 *
 * @module
 */

import { isTest } from "./layers/breaches.ts";
import { exitWith, failed, type Outcome, passed } from "./outcome.ts";
import { type Package, packages } from "./packages.ts";
import { ROOT } from "./repository.ts";
import { deno } from "./spawn.ts";

/** Publishes to nowhere, then looks at every file that would have gone. */
export async function checkPublish(): Promise<Outcome> {
  const ended = await deno(["publish", "--dry-run", "--allow-dirty"]);
  if (!ended.ok) return failed(ended.text);
  const files = publishedFiles(ended.text);
  const found = files.flatMap(objections);
  for (const entry of packages()) found.push(...shortcomings(entry, files));
  return found.length === 0 ? passed(`${files.length} files`) : failed(found.join("\n"));
}

/** The files that a dry run lists, relative to the repository; one outside it keeps its whole address. */
export function publishedFiles(output: string): string[] {
  const base = `file://${ROOT}/`;
  return Array.from(
    output.matchAll(/^ *(file:\/\/\S+) \(.*\)$/gm),
    ([, url = ""]) => url.startsWith(base) ? url.slice(base.length) : url,
  );
}

/** What a person who looks at the package on JSR would miss. */
export function shortcomings(
  { folder, exports, description, runtimeCompat }: Package,
  files: readonly string[],
): string[] {
  const found: string[] = [];
  for (const file of [...exports, `${folder}/README.md`]) {
    if (!files.includes(file)) found.push(`${folder}: ${file} would not be published`);
  }
  for (const file of exports) {
    const text = Deno.readTextFileSync(`${ROOT}/${file}`);
    if (!/^\/\*\*(?:(?!\*\/)[^])*@module/.test(text)) {
      found.push(`${file}: does not begin by saying what the module is`);
    }
  }
  // JSR takes no more.
  if (description === "" || description.length > 250) {
    found.push(`${folder}: needs a description of up to 250 characters`);
  }
  if (runtimeCompat === undefined) found.push(`${folder}: does not say where it runs`);
  return found;
}

function objections(file: string): string[] {
  if (!file.startsWith("packages/")) return [`${file}: outside the packages`];
  if (isTest(file)) return [`${file}: only for tests; exclude it in its deno.json`];
  const text = Deno.readTextFileSync(`${ROOT}/${file}`);
  // The import map alone names third-party copies: publishing writes its one mapping into the importing line.
  if (/\.(?:[jt]sx?|json)$/.test(file) && /["'](?:npm|jsr|https?):/.test(text)) {
    return [`${file}: names a third-party module by its address`];
  }
  return [];
}

if (import.meta.main) exitWith(await checkPublish());
