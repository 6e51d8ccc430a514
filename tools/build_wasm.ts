/**
 * Builds the WebAssembly artifact from core-rs and records what went in and what came out.
 *
 *     deno task build
 *
 * CONTRIBUTING.md tells what must be installed.
 *
 * @module
 */

import { ROOT } from "./repository.ts";
import { moduleFiles, OUTPUTS } from "./wasm/modules.ts";
import { BuildFailed, pack } from "./wasm/pack.ts";
import { type BuildRecord, inputHashes, outputHashes, RECORD } from "./wasm/record.ts";
import { findToolchain, NoToolchain, type Toolchain } from "./wasm/toolchain.ts";

/** Builds with `toolchain` into `root`, a copy of this repository by default the repository itself. */
export async function buildInto(toolchain: Toolchain, root: string = ROOT): Promise<void> {
  // Taken before the build: a source that is edited meanwhile must make the artifact look stale, not fresh.
  const inputs = await inputHashes();
  for (const [folder, names] of Object.entries(OUTPUTS)) {
    const files: [name: string, text: string][] = [];
    for (const name of names) files.push(...moduleFiles(name, await pack(toolchain, name)));
    await Deno.remove(`${root}/${folder}`, { recursive: true }).catch(() => {});
    Deno.mkdirSync(`${root}/${folder}`, { recursive: true });
    for (const [name, text] of files) Deno.writeTextFileSync(`${root}/${folder}/${name}`, text);
  }
  const record: BuildRecord = {
    about: "Written by tools/build_wasm.ts, checked by tools/check_wasm.ts. SHA-256 of each file.",
    tools: toolchain.versions,
    inputs,
    outputs: await outputHashes(root),
  };
  Deno.writeTextFileSync(`${root}/${RECORD}`, JSON.stringify(record, null, 2) + "\n");
}

if (import.meta.main) {
  try {
    await buildInto(await findToolchain());
    console.log(`Built ${Object.keys(OUTPUTS).join(", ")}`);
  } catch (error) {
    if (!(error instanceof NoToolchain || error instanceof BuildFailed)) throw error;
    console.error(error.message);
    Deno.exit(1);
  }
}
