import { IommuError } from "@giommu/core";
import { memory, RawTceTable } from "@giommu/core/wasm/table";
import { assert, assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import { SpaprMachine } from "./spapr_machine.ts";
import { MAX_ENTRY_LIMIT, TceTable } from "./tce_table.ts";

// A file of its own, as the core of this realm is dead afterwards.
Deno.test("a core that ran out of memory is told as core-trapped, by every table from then on", () => {
  using table = new TceTable({ liobn: 1, entries: 1 << 24, entryLimit: MAX_ENTRY_LIMIT });
  using other = new TceTable({ liobn: 2, entries: 4 });
  table.putTce(0n, 3n);
  using extents = table.extentCursor();
  memory().grow(0x1_0000 - memory().buffer.byteLength / 0x1_0000); // nothing is left for the core
  const error = assertThrows(() => table.stuffTce(0n, 3n, 1n << 24n), IommuError);
  assertEquals(error.code, "core-trapped");
  assert(error.cause instanceof WebAssembly.RuntimeError);
  assert(error.remedy !== undefined);
  const uses = [
    () => table.entry(0),
    () => other.putTce(0n, 3n),
    () => other.translate(0n),
    () => extents.find(0n),
    () => extents.next(),
    () => new TceTable({ liobn: 3, entries: 1 }),
  ];
  for (const use of uses) {
    const later = assertThrows(use, IommuError);
    assertEquals(later.code, "core-trapped");
    assertStrictEquals(later.cause, error.cause);
  }
  assertEquals([extents.pages, extents.target], [0, 0n]);
  const raw = assertThrows(() => new RawTceTable(4, 0n, 12, 4, 1), IommuError);
  assertStrictEquals(raw.cause, error.cause);
  // The machines are in another module, which goes on.
  using machine = new SpaprMachine({ ram: 0x1_0000n, vios: [{ unit: 5 }] });
  assertEquals(machine.putTce(5, 0n, 3n).ret, 0);
});
