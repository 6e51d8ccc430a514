import { memory, RawTceTable } from "@giommu/core/wasm/table";
import { IommuNotifier, IommuNotifierFlag } from "@giommu/notifiers";
import { assertEquals, assertThrows } from "@std/assert";
import { deliver, entriesOf, tableFromRaw } from "./raw.ts";

Deno.test("deliver() tells a table's notifiers of a change that the core has applied", () => {
  const raw = new RawTceTable(0x8000_0001, 1n << 59n, 16, 64, 64);
  using table = tableFromRaw(raw, memory);
  assertEquals([table.liobn, table.busOffset, table.pageShift, table.entries], [0x8000_0001, 1n << 59n, 16, 64]);
  const heard: bigint[] = [];
  table.region.notifiers.register(
    new IommuNotifier({ flags: IommuNotifierFlag.MAP, notify: (event) => heard.push(event.iova.start, event.target) }),
  );
  assertEquals(raw.putTce((1n << 59n) + 0x1_0000n, 0x8_0003n), 0);
  const maps = { length: raw.mapsBatch(0), pointer: raw.pointer };
  assertEquals(entriesOf(table, maps), [
    { iova: { start: 0x1_0000n, last: 0x1_ffffn }, target: 0x8_0000n, perm: 3, pageSize: 0x1_0000n },
  ]);
  assertEquals(deliver(table, { length: 0, pointer: 0 }, maps).status, "done");
  assertEquals(heard, [0x1_0000n, 0x8_0000n]);
});

Deno.test("a raw table refuses an unsound geometry in words", () => {
  assertThrows(() => new RawTceTable(1, 1n, 63, 2, 1), Error, "passes the top");
  assertThrows(() => new RawTceTable(1, 0n, 64, 2, 1), Error, "page shift 64");
});

Deno.test("a table that exists in the core keeps its limit, however large", () => {
  using table = tableFromRaw(new RawTceTable(1, 0n, 12, 64, 0xffff_ffff), memory);
  assertEquals(table.entryLimit, 0xffff_ffff);
});
