import { assertEquals } from "@std/assert";
import { publishedFiles } from "./check_publish.ts";
import { ROOT } from "./repository.ts";

Deno.test("publishedFiles() reads the list of a dry run, and keeps what is outside in full", () => {
  const output = `Simulating publish of @giommu/core@0.1.0 with files:
   file://${ROOT}/packages/core/mod.ts (385B)
   file:///elsewhere/assert/mod.js (1.2KB)
Success Dry run complete`;
  assertEquals(publishedFiles(output), ["packages/core/mod.ts", "file:///elsewhere/assert/mod.js"]);
});
