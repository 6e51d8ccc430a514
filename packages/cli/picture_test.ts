import { assertEquals } from "@std/assert";
import { windowPicture } from "./picture.ts";

Deno.test("windowPicture() draws nothing, everything and the unknown apart", () => {
  assertEquals(windowPicture(64, [], [], 8), "········");
  assertEquals(windowPicture(64, [{ first: 0, pages: 64 }], [], 8), "████████");
  assertEquals(windowPicture(64, [{ first: 0, pages: 8 }], [{ first: 16, pages: 1 }], 8), "█·?·····");
});

Deno.test("windowPicture() shows one page of 2^31 and the last one too", () => {
  const line = windowPicture(2 ** 31, [{ first: 0, pages: 1 }, { first: 2 ** 31 - 1, pages: 1 }], [], 64);
  assertEquals(line, "▁" + "·".repeat(62) + "▁");
});

Deno.test("windowPicture() has one column per page where there are fewer pages than columns", () => {
  assertEquals(windowPicture(3, [{ first: 1, pages: 1 }], [], 64), "·█·");
});

Deno.test("windowPicture() counts every page of a run once across uneven columns", () => {
  assertEquals(windowPicture(10, [{ first: 0, pages: 10 }], [], 3), "███");
  assertEquals(windowPicture(10, [{ first: 2, pages: 2 }], [], 3), "▃▃·");
});
