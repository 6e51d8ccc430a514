/** BUILD.json: what the committed artifact was built from, with what, and what came out. */

import { filesBelow, ROOT } from "../repository.ts";
import { OUTPUT, OUTPUTS } from "./modules.ts";

/** Where the record is, relative to the repository. */
export const RECORD = `${OUTPUT}/BUILD.json`;

/** SHA-256 of files by path. */
export type Hashes = Record<string, string>;

/** The contents of BUILD.json. */
export interface BuildRecord {
  readonly about: string;
  readonly tools: Record<string, string>;
  readonly inputs: Hashes;
  readonly outputs: Hashes;
}

/** Everything that feeds the build, folders and files, whether or not they exist today: one that appears is a change. */
const INPUTS = [
  ".cargo",
  "Cargo.lock",
  "Cargo.toml",
  "core-rs/crates/bench",
  "core-rs/crates/core",
  "core-rs/crates/wasm",
  "rust-toolchain",
  "rust-toolchain.toml",
  "tools/build_wasm.ts",
  "tools/repository.ts",
  "tools/spawn.ts",
  "tools/wasm",
];

/** Neither tests of the build tool nor seeds that property tests remember can reach the compiler. */
const NOT_INPUTS = /_test\.ts$|proptest-regressions/;

/** Hashes every input as it is on the disk. */
export function inputHashes(root: string = ROOT): Promise<Hashes> {
  const paths = INPUTS.flatMap((input) => filesBelow(input, root)).filter((path) => !NOT_INPUTS.test(path));
  return hashes(paths, root);
}

/** Hashes every file of the artifact but the record itself. */
export function outputHashes(root: string = ROOT): Promise<Hashes> {
  const files = Object.keys(OUTPUTS).flatMap((folder) => filesBelow(folder, root));
  return hashes(files.filter((path) => path !== RECORD), root);
}

/** Reads the record, or returns `undefined` where none is. */
export function readRecord(root: string = ROOT): BuildRecord | undefined {
  try {
    return JSON.parse(Deno.readTextFileSync(`${root}/${RECORD}`));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/** Says in one line per file how `now` differs from `then`. */
export function differences(then: Hashes, now: Hashes): string[] {
  const paths = [...new Set([...Object.keys(then), ...Object.keys(now)])].sort();
  return paths.filter((path) => then[path] !== now[path]).map((path) => {
    if (then[path] === undefined) return `${path}: not there when the artifact was built`;
    if (now[path] === undefined) return `${path}: gone since the artifact was built`;
    return `${path}: changed since the artifact was built`;
  });
}

async function hashes(paths: readonly string[], root: string): Promise<Hashes> {
  const entries = paths.map(async (path) => [path, await sha256(Deno.readFileSync(`${root}/${path}`))] as const);
  return Object.fromEntries(await Promise.all(entries));
}

async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
}
