/**
 * Proves that the committed WebAssembly artifact is what core-rs gives.
 *
 *     deno run -A tools/check_wasm.ts             every input and output has the hash that the build recorded
 *     deno run -A tools/check_wasm.ts --rebuild   and a build here gives the same bytes
 *
 * @module
 */

import { buildInto } from "./build_wasm.ts";
import { exitWith, failed, type Outcome, passed, skipped } from "./outcome.ts";
import { filesBelow, ROOT } from "./repository.ts";
import { deno } from "./spawn.ts";
import { BuildFailed } from "./wasm/pack.ts";
import { differences, inputHashes, outputHashes, readRecord, RECORD } from "./wasm/record.ts";
import { findToolchain, NoToolchain, type Toolchain } from "./wasm/toolchain.ts";

/** Compares the files on the disk with the record: finds what is stale or edited by hand. Needs no Rust. */
export async function checkRecord(root: string = ROOT): Promise<Outcome> {
  const record = readRecord(root);
  if (record === undefined) return failed(`${RECORD} is missing: run the task "build"`);
  const found = [
    ...differences(record.inputs, await inputHashes(root)),
    ...differences(record.outputs, await outputHashes(root)),
  ];
  return found.length === 0
    ? passed()
    : failed([...found, 'Run the task "build" and commit what it writes'].join("\n"));
}

/**
 * Builds again: finds a record that lies. With the recorded toolchain the bytes must be the same; with another one,
 * which may well give others, the new artifact must pass the tests.
 */
export async function checkRebuild(): Promise<Outcome> {
  const record = readRecord();
  if (record === undefined) return failed(`${RECORD} is missing: run the task "build"`);
  let toolchain: Toolchain;
  try {
    toolchain = await findToolchain();
  } catch (error) {
    if (error instanceof NoToolchain) return skipped(error.message);
    throw error;
  }
  const copy = Deno.makeTempDirSync({ prefix: "giommu-rebuilt-" });
  try {
    copyRepository(copy);
    await buildInto(toolchain, copy);
    const other = differences(record.tools, toolchain.versions).map((line) => line.split(":")[0]);
    if (other.length > 0) return await passesTests(copy, other.join(", "));
    const found = differences(record.outputs, await outputHashes(copy));
    if (found.length === 0) return passed("the same bytes, built with the recorded toolchain");
    return failed(["A build with the recorded toolchain gives other bytes than those committed:", ...found].join("\n"));
  } catch (error) {
    if (error instanceof BuildFailed) return failed(error.message);
    throw error;
  } finally {
    Deno.removeSync(copy, { recursive: true });
  }
}

async function passesTests(copy: string, other: string): Promise<Outcome> {
  const ended = await deno(["test", "-A", "--quiet", "--no-check", "packages", "tests"], { cwd: copy });
  if (!ended.ok) return failed(`The artifact as built here (other ${other}) does not pass the tests:\n${ended.text}`);
  return passed(`built with another toolchain than recorded (${other}); the tests pass on what it gives`);
}

function copyRepository(to: string): void {
  for (const path of filesBelow(".")) {
    Deno.mkdirSync(`${to}/${path}`.replace(/\/[^/]*$/, ""), { recursive: true });
    Deno.copyFileSync(`${ROOT}/${path}`, `${to}/${path}`);
  }
}

if (import.meta.main) {
  const recorded = await checkRecord();
  if (recorded.failed > 0 || !Deno.args.includes("--rebuild")) exitWith(recorded);
  exitWith(await checkRebuild());
}
