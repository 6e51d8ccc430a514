import { assertEquals } from "@std/assert";
import { cpio } from "./cpio.ts";

Deno.test("an archive has a header of 110 characters per entry, and everything is aligned to four bytes", () => {
  const archive = cpio([{ path: "bin" }, { path: "bin/sh", bytes: new Uint8Array([1, 2, 3, 4, 5]), executable: true }]);
  const text = new TextDecoder("latin1").decode(archive);
  const heads = [...text.matchAll(/070701/g)].map(({ index }) => index);
  // 110 + "bin\0" = 114, padded to 116; 110 + "bin/sh\0" = 117, padded to 120, and 8 bytes of data.
  assertEquals(heads, [0, 116, 244]);
  const field = (head: number, index: number): number =>
    parseInt(text.slice(head + 6 + index * 8, head + 14 + index * 8), 16);
  assertEquals([field(0, 1).toString(8), field(116, 1).toString(8)], ["40755", "100755"]);
  assertEquals([field(116, 6), field(116, 11)], [5, 7]);
  assertEquals([...archive.subarray(116 + 120, 116 + 125)], [1, 2, 3, 4, 5]);
  assertEquals([text.slice(244 + 110, 244 + 120), archive.length % 4], ["TRAILER!!!", 0]);
});
