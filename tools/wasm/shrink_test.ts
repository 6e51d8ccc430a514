import { assert, assertEquals } from "@std/assert";
import { shrunk } from "./shrink.ts";

const HEADER = [0, 0x61, 0x73, 0x6d, 1, 0, 0, 0];

/** Two functions that do the same, `one` and `two`: the argument and seven, by way of a local that nothing needs. */
function module(): Uint8Array<ArrayBuffer> {
  const body = [1, 1, 0x7f, 0x20, 0, 0x21, 1, 0x20, 1, 0x41, 7, 0x6a, 0x0b];
  const code = [2, body.length, ...body, body.length, ...body];
  const names = [2, 3, 0x6f, 0x6e, 0x65, 0, 0, 3, 0x74, 0x77, 0x6f, 0, 1];
  return new Uint8Array([
    ...[...HEADER, 1, 6, 1, 0x60, 1, 0x7f, 1, 0x7f],
    ...[3, 3, 2, 0, 0],
    ...[7, names.length, ...names],
    ...[10, code.length, ...code],
  ]);
}

Deno.test("shrunk() makes a module smaller that does the same", () => {
  const small = shrunk(module());
  assert(small.length < module().length - 10, `${small.length} of ${module().length}`);
  const { one, two } = new WebAssembly.Instance(new WebAssembly.Module(small)).exports;
  assert(typeof one === "function" && typeof two === "function");
  assertEquals([one(35), two(-7)], [42, 0]);
});

Deno.test("shrunk() gives the same bytes every time", () => {
  assertEquals(shrunk(module()), shrunk(module()));
});
