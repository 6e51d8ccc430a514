import { IommuError } from "@giommu/core";
import { assertEquals, assertThrows } from "@std/assert";
import { kernelInfo } from "./_kernel_info.ts";
import { askNumbers, Numbers, setRuns } from "./_numbers.ts";

Deno.test("more numbers than there was room for are asked for again", () => {
  const rooms: number[] = [];
  const numbers = askNumbers({ what: "Cannot ask", call: "TEST" }, (out) => {
    rooms.push(out.length / 8);
    out.fill(0xff);
    return 40;
  });
  assertEquals([rooms, numbers.length, numbers[39]], [[32, 40], 40, 0xffff_ffff_ffff_ffffn]);
});

Deno.test("a refused question says the call and the error's name", () => {
  const ask = (): bigint[] => askNumbers({ what: "Cannot ask", call: "TEST", remedies: { ENOTTY: "help" } }, () => -25);
  const error = assertThrows(ask, IommuError, "Cannot ask: TEST answered ENOTTY");
  assertEquals([error.code, error.remedy], ["backend-unavailable", "help"]);
});

Deno.test("runs of written pages go over the borders of words", () => {
  const bitmap = new Numbers(3);
  bitmap.set(0, 1n << 63n | 1n);
  bitmap.set(1, 0b11n);
  bitmap.set(2, 0xffff_ffff_ffff_ffffn);
  assertEquals(setRuns(bitmap, 130), [[0, 1], [63, 66], [128, 130]]);
  assertEquals(setRuns(new Numbers(2), 128), []);
});

Deno.test("what a kernel does not tell is no limit", () => {
  const told = kernelInfo([0x1000n, 0xffff_ffff_ffff_ffffn, 0n, 0n, 0n]);
  assertEquals([told.available, told.iovaRanges], [undefined, [{ start: 0n, last: 0xffff_ffff_ffff_ffffn }]]);
  const all = kernelInfo([0x1000n, 65535n, 0x1000n, 0x1000_0000n, 2n, 0n, 0xfffn, 0x1000n, 0x1fffn]);
  assertEquals([all.available, all.iovaRanges], [65535, [{ start: 0n, last: 0x1fffn }]]);
});
