import { assertEquals } from "@std/assert";
import { cargoCounts, denoCounts } from "./test.ts";

Deno.test("denoCounts() reads passed, failed and ignored tests, and tells when there is no closing line", () => {
  assertEquals(denoCounts("ok | 12 passed (3 steps) | 0 failed (1s)")?.passed, 12);
  const failing = denoCounts("FAILED | 12 passed | 2 failed | 3 ignored (1s)");
  assertEquals([failing?.passed, failing?.failed, failing?.skipped], [12, 2, 3]);
  assertEquals(denoCounts("error: Module not found"), undefined);
});

Deno.test("cargoCounts() adds up all test binaries", () => {
  const line = (passed: number, failed: number, ignored: number): string =>
    `test result: ok. ${passed} passed; ${failed} failed; ${ignored} ignored; 0 measured; 0 filtered out\n`;
  const counts = cargoCounts(line(5, 0, 0) + "noise\n" + line(7, 1, 2));
  assertEquals([counts.passed, counts.failed, counts.skipped], [12, 1, 2]);
});
