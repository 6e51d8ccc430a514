import { assert, assertEquals } from "@std/assert";
import { publishedFiles, shortcomings } from "./check_publish.ts";
import { packages } from "./packages.ts";
import { ROOT } from "./repository.ts";

Deno.test("publishedFiles() reads the list of a dry run, and keeps what is outside in full", () => {
  const output = `Simulating publish of @giommu/core@0.1.0 with files:
   file://${ROOT}/packages/core/mod.ts (385B)
   file:///elsewhere/assert/mod.js (1.2KB)
Success Dry run complete`;
  assertEquals(publishedFiles(output), ["packages/core/mod.ts", "file:///elsewhere/assert/mod.js"]);
});

Deno.test("shortcomings() finds nothing in a package that says all, and names what one does not say", () => {
  const entry = packages().find(({ name }) => name === "core");
  assert(entry !== undefined);
  const files = [...entry.exports, "packages/core/README.md"];
  assertEquals(shortcomings(entry, files), []);
  assertEquals(shortcomings(entry, entry.exports), ["packages/core: packages/core/README.md would not be published"]);
  // A file whose comment is about what it exports, not about the module.
  const exports = ["packages/core/error.ts"];
  const silent = { ...entry, exports, description: "", runtimeCompat: undefined };
  assertEquals(shortcomings(silent, [...exports, "packages/core/README.md"]), [
    "packages/core/error.ts: does not begin by saying what the module is",
    "packages/core: needs a description of up to 250 characters",
    "packages/core: does not say where it runs",
  ]);
});
