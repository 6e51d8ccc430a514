// Pages that build a program piece by piece: the pieces in their order are one program, and it prints what the page says.
import { assert, assertEquals } from "@std/assert";
import { pages } from "../check_pages.ts";
import { ROOT } from "../repository.ts";
import { deno } from "../spawn.ts";

for (const { path, blocks } of pages()) {
  const parts = blocks.filter(({ language, marks }) => language === "ts" && marks.includes("part"));
  if (parts.length === 0) continue;
  Deno.test(`The program of ${path} prints what the page says, and needs no permission`, async () => {
    const told = blocks.filter((block, at) => {
      const before = blocks.slice(0, at).findLast(({ language }) => language !== "text");
      return block.marks[0] === "output" && before !== undefined && parts.includes(before);
    });
    assert(told.length > 0, "it says nothing of what is printed");
    // Below the workspace, so that packages are found by their names.
    const dir = `${ROOT}/target/pages`;
    await Deno.mkdir(dir, { recursive: true });
    const file = await Deno.makeTempFile({ dir, suffix: ".ts" });
    try {
      await Deno.writeTextFile(file, parts.map(({ code }) => code).join("\n"));
      const { ok, stdout, text } = await deno(["run", "--no-prompt", "--quiet", "--check", file]);
      assert(ok, text);
      assertEquals(stdout, told.map(({ code }) => code).join(""));
    } finally {
      await Deno.remove(file);
    }
  });
}
