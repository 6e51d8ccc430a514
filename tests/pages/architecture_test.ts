// docs/architecture.md follows calls through files: each name that it says to be in a file has to be there.
import { assert, assertEquals } from "@std/assert";

const PAGE = new URL("../../docs/architecture.md", import.meta.url);

Deno.test("every function that the page of the architecture follows is where it says", async () => {
  const page = (await Deno.readTextFile(PAGE)).replaceAll(/\s+/g, " ");
  const missing: string[] = [];
  let checked = 0;
  // `one`, then `two` and `three`, in [file](path); `four` ([file](path))
  const said =
    /((?:`[#\w]+`(?:, then | and |, and |, | in the | )?)+?)(?:, ?)?(?: ?in |\()\[[^\]]*\]\(([^)#]+\.(?:ts|rs))\)/g;
  for (const [, names = "", path = ""] of page.matchAll(said)) {
    const text = await Deno.readTextFile(new URL(path, PAGE));
    for (const [, name = ""] of names.matchAll(/`(#?\w+)`/g)) {
      checked++;
      if (!new RegExp(`(?<![\\w#])${name}\\b`).test(text)) missing.push(`${name} in ${path}`);
    }
  }
  assertEquals(missing, []);
  assert(checked > 35, String(checked));
});
