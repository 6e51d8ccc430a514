import { assertEquals, assertThrows } from "@std/assert";
import { withoutCustomSections } from "./sections.ts";

const HEADER = [0, 0x61, 0x73, 0x6d, 1, 0, 0, 0];
const TYPES = [1, 4, 1, 0x60, 0, 0];
const NAMED = [0, 3, 1, 0x61, 0x62];

Deno.test("withoutCustomSections() keeps every other section, byte for byte", () => {
  const module = new Uint8Array([...HEADER, ...NAMED, ...TYPES, ...NAMED]);
  assertEquals([...withoutCustomSections(module)], [...HEADER, ...TYPES]);
});

Deno.test("withoutCustomSections() reads sizes of more than seven bits", () => {
  const long = [0, 0x80 | 2, 1, ...new Array(130).fill(7)];
  assertEquals([...withoutCustomSections(new Uint8Array([...HEADER, ...long, ...TYPES]))], [...HEADER, ...TYPES]);
});

Deno.test("withoutCustomSections() refuses a module that is cut off", () => {
  assertThrows(() => withoutCustomSections(new Uint8Array([...HEADER, 1, 9, 0])), RangeError, "Cannot read section");
  assertThrows(() => withoutCustomSections(new Uint8Array([...HEADER, 1, 0x80])), RangeError, "Cannot read number");
});
