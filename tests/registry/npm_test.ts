// The packages in the form that JSR makes for npm, installed into an empty folder and run under Node.js.

import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import ts from "typescript";
import { javascriptPath, npmForm } from "../../tools/registry/npm_form.ts";
import { publishedRegistry } from "../../tools/registry/publish.ts";
import { npmName, withSpecifiers } from "../../tools/registry/specifiers.ts";
import { ROOT } from "../../tools/repository.ts";
import { type Ended, isInstalled, run } from "../../tools/spawn.ts";
import { examples } from "./examples.ts";
import { Outside } from "./outside.ts";

const missing: string[] = [];
for (const program of ["node", "npm"]) if (!await isInstalled(program)) missing.push(program);
if (missing.length > 0) console.log(`Tests of the npm packages are skipped: ${missing.join(" and ")} cannot be found`);
const ignore = missing.length > 0;

const registry = await publishedRegistry();
const ours = registry.packages.filter(({ name }) => name.startsWith("@giommu/"));
/** Those that are for Deno alone may use what Deno has. */
const portable = ours.filter(({ name }) => {
  const manifest = JSON.parse(Deno.readTextFileSync(`${ROOT}/packages/${name.replace("@giommu/", "")}/deno.json`));
  return manifest.runtimeCompat.node;
});
const project = new Outside();

Deno.test.beforeAll(async () => {
  if (ignore) return;
  project.write(
    ".npmrc",
    `registry=http://127.0.0.1:9/\n@jsr:registry=${registry.npmUrl}\ncache=${project.folder}/.npm\n`,
  );
  const dependencies = Object.fromEntries(ours.map(({ name, version }) => [npmName(name), `^${version}`]));
  project.write("package.json", JSON.stringify({ type: "module", dependencies }));
  const ended = await inProject("npm", ["install", "--no-audit", "--no-fund"]);
  assert(ended.ok, ended.text);
});

Deno.test.afterAll(async () => {
  project[Symbol.dispose]();
  await registry[Symbol.asyncDispose]();
});

function inProject(program: string, args: readonly string[]): Promise<Ended> {
  return run(program, args, { cwd: project.folder });
}

/** The same program with packages imported by npm's names for them; nothing else is changed. */
function fromNpm(text: string): string {
  return withSpecifiers(text, (specifier) => {
    const ours = /^(@giommu\/[^/]+)(\/.*)?$/.exec(specifier);
    return ours === null ? undefined : npmName(ours[1] ?? "") + (ours[2] ?? "");
  });
}

/** Compiles what is in `folder` of the project, strictly, declarations of the packages included. */
async function compile(folder: string): Promise<Ended> {
  project.write(
    `${folder}/tsconfig.json`,
    JSON.stringify({
      compilerOptions: {
        target: "es2022",
        module: "nodenext",
        rewriteRelativeImportExtensions: true,
        lib: ["es2022", "esnext.disposable", "dom"],
        types: [],
        strict: true,
        exactOptionalPropertyTypes: true,
        noUncheckedIndexedAccess: true,
        skipLibCheck: false,
      },
    }),
  );
  const tsc = `${dirname(fileURLToPath(import.meta.resolve("typescript")))}/tsc.js`;
  return await inProject("node", [tsc, "--project", folder]);
}

