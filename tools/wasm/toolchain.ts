/** Finds a Rust toolchain that can build for wasm32-unknown-unknown, and says exactly which one it is. */

import binaryen from "binaryen/package.json" with { type: "json" };
import { run } from "../spawn.ts";
import versions from "./versions.json" with { type: "json" };

/** The target that the artifact is built for. */
export const TARGET = "wasm32-unknown-unknown";

/** A toolchain that builds the artifact. */
export interface Toolchain {
  /** What PATH, RUSTC and others must be. */
  readonly env: Record<string, string>;
  /** Arguments that cargo needs beside its usual ones. */
  readonly cargoArgs: readonly string[];
  /** Where the standard library's sources are, to be cut from the paths in the artifact. */
  readonly librarySources: readonly string[];
  /** Every version that can change a byte of the artifact. */
  readonly versions: Record<string, string>;
}

/** Thrown when this machine cannot build the artifact; the message says what to install. */
export class NoToolchain extends Error {
  override readonly name = "NoToolchain";
}

/**
 * Takes rustup's target if it is installed, else Debian's rustc-web, which builds the standard library on the way.
 *
 * @throws {NoToolchain} If neither is there, or wasm-pack or wasm-bindgen is missing or of another version than the pinned one.
 */
export async function findToolchain(): Promise<Toolchain> {
  const rust = await rustupTarget() ?? await debianToolchain();
  if (rust === undefined) {
    throw new NoToolchain(
      `Cannot build the WebAssembly artifact: no Rust toolchain has the target ${TARGET}. Either run ` +
        `"rustup target add ${TARGET}", or on Debian install rustc-web, cargo-web, rust-web-src and lld-22`,
    );
  }
  const wasmPack = await pinned("wasm-pack", versions["wasm-pack"], rust.env);
  const wasmBindgen = await pinned("wasm-bindgen", versions["wasm-bindgen"], rust.env, "wasm-bindgen-cli");
  const tools = { "wasm-pack": wasmPack, "wasm-bindgen": wasmBindgen, binaryen: binaryen.version };
  return { ...rust, versions: { ...rust.versions, ...tools } };
}

async function rustupTarget(): Promise<Toolchain | undefined> {
  const env = { PATH: pathWithCargo() };
  const libdir = await run("rustc", ["--print", "target-libdir", "--target", TARGET], { env });
  if (!libdir.ok || !contains(libdir.stdout.trim(), /^libcore-.*\.rlib$/)) return undefined;
  return {
    env,
    cargoArgs: [],
    librarySources: await librarySources("rustc", env),
    versions: { rustc: await verboseVersion("rustc", env), std: "prebuilt" },
  };
}

async function debianToolchain(): Promise<Toolchain | undefined> {
  const rustc = "/usr/bin/rustc";
  const llvm = /^LLVM version: (\d+)/m.exec((await run(rustc, ["-vV"])).stdout)?.[1];
  if (llvm === undefined || !contains("/usr/lib/rustlib/src/rust/library", /^Cargo\.lock$/)) return undefined;
  const linker = `wasm-ld-${llvm}`;
  const linkerVersion = await run(linker, ["--version"]);
  if (!linkerVersion.ok) return undefined;
  claimTarget(`/usr/lib/rustlib/${TARGET}/lib`);
  const env = {
    PATH: `/usr/bin:${pathWithCargo()}`,
    RUSTC: rustc,
    CARGO: "/usr/bin/cargo",
    // Building the standard library is not stable; everything else here is.
    RUSTC_BOOTSTRAP: "1",
    [`CARGO_TARGET_${TARGET.toUpperCase().replaceAll("-", "_")}_LINKER`]: linker,
  };
  return {
    env,
    // A library of its own can leave out what a panic says: there is nowhere to say it, and a trap tells as much.
    cargoArgs: [
      "-Zbuild-std=std,panic_abort",
      "-Zpanic-immediate-abort",
      ...["--config", 'profile.release.panic="immediate-abort"'],
    ],
    librarySources: await librarySources(rustc, env),
    versions: {
      rustc: await verboseVersion(rustc, env),
      std: "rust-web-src, built on the way",
      linker: linkerVersion.stdout.trim(),
    },
  };
}

/** wasm-pack takes a target for installed if its folder is there, even an empty one: the library is built, not found. */
function claimTarget(folder: string): void {
  try {
    Deno.mkdirSync(folder, { recursive: true });
  } catch (error) {
    if (!(error instanceof Deno.errors.PermissionDenied)) throw error;
    throw new NoToolchain(`Cannot make wasm-pack accept Debian's toolchain: run "sudo mkdir -p ${folder}" once`);
  }
}

async function pinned(
  tool: string,
  version: string,
  env: Record<string, string>,
  crate: string = tool,
): Promise<string> {
  const found = (await run(tool, ["--version"], { env })).stdout.trim().split(" ").at(-1);
  if (found === version) return version;
  throw new NoToolchain(
    `Cannot build the WebAssembly artifact: ${tool} ${version} is needed, found ${found || "none"}. ` +
      `Run "cargo install ${crate} --version ${version}"`,
  );
}

async function librarySources(rustc: string, env: Record<string, string>): Promise<string[]> {
  const sysroot = (await run(rustc, ["--print", "sysroot"], { env })).stdout.trim();
  const named = `${sysroot}/lib/rustlib/src/rust`;
  try {
    return [Deno.realPathSync(named), named];
  } catch {
    return [named];
  }
}

async function verboseVersion(rustc: string, env: Record<string, string>): Promise<string> {
  return (await run(rustc, ["-vV"], { env })).stdout.trim();
}

/** `cargo install` puts programs where PATH may not lead. */
function pathWithCargo(): string {
  return `${Deno.env.get("PATH")}:${cargoHome()}/bin`;
}

/** Cargo's own folder. */
export function cargoHome(): string {
  return Deno.env.get("CARGO_HOME") ?? `${Deno.env.get("HOME")}/.cargo`;
}

function contains(folder: string, name: RegExp): boolean {
  try {
    return Array.from(Deno.readDirSync(folder)).some((entry) => name.test(entry.name));
  } catch {
    return false;
  }
}
