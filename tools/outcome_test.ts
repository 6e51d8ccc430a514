import { assertEquals } from "@std/assert";
import { closingLine, failed, judged, passed, skipped, sum } from "./outcome.ts";

Deno.test("sum() never counts a skip as a pass", () => {
  const total = sum([passed(), skipped("no cargo"), failed("broken")]);
  assertEquals(closingLine(total), "1 passed, 1 failed, 1 skipped");
  assertEquals(total.report, "no cargo\nbroken");
});

Deno.test("judged() turns skips into failures where nothing may be skipped", () => {
  assertEquals(closingLine(judged(sum([passed(), skipped("no cargo")]), true)), "1 passed, 1 failed");
  assertEquals(closingLine(judged(passed(), true)), "1 passed, 0 failed");
});
