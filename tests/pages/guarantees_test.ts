// Pages that name the test of what they promise: it has to be there. Paths without a package's folder lie in tests/.
import { assert, assertEquals } from "@std/assert";

const ROOT = new URL("../../", import.meta.url);

/** The page, the folder that its paths begin in where no package's does, and the least number of tests that it names. */
const PAGES = [["docs/guarantees.md", "tests/", 30], ["docs/real-hosts.md", "tests/vm/", 8]] as const;

async function exists(path: string): Promise<boolean> {
  try {
    await Deno.stat(new URL(path, ROOT));
    return true;
  } catch {
    return false;
  }
}

for (const [path, folder, least] of PAGES) {
  Deno.test(`every test that ${path} names is there`, async () => {
    const page = await Deno.readTextFile(new URL(path, ROOT));
    const named = page.split("\n").filter((line) => line.startsWith("|")).flatMap((line) =>
      Array.from((line.split("|").at(-2) ?? "").matchAll(/`([\w/-]+(?:_test\.ts|\/))`/g), ([, name = ""]) => name)
    );
    const missing: string[] = [];
    for (const name of named) {
      if (!await exists(`${folder}${name}`) && !await exists(`packages/${name}`)) missing.push(name);
    }
    assertEquals(missing, []);
    assert(named.length >= least, String(named.length));
  });
}
