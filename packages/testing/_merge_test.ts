import { assertEquals } from "@std/assert";
import { merged } from "./_merge.ts";

const ret = (actual: number) => ({ field: "ret", expected: 0, actual });
const rets = { field: "rets", expected: [0], actual: [1] };

Deno.test("merged() tells a difference once that all ways of calling have", () => {
  assertEquals(merged([["registers", [ret(-4), rets]], ["methods", [ret(-4), rets]]]), [ret(-4), rets]);
});

Deno.test("merged() says in which way a difference is that not all have", () => {
  assertEquals(merged([["registers", []], ["methods", [rets]]]), [{ ...rets, via: "methods" }]);
  assertEquals(merged([["registers", [ret(-4), rets]], ["methods", [ret(-1), rets]]]), [
    { ...ret(-4), via: "registers" },
    rets,
    { ...ret(-1), via: "methods" },
  ]);
});
