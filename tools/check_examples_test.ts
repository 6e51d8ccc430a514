import { assertEquals, assertStringIncludes } from "@std/assert";
import { checkExample, statedCommand } from "./check_examples.ts";

Deno.test("statedCommand() reads flags and arguments from a comment of any kind", () => {
  assertEquals(statedCommand("examples/a.ts", "// deno run examples/a.ts\n"), ["examples/a.ts"]);
  assertEquals(
    statedCommand("examples/a.ts", "/**\n * A machine.\n *\n *     deno run --allow-read=x examples/a.ts 4\n */\n"),
    ["--allow-read=x", "examples/a.ts", "4"],
  );
});

Deno.test("statedCommand() does not take another file's command, or one further down", () => {
  assertEquals(statedCommand("examples/a.ts", "// deno run examples/b.ts\n"), undefined);
  assertEquals(statedCommand("examples/a.ts", "\n\n\n\n\n// deno run examples/a.ts\n"), undefined);
});

Deno.test("checkExample() fails an example that needs more than it states", async () => {
  const file = Deno.makeTempFileSync({ suffix: ".ts" });
  const text = `// deno run ${file}\nDeno.readTextFileSync(import.meta.filename!);\nDeno.env.get("HOME");\n`;
  try {
    Deno.writeTextFileSync(file, text);
    const denied = await checkExample(file, text);
    assertEquals(denied.failed, 1);
    assertStringIncludes(denied.report, "NotCapable");
    const stated = text.replace("deno run", "deno run --allow-read --allow-env=HOME");
    assertEquals((await checkExample(file, stated)).passed, 1);
    const everything = text.replace("deno run", "deno run -A");
    assertEquals((await checkExample(file, everything)).failed, 1);
  } finally {
    Deno.removeSync(file);
  }
});
