// Seed: "memory: Add reporting of supported page sizes".
import { IommuMemoryRegion, replay } from "@giommu/memory-api";
import { IommuNotifier, IommuNotifierFlag } from "@giommu/notifiers";
import { TceTable } from "@giommu/spapr-tce";
import { assertEquals, assertThrows } from "@std/assert";

function quiet(): IommuNotifier {
  return new IommuNotifier({ flags: IommuNotifierFlag.MAP, notify: () => {} });
}

Deno.test("An IOMMU tells its smallest page; one that does not has 4 KiB", () => {
  const silent = new IommuMemoryRegion({ name: "silent", size: 0x1_0000n, translate: () => undefined });
  const telling = new IommuMemoryRegion({
    name: "telling",
    size: 0x10_0000n,
    minPageSize: () => 0x1_0000n,
    translate: () => undefined,
  });
  assertEquals([silent.minPageSize, telling.minPageSize], [0x1000n, 0x1_0000n]);
});

Deno.test("A TCE table's smallest page is its page", () => {
  for (const pageShift of [12, 16, 21, 24, 34]) {
    using table = new TceTable({ liobn: 1, entries: 4, pageShift });
    assertEquals(table.region.minPageSize, 1n << BigInt(pageShift));
  }
});

Deno.test("Replay steps at the smallest page unless the caller asks for finer steps", () => {
  const iommu = new IommuMemoryRegion({
    name: "64 KiB pages",
    size: 0x40_0000n,
    minPageSize: () => 0x1_0000n,
    translate: () => undefined,
  });
  assertEquals(replay(iommu, quiet()).steps, 64n);
  assertEquals(replay(iommu, quiet(), { granularity: 0x1000n }).steps, 1024n);
  assertEquals(
    replay(new IommuMemoryRegion({ name: "4 KiB", size: 0x1_0000n, translate: () => undefined }), quiet()).steps,
    16n,
  );
});

Deno.test("A smallest page that is no power of two is the IOMMU's mistake, and said so", () => {
  const wrong = new IommuMemoryRegion({
    name: "wrong",
    size: 0x1000n,
    minPageSize: () => 3000n,
    translate: () => undefined,
  });
  assertThrows(() => replay(wrong, quiet()), RangeError, "wrong");
});
