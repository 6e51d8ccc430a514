// Seed: "memory: Allow replay of IOMMU mapping notifications" (final form).
// A notifier that joins late is told of what is mapped already, and nobody else is.
import { IommuMemoryRegion, registerNotifier, replay } from "@giommu/memory-api";
import { IommuNotifier, IommuNotifierFlag, IommuPerm, type IotlbEntry, type IotlbEvent } from "@giommu/notifiers";
import { TceTable } from "@giommu/spapr-tce";
import { assertEquals, assertThrows } from "@std/assert";

function listener(heard: IotlbEvent[], flags: IommuNotifierFlag = IommuNotifierFlag.IOTLB_EVENTS): IommuNotifier {
  return new IommuNotifier({ flags, notify: (event) => void heard.push(event) });
}

function seen(events: readonly IotlbEvent[]): [bigint, bigint, bigint, IommuPerm][] {
  return events.map(({ iova, target, perm }) => [iova.start, iova.last, target, perm]);
}

Deno.test("Replay tells one notifier of every mapping that exists, and the others of nothing", () => {
  using table = new TceTable({ liobn: 0x8000_0000, entries: 0x4_0000 });
  table.putTce(0x0n, 0x10_0003n);
  table.putTce(0x5000n, 0x20_0001n);
  table.putTce(0x3fff_f000n, 0x30_0002n);
  const newcomer: IotlbEvent[] = [];
  const older: IotlbEvent[] = [];
  registerNotifier(table.region, listener(older));
  const told = replay(table.region, listener(newcomer));
  assertEquals([told.pages, told.extents], [3n, 3]);
  assertEquals(seen(newcomer), [
    [0x0n, 0xfffn, 0x10_0000n, IommuPerm.READ_WRITE],
    [0x5000n, 0x5fffn, 0x20_0000n, IommuPerm.READ],
    [0x3fff_f000n, 0x3fff_ffffn, 0x30_0000n, IommuPerm.WRITE],
  ]);
  assertEquals(older, []);
});

Deno.test("Replay passes over entries without permission, whatever else they hold", () => {
  using table = new TceTable({ liobn: 1, entries: 16 });
  table.putTce(0x1000n, 0x10_0003n);
  table.putTce(0x2000n, 0xffff_ffff_ffff_f000n); // stored, but neither readable nor writable
  const heard: IotlbEvent[] = [];
  assertEquals(replay(table.region, listener(heard)).pages, 1n);
  assertEquals(heard[0]?.iova.start, 0x1000n);
});

Deno.test("Replay finds every mapping at the caller's granularity, finer or coarser than the IOMMU's page", () => {
  const entries: IotlbEntry[] = [0x0n, 0x3000n, 0x7000n].map((start) => ({
    iova: { start, last: start + 0xfffn },
    target: 0x10_0000n + start * 2n,
    perm: IommuPerm.READ_WRITE,
    pageSize: 0x1000n,
  }));
  const probes: bigint[] = [];
  const iommu = new IommuMemoryRegion({
    name: "translate only",
    size: 0x8000n,
    translate(iova) {
      probes.push(iova);
      return entries.find((entry) => entry.iova.start <= iova && iova <= entry.iova.last);
    },
  });
  for (const granularity of [1n << 9n, 1n << 12n, 1n << 16n, 1n << 63n]) {
    const heard: IotlbEvent[] = [];
    assertEquals(replay(iommu, listener(heard), { granularity }).pages, 3n, `at ${granularity}`);
    assertEquals(heard.map((event) => event.iova.start), [0x0n, 0x3000n, 0x7000n]);
  }
  probes.length = 0;
  replay(iommu, listener([]), { granularity: 0x1000n });
  assertEquals(probes, [0n, 0x1000n, 0x2000n, 0x3000n, 0x4000n, 0x5000n, 0x6000n, 0x7000n]);
});

Deno.test("A granularity that is no power of two is refused, not rounded", () => {
  using table = new TceTable({ liobn: 1, entries: 16 });
  for (const granularity of [0n, 3n, 0x1800n, 1n << 64n]) {
    assertThrows(() => replay(table.region, listener([]), { granularity }), RangeError, "granularity");
  }
});

Deno.test("An entry larger than the granularity is told once, not once per step", () => {
  const huge = {
    iova: { start: 0x20_0000n, last: 0x3f_ffffn },
    target: 0n,
    perm: IommuPerm.READ,
    pageSize: 0x20_0000n,
  };
  const iommu = new IommuMemoryRegion({
    name: "2 MiB pages",
    size: 0x80_0000n,
    translate: (iova) => iova >= huge.iova.start && iova <= huge.iova.last ? huge : undefined,
  });
  const heard: IotlbEvent[] = [];
  const told = replay(iommu, listener(heard), { granularity: 0x1000n });
  assertEquals([told.pages, told.extents, heard.length], [1n, 1, 1]);
});

Deno.test("Mappings finer than the granularity are reported in the entry, for the notifier to judge", () => {
  const iommu = new IommuMemoryRegion({
    name: "512-byte pages",
    size: 0x1000n,
    minPageSize: () => 512n,
    translate: (iova) => {
      const start = iova & ~0x1ffn;
      return { iova: { start, last: start + 0x1ffn }, target: start * 4n, perm: IommuPerm.READ, pageSize: 512n };
    },
  });
  const heard: IotlbEvent[] = [];
  assertEquals(replay(iommu, listener(heard), { granularity: 0x1000n }).pages, 8n);
  assertEquals(new Set(heard.map((event) => event.pageSize)), new Set([512n]));
});

Deno.test("A replay fails when the notifier fails", () => {
  using table = new TceTable({ liobn: 1, entries: 16 });
  table.stuffTce(0n, 0x10_0003n, 4n);
  let calls = 0;
  const failing = new IommuNotifier({
    flags: IommuNotifierFlag.MAP,
    notify: () => {
      if (++calls === 3) throw new Error("the host is full");
    },
  });
  assertThrows(() => replay(table.region, failing), Error, "the host is full");
  assertEquals(calls, 3);
});

Deno.test("Replay is cropped to the notifier's range, with the target advanced", () => {
  using table = new TceTable({ liobn: 1, entries: 16 });
  for (let page = 0n; page < 4n; page++) table.putTce(page << 12n, (0x10_0000n + (page << 12n)) | 3n);
  const heard: IotlbEvent[] = [];
  const narrow = new IommuNotifier({
    flags: IommuNotifierFlag.MAP,
    range: { start: 0x1000n, last: 0x2fffn },
    notify: (event) => void heard.push(event),
  });
  assertEquals(replay(table.region, narrow).pages, 2n);
  assertEquals(seen(heard), [[0x1000n, 0x2fffn, 0x10_1000n, IommuPerm.READ_WRITE]]);
});
