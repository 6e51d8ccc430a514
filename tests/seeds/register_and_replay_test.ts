// Seed: "[RFC,05/10] memory: Allow replay of IOMMU mapping notifications", and the review of it, which found that the
// loop never ends where the region's size is UINT64_MAX.
import { IommuMemoryRegion, registerNotifier, replay, replaySteps } from "@giommu/memory-api";
import { IommuNotifier, IommuNotifierFlag, IommuPerm, type IotlbEntry, type IotlbEvent } from "@giommu/notifiers";
import { TceTable } from "@giommu/spapr-tce";
import { assert, assertEquals, assertThrows } from "@std/assert";

const TOP_PAGE = 0xffff_ffff_ffff_f000n;

function mapListener(heard: bigint[]): IommuNotifier {
  return new IommuNotifier({
    flags: IommuNotifierFlag.IOTLB_EVENTS,
    notify: (event: IotlbEvent) => void heard.push(event.iova.start),
  });
}

function page(start: bigint): IotlbEntry {
  return { iova: { start, last: start + 0xfffn }, target: 0x1000n, perm: IommuPerm.READ_WRITE, pageSize: 0x1000n };
}

Deno.test("Registering with replay tells of what exists first, then of what changes", () => {
  using table = new TceTable({ liobn: 1, entries: 16 });
  table.putTce(0x3000n, 0x10_0003n);
  const heard: bigint[] = [];
  const told = registerNotifier(table.region, mapListener(heard), { replay: true });
  assertEquals(told?.pages, 1n);
  table.putTce(0x1000n, 0x20_0003n);
  assertEquals(heard, [0x3000n, 0x1000n]);
});

Deno.test("A replay that fails leaves nothing registered", () => {
  using table = new TceTable({ liobn: 1, entries: 16 });
  table.putTce(0x3000n, 0x10_0003n);
  const failing = new IommuNotifier({
    flags: IommuNotifierFlag.MAP,
    notify: () => {
      throw new Error("no");
    },
  });
  assertThrows(() => registerNotifier(table.region, failing, { replay: true }), Error, "no");
  assertEquals([failing.registered, table.region.notifiers.size], [false, 0]);
});

for (const [name, size] of [["2^64 - 1", (1n << 64n) - 1n], ["2^64", 1n << 64n]] as const) {
  Deno.test(`A region of ${name} bytes is replayed to its end, the last page too, where the IOMMU tells what comes next`, () => {
    const mapped = [0n, 0x7fff_ffff_ffff_f000n, TOP_PAGE];
    const iommu = new IommuMemoryRegion({
      name: "sparse",
      size,
      translate: (iova) => {
        const start = mapped.find((start) => start === (iova & ~0xfffn));
        return start === undefined ? undefined : page(start);
      },
      nextMapped: (iova) => mapped.find((start) => start + 0xfffn >= iova),
    });
    const heard: bigint[] = [];
    const told = replay(iommu, mapListener(heard));
    assertEquals(heard, mapped);
    assert(told.steps < 10n, `${told.steps} steps`);
  });

  Deno.test(`A region of ${name} bytes ends when it is walked page by page near its top`, () => {
    const iommu = new IommuMemoryRegion({
      name: "top",
      size,
      translate: (iova) => (iova & ~0xfffn) === TOP_PAGE ? page(TOP_PAGE) : undefined,
    });
    const heard: bigint[] = [];
    const range = { start: TOP_PAGE - 0xf000n, last: 0xffff_ffff_ffff_ffffn };
    assertEquals(replay(iommu, mapListener(heard), { range }).steps, 16n);
    assertEquals(heard, [TOP_PAGE]);
  });

  for (const shift of [63n, 40n]) {
    Deno.test(`A region of ${name} bytes is walked to its end at 2^${shift} bytes a step without wrapping`, () => {
      const pageSize = 1n << shift;
      const probes: bigint[] = [];
      const iommu = new IommuMemoryRegion({
        name: "coarse",
        size,
        minPageSize: () => pageSize,
        translate: (iova) => void probes.push(iova),
      });
      const range = shift === 63n ? undefined : { start: (1n << 64n) - 4n * pageSize, last: (1n << 64n) - 1n };
      const told = replay(iommu, mapListener([]), { ...(range && { range }) });
      const steps = shift === 63n ? 2n : 4n;
      assertEquals(told.steps, steps);
      assertEquals(probes.at(-1), (1n << 64n) - pageSize);
    });
  }
}

Deno.test("A table of 2^64 bytes is replayed, both ends and all, in a few steps", () => {
  using table = new TceTable({ liobn: 1, entries: 2 ** 31, pageShift: 33 });
  const last = (1n << 64n) - (1n << 33n);
  table.putTce(0n, 3n);
  table.putTce(last, (5n << 33n) | 1n);
  const heard: bigint[] = [];
  const told = replay(table.region, mapListener(heard));
  assertEquals([told.pages, told.extents, heard], [2n, 2, [0n, last]]);
  assert(told.steps < 10n, `${told.steps} steps`);
});

Deno.test("A walk of 2^64 bytes that nobody can wait for is done in steps, and stopped", () => {
  const iommu = new IommuMemoryRegion({ name: "endless", size: 1n << 64n, translate: () => undefined });
  const notifier = mapListener([]);
  {
    using stepper = replaySteps(iommu, notifier, { register: true });
    const progress = stepper.step(1000);
    assertEquals([progress.done, progress.steps, notifier.registered], [false, 1000n, true]);
  }
  assertEquals(notifier.registered, false);
});
