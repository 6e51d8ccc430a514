import { IommuError } from "@giommu/core";
import { memory } from "@giommu/core/wasm/walker";
import { IommuNotifier, IommuNotifierFlag } from "@giommu/notifiers";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { WalkSource } from "./_walk_source.ts";
import { IommuMemoryRegion } from "./iommu_memory_region.ts";
import { replay } from "./replay.ts";

// A file of its own, as replays of this realm are dead afterwards.
Deno.test("a replay for which no memory is left is told as core-trapped, and leaves an IOMMU with a replay of its own alone", () => {
  const init = { name: "iommu", size: 0x1_0000n, translate: () => undefined };
  const notifier = () => new IommuNotifier({ flags: IommuNotifierFlag.MAP, notify: () => {} });
  const region = new IommuMemoryRegion(init);
  assertEquals(replay(region, notifier()).steps, 16n);
  memory().grow(0x1_0000 - memory().buffer.byteLength / 0x1_0000); // nothing is left for the core
  const open: WalkSource[] = []; // each holds its memory in the core
  const error = assertThrows(() => {
    for (let many = 0; many < 1_000_000; many++) open.push(walk(region));
  }, IommuError);
  assertEquals(error.code, "core-trapped");
  assert(error.cause instanceof WebAssembly.RuntimeError);
  assertEquals(assertThrows(() => replay(region, notifier()), IommuError).cause, error.cause);
  assertEquals(replay(new IommuMemoryRegion({ ...init, replay: () => [] }), notifier()).pages, 0n);
});

function walk(region: IommuMemoryRegion): WalkSource {
  const range = { start: 0n, last: 0xffffn };
  return new WalkSource(region, { range, granularity: 0x1000n, access: 0, iommuIndex: 0, joins: true });
}
