/**
 * Keeps bundles small: a bundler leaves out what a program does not use, as long as nothing runs when it is loaded.
 *
 *     deno run -A tools/check_bundles.ts
 *
 * @module
 */

import { exitWith, failed, type Outcome, passed, sum } from "./outcome.ts";
import { ROOT } from "./repository.ts";
import { deno } from "./spawn.ts";

/** A program that uses a part of a package. */
interface Program {
  readonly package: string;
  readonly uses: string;
  /** In bytes, the text of the core's modules included. */
  readonly most: number;
  /** What must be in none of it: a class of the core that drags a module along. */
  readonly without: readonly string[];
}

const PROGRAMS: readonly Program[] = [
  { package: "core", uses: "IommuError", most: 1000, without: ["RawTceTable"] },
  { package: "notifiers", uses: "IommuNotifier", most: 3000, without: ["RawTceTable"] },
  { package: "memory-api", uses: "AddressSpace", most: 30_000, without: ["RawWalker"] },
  { package: "spapr-tce", uses: "TceTable", most: 142_000, without: ["RawSpaprMachine"] },
  { package: "spapr-tce", uses: "SpaprPhb", most: 147_000, without: ["RawSpaprMachine"] },
  { package: "vfio-sync", uses: "VfioContainer", most: 250_000, without: ["RawTceTable", "RawSpaprMachine"] },
];

/** Fails if a bundle is over its budget, or holds what its program does not use. */
export async function checkBundles(programs: readonly Program[] = PROGRAMS): Promise<Outcome> {
  const folder = Deno.makeTempDirSync({ prefix: "giommu-bundles-" });
  try {
    const outcomes: Outcome[] = [];
    for (const program of programs) outcomes.push(await checkBundle(program, `${folder}/program.ts`));
    return sum(outcomes);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

async function checkBundle({ package: name, uses, most, without }: Program, path: string): Promise<Outcome> {
  const entry = `file://${ROOT}/packages/${name}/mod.ts`;
  Deno.writeTextFileSync(path, `import { ${uses} } from ${JSON.stringify(entry)};\nconsole.log(${uses}.name);\n`);
  const ended = await deno(["bundle", "--quiet", "--minify", "--keep-names", "--config", `${ROOT}/deno.json`, path]);
  const what = `${uses} of @giommu/${name}`;
  if (!ended.ok) return failed(`Cannot bundle ${what}:\n${ended.text}`);
  const kept = without.filter((word) => ended.stdout.includes(word));
  if (kept.length > 0) return failed(`A program that uses ${what} is bundled with ${kept.join(", ")}`);
  const size = new TextEncoder().encode(ended.stdout).length;
  const report = `${what}: ${size} of ${most} bytes`;
  return size > most ? failed(`A bundle is too large:\n${report}`) : passed(report);
}

if (import.meta.main) exitWith(await checkBundles());
