import { IommuError } from "@giommu/core";
import { memory } from "@giommu/core/wasm/log";
import { SpaprMachine } from "@giommu/spapr-tce";
import { assert, assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import { QemuLogReader } from "./log_reader.ts";
import { RebuiltMachine } from "./rebuilt_machine.ts";

// A file of its own, as all readers of this realm are dead afterwards.
Deno.test("readers for which no memory is left are told as core-trapped, and leave machines alone", () => {
  using machine = new RebuiltMachine();
  using reader = new QemuLogReader();
  memory().grow(0x1_0000 - memory().buffer.byteLength / 0x1_0000); // nothing is left for the core
  const open: QemuLogReader[] = [];
  const piece = new Uint8Array(1 << 20).fill(0x61);
  const error = assertThrows(() => {
    for (let many = 0; many < 1000; many++) {
      const one = new QemuLogReader();
      open.push(one);
      for (const _ of one.feed(piece));
    }
  }, IommuError);
  assertEquals(error.code, "core-trapped");
  assert(error.cause instanceof WebAssembly.RuntimeError);
  for (const use of [() => reader.counts, () => machine.counts, () => new QemuLogReader()]) {
    const later = assertThrows(use, IommuError);
    assertEquals(later.code, "core-trapped");
    assertStrictEquals(later.cause, error.cause);
  }
  using other = new SpaprMachine({ ram: 0x1_0000n, vios: [{ unit: 5 }] });
  assertEquals(other.putTce(5, 0n, 3n).ret, 0);
});