Deno.test({ name: "npm installs one copy of each package, with what it depends on", ignore }, async () => {
  const ended = await inProject("npm", ["ls", "--all", "--parseable"]);
  assert(ended.ok, ended.text);
  const installed = ended.stdout.trim().split("\n").slice(1).map((path) => path.replace(/^.*\/node_modules\//, ""));
  const expected = [...ours.map(({ name }) => npmName(name)), "@jsr/std__cli"];
  assertEquals(installed.toSorted(), expected.toSorted());
});

Deno.test(
  { name: "examples that need nothing of Deno's compile with tsc and run under Node.js", ignore },
  async (t) => {
    // Node.js has a DisposableStack since 24.
    const sources = examples().filter(({ text }) => !/\bDeno\.|import\.meta\.main|"@std\/|DisposableStack/.test(text));
    const programs = sources.filter(({ isProgram }) => isProgram);
    assert(programs.length >= 8, `${programs.length} programs`);
    for (const { path, text } of sources) project.write(path.replace("examples/", "programs/"), fromNpm(text));
    const compiled = await compile("programs");
    assert(compiled.ok, compiled.text);
    for (const { path } of programs) {
      await t.step(path, async () => {
        const ended = await inProject("node", [javascriptPath(path.replace("examples/", "programs/"))]);
        assert(ended.ok, ended.text);
        assert(ended.stdout.trim() !== "", "it printed nothing");
      });
    }
  },
);

Deno.test({ name: "declarations refuse a wrong program, and every entry has some", ignore }, async () => {
  const entries = ours.flatMap(({ name, exports }) => Object.keys(exports).map((key) => npmName(name) + key.slice(1)));
  // vfio-linux and the command are made of Deno's own API, but tell nobody of it in their types.
  const lines = entries.map((entry, index) => `export * as e${index} from "${entry}";`);
  project.write("entries/all.ts", lines.join("\n"));
  const right = await compile("entries");
  assert(right.ok, right.text);
  project.write("wrong/wrong.ts", fromNpm(`import { hex } from "@giommu/core";\nhex("0x10");\n`));
  const wrong = await compile("wrong");
  assert(!wrong.ok);
  assertStringIncludes(wrong.text, "wrong.ts(2,5): error TS2345");
});

Deno.test({ name: "every portable entry loads synchronously: require() takes it", ignore }, async () => {
  const entries = portable.flatMap(({ name, exports }) =>
    Object.keys(exports).map((key) => npmName(name) + key.slice(1))
  );
  project.write("sync.cjs", `for (const entry of ${JSON.stringify(entries)}) console.log(typeof require(entry));\n`);
  // The flag is for 20.17 to 22.11; later versions need none.
  const ended = await inProject("node", ["--no-warnings", "--experimental-require-module", "sync.cjs"]);
  assert(ended.ok, ended.text);
  assertEquals(ended.stdout, "object\n".repeat(entries.length));
});

Deno.test({ name: "an error of one package is an IommuError of another", ignore }, async () => {
  project.write(
    "error.mjs",
    fromNpm(`import { IommuError } from "@giommu/core";
import { TceTable } from "@giommu/spapr-tce";
const table = new TceTable({ liobn: 0x80000000, entries: 16 });
table[Symbol.dispose]();
try {
  table.entry(0);
} catch (error) {
  console.log(error instanceof IommuError, error.code);
}
`),
  );
  const ended = await inProject("node", ["error.mjs"]);
  assertEquals(ended.text, "true disposed\n");
});

Deno.test({ name: "a QEMU log is read under Node.js from its bytes", ignore }, async () => {
  const log = "tests/data/logs/hotplug-1g-4k.log.gz";
  project.copy(log);
  project.write(
    "log.mjs",
    fromNpm(`import { readFile } from "node:fs/promises";
import { openInput, RebuiltMachine } from "@giommu/qemu-trace";
const input = await openInput(await readFile("${log}"));
const machine = new RebuiltMachine();
while (await machine.read(input) !== "end");
console.log(machine.hotplugs.length, machine.translations.disagreed);
await input[Symbol.asyncDispose]();
machine[Symbol.dispose]();
`),
  );
  const ended = await inProject("node", ["log.mjs"]);
  assert(ended.ok, ended.text);
  assertEquals(ended.stdout, "2 0\n");
});

Deno.test({ name: "real hosts say under Node.js what they need", ignore }, async () => {
  const program = fromNpm(`import { Iommufd } from "@giommu/vfio-linux";
try {
  new Iommufd({ device: "0000:00:04.0" });
} catch (error) {
  console.log(error.code, error.message);
}
`);
  project.write("real.mjs", program);
  const ended = await inProject("node", ["real.mjs"]);
  assertMatch(ended.stdout, /^backend-unavailable Cannot use VFIO: this is not Deno/);
});

Deno.test("portable packages have no syntax that Node.js 20 lacks, and nothing to wait for while they load", () => {
  const found: string[] = [];
  for (const published of portable) {
    for (const [path, bytes] of npmForm(published)) {
      if (path.endsWith(".js")) found.push(...oddities(published.name + path, new TextDecoder().decode(bytes)));
    }
  }
  assertEquals(found, []);
});

/** `using`, which Node.js 24 is the first to know, and `await` outside functions. */
function oddities(path: string, text: string): string[] {
  const source = ts.createSourceFile(path, text, ts.ScriptTarget.Latest);
  const found: string[] = [];
  const visit = (node: ts.Node, inFunction: boolean): void => {
    const line = source.getLineAndCharacterOfPosition(node.pos).line + 1;
    if (ts.isVariableDeclarationList(node) && (node.flags & ts.NodeFlags.Using) === ts.NodeFlags.Using) {
      found.push(`${path}:${line}: using`);
    }
    const waits = ts.isAwaitExpression(node) || (ts.isForOfStatement(node) && node.awaitModifier !== undefined);
    if (waits && !inFunction) found.push(`${path}:${line}: await`);
    ts.forEachChild(node, (child) => visit(child, inFunction || ts.isFunctionLike(node)));
  };
  visit(source, false);
  return found;
}
