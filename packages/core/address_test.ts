import { assertEquals, assertThrows } from "@std/assert";
import {
  ADDRESS_MAX,
  checkInteger,
  checkRange,
  checkU64,
  formatRange,
  hex,
  intersect,
  WHOLE_SPACE,
} from "./address.ts";

Deno.test("checkU64() passes 0 and 2^64 - 1 and refuses their neighbours", () => {
  assertEquals([checkU64("a", 0n), checkU64("a", ADDRESS_MAX)], [0n, ADDRESS_MAX]);
  assertThrows(() => checkU64("a", -1n), RangeError, "-0x1");
  assertThrows(() => checkU64("a", ADDRESS_MAX + 1n), RangeError, "0x10000000000000000");
});

Deno.test("checkU64() refuses a number, which would lose bits", () => {
  assertThrows(() => checkU64("iova", 4096 as unknown as bigint), TypeError, "iova");
});

Deno.test("checkInteger() refuses NaN, fractions and what lies outside", () => {
  assertEquals(checkInteger("n", 5, 5, 5), 5);
  for (const value of [NaN, Infinity, 1.5, -1, 2 ** 32]) assertThrows(() => checkInteger("n", value), RangeError, "n");
  assertThrows(() => checkInteger("n", 5n as unknown as number), TypeError, "bigint");
});

Deno.test("checkRange() takes the whole space and refuses a range that ends below its start", () => {
  assertEquals(checkRange("r", WHOLE_SPACE), WHOLE_SPACE);
  assertThrows(() => checkRange("window", { start: 2n, last: 1n }), RangeError, "window");
  assertThrows(() => checkRange("window", { start: 0n, last: 1n << 64n }), RangeError, "window.last");
});

Deno.test("intersect() includes both ends", () => {
  assertEquals(intersect({ start: 0n, last: 5n }, { start: 5n, last: 9n }), { start: 5n, last: 5n });
  assertEquals(intersect({ start: 0n, last: 4n }, { start: 5n, last: 9n }), undefined);
  assertEquals(intersect(WHOLE_SPACE, WHOLE_SPACE), WHOLE_SPACE);
});

Deno.test("hex() and formatRange() write what people read", () => {
  assertEquals(hex(0n), "0x0");
  assertEquals(hex(255), "0xff");
  assertEquals(formatRange(WHOLE_SPACE), "0x0..0xffffffffffffffff");
});
