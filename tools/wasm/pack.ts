/** Runs wasm-pack so that the same sources give the same bytes in every folder of every machine. */

import { ROOT } from "../repository.ts";
import { run } from "../spawn.ts";
import { shrunk } from "./shrink.ts";
import { cargoHome, TARGET, type Toolchain } from "./toolchain.ts";

/** What wasm-pack made. */
export interface Packed {
  readonly wasm: Uint8Array<ArrayBuffer>;
  readonly glue: string;
  readonly types: string;
}

/** Thrown when cargo or wasm-pack fails; the message holds all that it printed. */
export class BuildFailed extends Error {
  override readonly name = "BuildFailed";
}

/**
 * Builds one module of the crate giommu-wasm with `toolchain`.
 *
 * @throws {BuildFailed} With the tools' own words.
 */
export async function pack(toolchain: Toolchain, name: string): Promise<Packed> {
  // Not the folder of native builds: two compilers in one target folder would undo each other's work.
  const target = `${ROOT}/target/wasm`;
  // Two builds at once wait for each other in cargo, but wasm-pack's output has no lock.
  const out = `${target}/pack-${Deno.pid}`;
  await must(toolchain, toolchain.env["CARGO"] ?? "cargo", ["fetch", "--locked", "--target", TARGET], {});
  try {
    await must(toolchain, "wasm-pack", [
      "build",
      ...[
        "--mode",
        "no-install",
        "--no-pack",
        "--release",
        "--target",
        "bundler",
        "--out-dir",
        out,
        "--out-name",
        name,
      ],
      `${ROOT}/core-rs/crates/wasm`,
      ...["--locked", "--no-default-features", "--features", name, ...toolchain.cargoArgs],
    ], { CARGO_TARGET_DIR: target, CARGO_ENCODED_RUSTFLAGS: rustFlags(toolchain).join("\x1f") });
    return {
      wasm: shrunk(Deno.readFileSync(`${out}/${name}_bg.wasm`)),
      glue: Deno.readTextFileSync(`${out}/${name}_bg.js`),
      types: Deno.readTextFileSync(`${out}/${name}.d.ts`),
    };
  } finally {
    await Deno.remove(out, { recursive: true }).catch(() => {});
  }
}

/** Panic messages name source files: each folder that differs between machines gets a name that does not. */
function rustFlags(toolchain: Toolchain): string[] {
  const renamed: [from: string, to: string][] = [[ROOT, "/giommu"], [cargoHome(), "/cargo"]];
  // A registry's folder is named after its address, which need not be the same everywhere.
  for (const registry of foldersIn(`${cargoHome()}/registry/src`)) renamed.push([registry, "/cargo/crates"]);
  for (const sources of toolchain.librarySources) renamed.push([sources, "/rust"]);
  // Vectors reorder the bytes of guests' lists and compare entries: a third off H_PUT_TCE_INDIRECT.
  return [
    "-Ctarget-feature=+bulk-memory,+simd128",
    ...renamed.map(([from, to]) => `--remap-path-prefix=${from}=${to}`),
  ];
}

function foldersIn(path: string): string[] {
  try {
    return Array.from(Deno.readDirSync(path), (entry) => `${path}/${entry.name}`).sort();
  } catch {
    return [];
  }
}

async function must(toolchain: Toolchain, program: string, args: string[], env: Record<string, string>): Promise<void> {
  const ended = await run(program, args, { env: { ...toolchain.env, ...env } });
  if (!ended.ok) throw new BuildFailed(`Cannot build the WebAssembly artifact: ${program} failed\n${ended.text}`);
}
