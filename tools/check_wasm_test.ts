import { assertEquals, assertStringIncludes } from "@std/assert";
import { checkRecord } from "./check_wasm.ts";
import { inputHashes, outputHashes, RECORD } from "./wasm/record.ts";

/** Makes a repository whose record fits, lets `damage` change it, and returns what the check then says. */
async function reportAfter(damage: (root: string) => void): Promise<string> {
  const root = Deno.makeTempDirSync({ prefix: "giommu-artifact-" });
  try {
    for (const folder of ["core-rs/crates/core/src", "tools/wasm", "packages/core/_wasm"]) {
      Deno.mkdirSync(`${root}/${folder}`, { recursive: true });
    }
    Deno.writeTextFileSync(`${root}/Cargo.lock`, "one\n");
    Deno.writeTextFileSync(`${root}/core-rs/crates/core/src/lib.rs`, "//! Core.\n");
    Deno.writeTextFileSync(`${root}/tools/wasm/pack.ts`, "export {};\n");
    Deno.writeTextFileSync(`${root}/packages/core/_wasm/giommu_wasm_bytes.js`, 'const text = "AGFzbQ==";\n');
    const record = { about: "", tools: {}, inputs: await inputHashes(root), outputs: await outputHashes(root) };
    Deno.writeTextFileSync(`${root}/${RECORD}`, JSON.stringify(record));
    damage(root);
    return (await checkRecord(root)).report;
  } finally {
    Deno.removeSync(root, { recursive: true });
  }
}

Deno.test("checkRecord() passes while nothing has changed", async () => {
  assertEquals(await reportAfter(() => {}), "");
});

Deno.test("checkRecord() sees one changed character of the artifact", async () => {
  const path = "packages/core/_wasm/giommu_wasm_bytes.js";
  assertStringIncludes(await reportAfter((root) => replace(`${root}/${path}`, "AGFz", "AGFy")), `${path}: changed`);
});

Deno.test("checkRecord() sees a changed lock file, source and build tool", async () => {
  assertStringIncludes(await reportAfter((root) => replace(`${root}/Cargo.lock`, "one", "two")), "Cargo.lock: changed");
  const source = "core-rs/crates/core/src/lib.rs";
  assertStringIncludes(await reportAfter((root) => replace(`${root}/${source}`, "Core", "Corn")), `${source}: changed`);
  const tool = "tools/wasm/pack.ts";
  assertStringIncludes(await reportAfter((root) => replace(`${root}/${tool}`, "{}", "{ }")), `${tool}: changed`);
});

Deno.test("checkRecord() sees files that came and went", async () => {
  const report = await reportAfter((root) => {
    Deno.mkdirSync(`${root}/.cargo`);
    Deno.writeTextFileSync(`${root}/.cargo/config.toml`, "");
    Deno.renameSync(`${root}/core-rs/crates/core/src/lib.rs`, `${root}/core-rs/crates/core/src/moved.rs`);
    Deno.writeTextFileSync(`${root}/packages/core/_wasm/stray.js`, "");
  });
  assertStringIncludes(report, ".cargo/config.toml: not there when");
  assertStringIncludes(report, "core-rs/crates/core/src/lib.rs: gone");
  assertStringIncludes(report, "core-rs/crates/core/src/moved.rs: not there when");
  assertStringIncludes(report, "packages/core/_wasm/stray.js: not there when");
});

Deno.test("checkRecord() fails when there is no record", async () => {
  assertStringIncludes(await reportAfter((root) => Deno.removeSync(`${root}/${RECORD}`)), "BUILD.json is missing");
});

function replace(path: string, from: string, to: string): void {
  Deno.writeTextFileSync(path, Deno.readTextFileSync(path).replace(from, to));
}
