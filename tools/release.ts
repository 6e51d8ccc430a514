/**
 * Prepares a release: versions, changelog and artifact are made what they have to be, and everything is published to nowhere.
 *
 *     deno task release 0.2.0
 *     deno task release 0.2.0 --without-build   leaves the artifact to somebody with the toolchain
 *
 * It commits nothing and publishes nothing, and says what is left to do. If it fails, all files are as they were.
 *
 * @module
 */

import { checkPublish } from "./check_publish.ts";
import { checkRecord } from "./check_wasm.ts";
import { buildInto } from "./build_wasm.ts";
import { releaseEdits, ReleaseRefused } from "./release/edits.ts";
import { whatIsLeft } from "./release/left.ts";
import { ROOT } from "./repository.ts";
import { run } from "./spawn.ts";
import { BuildFailed } from "./wasm/pack.ts";
import { findToolchain, NoToolchain } from "./wasm/toolchain.ts";

/** Prepares it, and returns what is left to do. Throws {@linkcode ReleaseRefused} with every file as it was. */
export async function prepareRelease(version: string, options: { readonly builds: boolean }): Promise<string[]> {
  const edits = releaseEdits(version, new Date().toISOString().slice(0, "2026-11-26".length));
  await refuseDirtyTree();
  try {
    for (const [path, text] of edits) Deno.writeTextFileSync(`${ROOT}/${path}`, text);
    if (options.builds) await build();
    const dry = await checkPublish();
    if (dry.failed > 0) throw new ReleaseRefused(`Cannot release ${version}: it could not be published\n${dry.report}`);
    return whatIsLeft(version, (await checkRecord()).failed === 0);
  } catch (error) {
    const restored = await run("git", ["checkout", "--quiet", "--", "."]);
    if (!restored.ok) console.error(`Cannot put the files back: ${restored.text}`);
    throw error;
  }
}

/** What is not committed would be part of the release without anybody having looked at it, and could not be put back. */
async function refuseDirtyTree(): Promise<void> {
  const status = await run("git", ["status", "--porcelain"]);
  if (!status.ok) throw new ReleaseRefused(`Cannot release: git does not tell what is committed\n${status.text}`);
  if (status.stdout !== "") {
    throw new ReleaseRefused(`Cannot release: there are changes that are not committed\n${status.stdout.trimEnd()}`);
  }
}

/** Builds the artifact where the toolchain is there. */
async function build(): Promise<void> {
  try {
    await buildInto(await findToolchain());
  } catch (error) {
    if (error instanceof NoToolchain) return console.log(error.message);
    if (error instanceof BuildFailed) throw new ReleaseRefused(error.message);
    throw error;
  }
}

if (import.meta.main) {
  const [version = "", ...more] = Deno.args.filter((arg) => !arg.startsWith("--"));
  try {
    if (more.length > 0) {
      throw new ReleaseRefused(`Cannot release ${version}: ${more.join(" ")} is one argument too many`);
    }
    const left = await prepareRelease(version, { builds: !Deno.args.includes("--without-build") });
    console.log(`${version} is prepared. What is left to do:`);
    for (const [at, step] of left.entries()) console.log(`  ${at + 1}. ${step}`);
  } catch (error) {
    if (!(error instanceof ReleaseRefused)) throw error;
    console.error(error.message);
    Deno.exit(1);
  }
}
