// What is measured is what is tested: the tables' property tests pass on the module that bench/ measures.
import { assert, assertStringIncludes } from "@std/assert";
import { ROOT } from "../../tools/repository.ts";
import { deno } from "../../tools/spawn.ts";

const TESTS = ["property_test.ts", "tce_table_test.ts", "replay_test.ts"].map((name) => `packages/spapr-tce/${name}`);

Deno.test("the property tests of the tables pass on the build that is measured", async () => {
  const { imports } = JSON.parse(Deno.readTextFileSync(`${ROOT}/deno.json`));
  const map = Deno.makeTempFileSync({ suffix: ".json" });
  try {
    const own = `file://${ROOT}/packages/core/_wasm`;
    Deno.writeTextFileSync(
      map,
      JSON.stringify({
        imports: {
          ...imports,
          [`${own}/table.js`]: `file://${ROOT}/bench/_wasm/bench.js`,
          // Whoever still asks for the published build fails.
          [`${own}/table_bytes.js`]: "data:text/javascript,throw new Error('the published build was loaded')",
        },
      }),
    );
    const ended = await deno(["test", "-A", "--no-check", "--import-map", map, ...TESTS], { cwd: ROOT });
    assert(ended.ok, ended.text);
    assertStringIncludes(ended.text, "| 0 failed");
  } finally {
    Deno.removeSync(map);
  }
});
