// What the README says of importing, done as it says: before the first publication, and after it.

import { assert, assertEquals } from "@std/assert";
import { publishedRegistry } from "../../tools/registry/publish.ts";
import { ROOT } from "../../tools/repository.ts";
import { deno, type Ended } from "../../tools/spawn.ts";
import { Outside } from "./outside.ts";

const README = Deno.readTextFileSync(`${ROOT}/README.md`);

/** The first block of code in a language, after a heading. */
function block(heading: string, language: string): string {
  const after = README.split(`\n## ${heading}\n`)[1] ?? "";
  const code = new RegExp(`\`\`\`${language}\n([^]*?)\`\`\``).exec(after)?.[1];
  assert(code !== undefined, `no ${language} under ${heading}`);
  return code;
}

function run(outside: Outside, JSR_URL: string, ...args: string[]): Promise<Ended> {
  return deno(args, { cwd: outside.folder, env: { JSR_URL, DENO_DIR: `${outside.folder}/.deno` } });
}

Deno.test("before the first publication, links to a checkout are enough", async () => {
  using outside = new Outside();
  outside.write("deno.json", block("Importing them", "json").replace("../giommu", ROOT));
  outside.write("main.ts", block("Ten lines", "ts"));
  // Nothing answers there: neither JSR nor another registry is asked.
  const ended = await run(outside, "http://127.0.0.1:9/", "run", "--quiet", "main.ts");
  assertEquals(ended.text, "4 pages, in step: true\n");
});

Deno.test("after it, deno add is", async () => {
  await using registry = await publishedRegistry();
  using outside = new Outside();
  const [program, ...args] = block("Importing them", "sh").trim().split(/\s+/);
  assertEquals(program, "deno");
  outside.write("deno.json", "{}\n");
  outside.write("main.ts", block("Ten lines", "ts"));
  const added = await run(outside, registry.url, ...args);
  assert(added.ok, added.text);
  const ended = await run(outside, registry.url, "run", "--quiet", "main.ts");
  assertEquals(ended.text, "4 pages, in step: true\n");
});
