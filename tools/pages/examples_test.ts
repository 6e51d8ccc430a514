import { assertEquals } from "@std/assert";
import { readPage } from "./page.ts";
import { filesBelow, ROOT } from "../repository.ts";

Deno.test("the documentation lists every example", () => {
  const { links } = readPage("docs/README.md", Deno.readTextFileSync(`${ROOT}/docs/README.md`));
  const listed = links.map(({ target }) => target.replace("../", "")).filter((path) => /^examples\/.+/.test(path));
  assertEquals(listed.sort(), filesBelow("examples").filter((path) => /^examples\/[^_/][^/]*\.ts$/.test(path)));
});

Deno.test("an example has at most a hundred lines", () => {
  const long = filesBelow("examples").filter((path) =>
    path.endsWith(".ts") && Deno.readTextFileSync(`${ROOT}/${path}`).trimEnd().split("\n").length > 100
  );
  assertEquals(long, []);
});
