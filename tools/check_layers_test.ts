import { assertEquals, assertStringIncludes } from "@std/assert";
import { checkLayers } from "./check_layers.ts";

/** Lays out two packages and a crate, and returns the folder that holds them. */
function repository(files: Record<string, string>): string {
  const root = Deno.realPathSync(Deno.makeTempDirSync({ prefix: "giommu-layers-" }));
  const all: Record<string, string> = {
    "deno.json": '{"workspace":["./packages/core","./packages/notifiers"]}',
    "packages/core/deno.json": '{"name":"@giommu/core","exports":"./mod.ts"}',
    "packages/core/mod.ts": "export const one = 1;\n",
    "packages/notifiers/deno.json": '{"name":"@giommu/notifiers","exports":"./mod.ts"}',
    "packages/notifiers/mod.ts": 'export { one } from "@giommu/core";\n',
    "core-rs/crates/core/Cargo.toml": '[package]\nname = "giommu-core"\n',
    "core-rs/crates/core/src/lib.rs": "//! Empty.\n",
    ...files,
  };
  for (const [path, text] of Object.entries(all)) {
    Deno.mkdirSync(`${root}/${path}`.replace(/\/[^/]*$/, ""), { recursive: true });
    Deno.writeTextFileSync(`${root}/${path}`, text);
  }
  return root;
}

async function reportOn(files: Record<string, string>): Promise<string> {
  const root = repository(files);
  try {
    return (await checkLayers(root)).report;
  } finally {
    Deno.removeSync(root, { recursive: true });
  }
}

Deno.test("checkLayers() passes when all imports lead downwards", async () => {
  assertEquals(await reportOn({}), "");
});

Deno.test("checkLayers() names the file and the import that lead upwards, even for a type alone", async () => {
  const report = await reportOn({
    "packages/core/up.ts": 'import type { one } from "@giommu/notifiers";\nexport type One = typeof one;\n',
  });
  assertStringIncludes(report, 'packages/core/up.ts: "@giommu/notifiers"');
});

Deno.test("checkLayers() names a relative import of another package's file", async () => {
  const report = await reportOn({ "packages/notifiers/side.ts": 'export * from "../core/mod.ts";\n' });
  assertStringIncludes(report, "packages/notifiers/side.ts");
});

Deno.test("checkLayers() names a crate's dependency and the core's I/O", async () => {
  const report = await reportOn({
    "core-rs/crates/core/Cargo.toml": '[package]\nname = "giommu-core"\n[dependencies]\nlibc = "1"\n',
    "core-rs/crates/core/src/lib.rs": "use std::fs::File;\n",
  });
  assertStringIncludes(report, "giommu-core may not depend on libc");
  assertStringIncludes(report, "core-rs/crates/core/src/lib.rs:1");
});
