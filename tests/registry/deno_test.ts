// The packages as `deno publish` hands them over, imported from a registry by programs that have nothing else of this checkout.

import { dirname } from "node:path";
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { publishedRegistry } from "../../tools/registry/publish.ts";
import type { LocalRegistry } from "../../tools/registry/registry.ts";
import { deno, type Ended } from "../../tools/spawn.ts";
import { examples, fromJsr, readPaths } from "./examples.ts";
import { Outside } from "./outside.ts";

const registry = await publishedRegistry();
const ours = registry.packages.filter(({ name }) => name.startsWith("@giommu/"));
const version = ours[0]?.version ?? "";

Deno.test.afterAll(() => registry[Symbol.asyncDispose]());

/** Runs Deno in a folder that has no configuration, with a cache of its own, empty at first. Programs there find `deno` on their PATH. */
function denoIn({ folder }: Outside, args: readonly string[], { url }: LocalRegistry = registry): Promise<Ended> {
  const PATH = `${dirname(Deno.execPath())}:${Deno.env.get("PATH")}`;
  return deno(args, { cwd: folder, env: { JSR_URL: url, DENO_DIR: `${folder}/.deno`, PATH } });
}

/** A program that imports all that all packages export. */
function importsEverything(): string {
  const specifiers = ours.flatMap(({ name, exports }) =>
    Object.keys(exports).map((key) => `jsr:${name}@^${version}${key.slice(1)}`)
  );
  return specifiers.map((specifier) => `import "${specifier}";\n`).join("");
}

Deno.test("every example runs on the published packages, with exactly the permissions that it states", async (t) => {
  using outside = new Outside();
  const all = examples();
  for (const path of new Set(all.flatMap(readPaths))) outside.copy(path);
  for (const { path, text } of all) outside.write(path, fromJsr(text, version));
  const programs = all.filter(({ isProgram }) => isProgram);
  assert(programs.length >= 12, `${programs.length} examples`);
  for (const { path, command } of programs) {
    await t.step(path, async () => {
      assert(command !== undefined, "its header states no command");
      const ended = await denoIn(outside, ["run", "--no-config", "--no-prompt", ...command]);
      assert(ended.ok, ended.text);
      assert(ended.stdout.trim() !== "", "it printed nothing");
    });
  }
});

Deno.test("the command runs from JSR, and needs no more than leave to read", async () => {
  using outside = new Outside();
  const log = "tests/data/logs/hotplug-1g-4k.log.gz";
  outside.copy(log);
  const flags = ["run", "--no-config", "--no-prompt", "--allow-read"];
  const ended = await denoIn(outside, [...flags, `jsr:@giommu/cli@^${version}`, "replay", log]);
  assert(ended.ok, ended.text);
  assertStringIncludes(ended.stdout, "nothing missing, stale or different");
});

Deno.test("types come along: a right program passes deno check, a wrong one does not", async () => {
  using outside = new Outside();
  for (const { path, text } of examples()) outside.write(path, fromJsr(text, version));
  const right = await denoIn(outside, ["check", "--no-config", "examples"]);
  assert(right.ok, right.text);
  outside.write(
    "wrong.ts",
    fromJsr(`import { SpaprPhb } from "@giommu/spapr-tce";\nnew SpaprPhb({ index: "first" });\n`, version),
  );
  const wrong = await denoIn(outside, ["check", "--no-config", "wrong.ts"]);
  assert(!wrong.ok);
  assertStringIncludes(wrong.text, "TS2322");
});

Deno.test("nothing is published that nobody needs", async () => {
  using outside = new Outside();
  await using fresh = await publishedRegistry();
  outside.write("all.ts", importsEverything());
  // What is read for its types alone, and what is read to run.
  for (const command of ["check", "run"]) {
    const ended = await denoIn(outside, [command, "--no-config", "all.ts"], fresh);
    assert(ended.ok, ended.text);
  }
  const read = /\/(?:deno\.json|README\.md)$/;
  const idle = ours.flatMap(({ name, files }) => Array.from(files.keys(), (path) => name + path))
    .filter((file) => !fresh.asked.has(file) && !read.test(file));
  assertEquals(idle, []);
});

Deno.test("without one of its files a program does not load, and with a changed one neither", async (t) => {
  const cases = [
    ["@giommu/core", "/address.ts"],
    ["@giommu/core", "/_wasm/walker_bytes.js"],
    ["@giommu/vfio-sync", "/_mirror.ts"],
    ["@giommu/cli", "/replay.ts"],
    ["@std/cli", "/cli/parse_args.js"],
  ] as const;
  const bytes = new TextEncoder().encode("export {};\n");
  for (const [name, path] of cases) {
    for (const [how, replacement] of [["without", undefined], ["with a changed", bytes]] as const) {
      await t.step(`${how} ${name}${path}`, async () => {
        using outside = new Outside();
        outside.write("all.ts", importsEverything());
        using _damage = registry.damage(name, path, replacement);
        const ended = await denoIn(outside, ["run", "--no-config", "--no-prompt", "all.ts"]);
        assert(!ended.ok, "it ran all the same");
        assertStringIncludes(ended.text, path);
      });
    }
  }
  using outside = new Outside();
  outside.write("all.ts", importsEverything());
  const whole = await denoIn(outside, ["run", "--no-config", "--no-prompt", "all.ts"]);
  assert(whole.ok, whole.text);
});

Deno.test("what is published once stays as it is", () => {
  const [first] = ours;
  assert(first !== undefined);
  assertThrows(() => registry.add(first), Error, "it is published already");
});
