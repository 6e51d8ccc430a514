import { assertEquals } from "@std/assert";
import { deadLinks, objections, unreached } from "./check_pages.ts";
import { denoCommands, reasonNotToRun } from "./pages/commands.ts";
import { type CodeBlock, type Page, readPage, slug } from "./pages/page.ts";

const FENCE = "```";

function dead(text: string, ...others: Page[]): string[] {
  const page = readPage("docs/a.md", text);
  const byPath = new Map([page, ...others].map((one) => [one.path, one]));
  return deadLinks(page, byPath, (path) => byPath.has(path) || path === "examples");
}

Deno.test("deadLinks() finds files, headings and addresses that are not there", () => {
  const other = readPage("README.md", "# Read me\n\n## Two `words` (and more)\n\n## Same\n\n## Same\n");
  const text = [
    "[a](../README.md) [b](../README.md#two-words-and-more) [c](#here) [d](../examples) [e](https://example.org/x#y)",
    "[f](../README.md#same-1) [g]: ../README.md",
    "# Here",
  ].join("\n");
  assertEquals(dead(text, other), []);
  assertEquals(dead("[a](b.md)\n[b](../README.md#none)\n[c](#none)\n[d](../../x)\n[e](http://x)", other), [
    "docs/a.md:1: b.md: no such file",
    "docs/a.md:2: ../README.md#none: no such heading",
    "docs/a.md:3: #none: no such heading",
    "docs/a.md:4: ../../x: outside of the repository",
    "docs/a.md:5: http://x: no address",
  ]);
});

Deno.test("deadLinks() looks neither into code nor into blocks", () => {
  assertEquals(dead(`\`[a](none)\`\n${FENCE}ts\nconst a = b[c](none);\n${FENCE}\n`), []);
});

Deno.test("unreached() finds pages that the index does not lead to", () => {
  const all = [
    readPage("docs/README.md", "[a](how-to/a.md) [out](../README.md)"),
    readPage("docs/how-to/a.md", "[b](../b.md#x)"),
    readPage("docs/b.md", "# X"),
    readPage("docs/c.md", ""),
    readPage("README.md", "[c](docs/c.md)"),
  ];
  assertEquals(unreached(new Map(all.map((page) => [page.path, page]))), ["docs/c.md"]);
});

Deno.test("slug() makes of a heading what forges make of it", () => {
  assertEquals(slug("What errors mean"), "what-errors-mean");
  assertEquals(slug("`H_PUT_TCE` (0x20): LIOBN, bus address"), "h_put_tce-0x20-liobn-bus-address");
  assertEquals(slug("A [link](x.md), and more"), "a-link-and-more");
});

function block(info: string, code = ""): CodeBlock {
  const [found] = readPage("a.md", `${FENCE}${info}\n${code}${FENCE}\n`).blocks;
  if (found === undefined) throw new Error("no block");
  return found;
}

Deno.test("objections() finds blocks that nobody runs", () => {
  const about = objections("a.md");
  assertEquals(
    ["ts", "sh", "text", "text output", "mermaid", "ts ignore part"].flatMap((info) => about(block(info))),
    [],
  );
  for (const info of ["", "typescript", "ts ignore", "text whatever"]) assertEquals(about(block(info)).length, 1, info);
});

Deno.test("denoCommands() reads what a reader types, and what stands for it here", () => {
  const code = [
    "npx --yes deno@2.9.6 task demo   # a comment",
    'giommu="deno run --allow-read packages/cli/main.ts"',
    "$giommu hotplug qemu.log --host sim:type1 \\",
    "  --max-mappings 10   # refused: exit 1",
    "apt-get install something",
    "deno task test",
    "deno task giommu replay FILE",
  ].join("\n");
  const commands = denoCommands(block("sh", `${code}\n`));
  assertEquals(commands.map(({ text, exit, line }) => [text, exit, line]), [
    ["deno task demo", 0, 2],
    [
      "deno run --allow-read packages/cli/main.ts hotplug tests/data/logs/hotplug-1g-4k.log.gz --host sim:type1 --max-mappings 10",
      1,
      4,
    ],
    ["deno task test", 0, 7],
    ["deno task giommu replay FILE", 0, 8],
  ]);
  assertEquals(commands.map((command) => reasonNotToRun(command) === undefined), [true, true, false, false]);
});
