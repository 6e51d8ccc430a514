import { assertEquals, assertThrows } from "@std/assert";
import { UsageError } from "./usage_error.ts";
import { parseWhere } from "./where.ts";

Deno.test("parseWhere() tells lines, times, shares, hotplugs and the end apart", () => {
  assertEquals(parseWhere(undefined), { kind: "default" });
  assertEquals(parseWhere("end"), { kind: "end" });
  assertEquals(parseWhere("hotplug"), { kind: "hotplug", count: 1 });
  assertEquals(parseWhere("hotplug:2"), { kind: "hotplug", count: 2 });
  assertEquals(parseWhere("467730"), { kind: "line", line: 467730 });
  assertEquals(parseWhere("1795217436.442317"), { kind: "time", microseconds: 1795217436442317n });
  assertEquals(parseWhere("1795217436.5"), { kind: "time", microseconds: 1795217436500000n });
  assertEquals(parseWhere("50%"), { kind: "percent", percent: 50 });
});

Deno.test("parseWhere() refuses anything else", () => {
  for (const text of ["", "0", "-1", "101%", "hotplug:0", "start", "1.2.3", "0x10", "hotplug:"]) {
    assertThrows(() => parseWhere(text), UsageError, "--at");
  }
});
