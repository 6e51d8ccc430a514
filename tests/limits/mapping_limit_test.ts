// A host that holds 65,535 mappings, as VFIO type1 does, and guests that want more.
import type { IommuError } from "@giommu/core";
import { AddressSpace, ArrayGuestMemory, MemoryRegion, RamRegion } from "@giommu/memory-api";
import { Hcall, SpaprPhb, TceTable } from "@giommu/spapr-tce";
import { SimulatedHost, verify, VfioContainer } from "@giommu/vfio-sync";
import { assert, assertEquals, assertThrows } from "@std/assert";

const PAGES = 70_000;
const PAGE = 0x1000n;
const LIST = 0x1000n;
const RAM = 1n << 40n;

/** A bus with a window of 1 GiB, and memory for the lists of H_PUT_TCE_INDIRECT. */
class Guest implements Disposable {
  readonly root = new MemoryRegion({ name: "memory", size: 2n ** 64n });
  readonly memory = new AddressSpace({ name: "memory", root: this.root });
  readonly lists = new ArrayGuestMemory(0x2000);
  readonly phb = new SpaprPhb({ index: 0, memory: this.memory });

  constructor() {
    this.root.addSubregion(0n, new RamRegion({ name: "ram", size: RAM }));
  }

  get table(): TceTable {
    const table = this.phb.defaultWindow;
    assert(table !== undefined);
    return table;
  }

  /** Maps pages by calls of 512, `stride` pages of memory apart. */
  map(first: number, count: number, stride: bigint): void {
    const view = new DataView(this.lists.bytes.buffer);
    for (let at = first; at < first + count; at += 512) {
      const length = Math.min(512, first + count - at);
      for (let i = 0; i < length; i++) {
        view.setBigUint64(Number(LIST) + i * 8, 0x1000_0003n + BigInt(at + i) * stride * PAGE);
      }
      const { ret } = this.table.putTceIndirect(BigInt(at) * PAGE, LIST, BigInt(length), this.lists);
      assertEquals(ret, Hcall.SUCCESS);
    }
  }

  [Symbol.dispose](): void {
    this.phb[Symbol.dispose]();
    this.memory.dispose();
  }
}

Deno.test("70,000 scattered pages are refused on type1 by the plan, with the number and what helps in order", () => {
  using guest = new Guest();
  guest.map(0, PAGES, 2n);
  const host = new SimulatedHost({ rules: "type1" });
  for (
    const options of [
      {},
      { coalesce: "call", allowDmaHoles: true },
      { coalesce: "full", allowDmaHoles: true },
    ] as const
  ) {
    using container = new VfioContainer({ host, ...options });
    const { refusal, budget } = container.plan(guest.phb.space);
    const error = assertThrows(() => container.attach(guest.phb.space)) as IommuError;
    for (const { code, message, remedy = "" } of [refusal!, error]) {
      assertEquals(code, "mapping-limit");
      assert(message.includes("room for 65535 mappings") && message.includes("one per page makes 70000"), message);
      const places = [
        "iommufd",
        "dma_entry_limit to 70512",
        "larger IOMMU pages",
      ]
        .map((word) => remedy.indexOf(word));
      assert(places.every((place, i) => place > (places[i - 1] ?? -1)), remedy);
      assert(!remedy.includes("coalesce"), remedy); // no policy helps
    }
    assertEquals(budget, { limit: 65535, headroom: 512, needs: { none: PAGES, call: PAGES, full: PAGES } });
    assertEquals([host.calls, guest.table.region.notifiers.size, container.space], [0, 0, undefined]);
  }
});

Deno.test("70,000 scattered pages are accepted on iommufd", () => {
  using guest = new Guest();
  guest.map(0, PAGES, 2n);
  const host = new SimulatedHost({ rules: "iommufd" });
  using container = new VfioContainer({ host });
  assertEquals(container.plan(guest.phb.space).budget, undefined);
  assertEquals(container.attach(guest.phb.space).hostMaps, PAGES);
  assertEquals([host.size, verify(container).agrees], [PAGES, true]);
});

Deno.test("70,000 pages that adjoin are accepted on type1 only with call or full, which the report names", () => {
  using guest = new Guest();
  guest.map(0, PAGES, 1n);
  const host = new SimulatedHost({ rules: "type1" });
  using safe = new VfioContainer({ host });
  const refused = assertThrows(() => safe.attach(guest.phb.space)) as IommuError;
  assertEquals([refused.code, host.calls], ["mapping-limit", 0]);
  assert(
    refused.remedy?.includes('"call" (137 mappings) or "full" (1), with allowDmaHoles or quiesce'),
    refused.remedy,
  );
  for (const [coalesce, hostMaps] of [["call", 137], ["full", 1]] as const) {
    using container = new VfioContainer({ host, coalesce, allowDmaHoles: true });
    const report = container.attach(guest.phb.space);
    assertEquals([report.hostMaps, report.policy], [
      hostMaps,
      { asked: coalesce, coalesce, split: "none", holes: "allowed" },
    ]);
    assert(verify(container).agrees);
  }
});

Deno.test("what is left free by the plan is room for live maps; the limit itself is -44, both sides in step", () => {
  using guest = new Guest();
  guest.map(0, 65_535 - 512, 2n);
  const host = new SimulatedHost({ rules: "type1" });
  using container = new VfioContainer({ host });
  const other = new SimulatedHost({ rules: "iommufd" });
  using second = new VfioContainer({ host: other });
  container.attach(guest.phb.space);
  second.attach(guest.phb.space);
  // The room is one call of 512 entries.
  guest.map(66_000, 512, 2n);
  assertEquals(host.size, 65_535);
  const refused = guest.table.putTce(0x3fff_f000n, 0x3n);
  assertEquals([refused.ret, refused.error?.code], [Hcall.NOT_ENOUGH_RESOURCES, "mapping-limit"]);
  assert(refused.error?.message.includes("65535 of 65535"), refused.error?.message);
  assertEquals([guest.table.getTce(0x3fff_f000n).value, host.size, other.size], [0n, 65_535, 65_535]);
  // In place there is always room, and after one is given back there is for one more.
  assertEquals(guest.table.putTce(0x5000n, 0x77_0003n).ret, Hcall.SUCCESS);
  assertEquals(guest.table.putTce(0x6000n, 0n).ret, Hcall.SUCCESS);
  assertEquals(guest.table.putTce(0x3fff_f000n, 0x3n).ret, Hcall.SUCCESS);
  assertEquals(guest.table.putTce(0x6000n, 0x3n).ret, Hcall.NOT_ENOUGH_RESOURCES);
  assert(verify(container).agrees && verify(second).agrees);
});

Deno.test("the headroom is the caller's to choose", () => {
  using guest = new Guest();
  guest.map(0, 100, 2n);
  const host = new SimulatedHost({ rules: "type1", maxMappings: 110 });
  using greedy = new VfioContainer({ host, headroom: 11 });
  const refused = greedy.plan(guest.phb.space).refusal;
  assert(refused?.message.includes("room for 110 mappings, keeps 11 of them for what the guest maps later"));
  using exact = new VfioContainer({ host, headroom: 10 });
  assertEquals(exact.attach(guest.phb.space).hostMaps, 100);
  exact.detach();
  using usual = new VfioContainer({ host });
  assertEquals(usual.plan(guest.phb.space).budget?.headroom, 1);
  assertThrows(() => new VfioContainer({ host, headroom: -1 }), RangeError, "headroom");
});

Deno.test("an attach in steps without a plan meets the host's own limit on the way, and is undone", () => {
  using guest = new Guest();
  guest.map(0, 66_000, 2n);
  const host = new SimulatedHost({ rules: "type1" });
  using container = new VfioContainer({ host });
  using steps = container.attachSteps(guest.phb.space, { plan: false });
  const error = assertThrows(() => {
    while (!steps.step(4096).done);
  }) as IommuError;
  assertEquals([error.code, host.size, guest.table.region.notifiers.size], ["mapping-limit", 0, 0]);
  assert(host.calls > 60_000, "it was on the way");
});

Deno.test("several containers on one bus: what one of them has no room for is refused for all", () => {
  using guest = new Guest();
  const hosts = [60, 45, 52].map((maxMappings) => new SimulatedHost({ rules: "type1", maxMappings }));
  const containers = hosts.map((host) => new VfioContainer({ host, headroom: 0 }));
  guest.map(0, 40, 2n);
  for (const container of containers) container.attach(guest.phb.space);
  const sizes = () => hosts.map(({ size }) => size);
  const tce = (page: bigint) => guest.table.getTce(page * PAGE).value;
  // A guest's call.
  assertEquals(guest.table.stuffTce(0x40_000n, 0x50_0003n, 6n).ret, Hcall.NOT_ENOUGH_RESOURCES);
  assertEquals([sizes(), tce(0x40n)], [[40, 40, 40], 0n]);
  assertEquals(guest.table.stuffTce(0x40_000n, 0x50_0003n, 5n).ret, Hcall.SUCCESS);
  assertEquals(sizes(), [45, 45, 45]);
  // A window that comes with mappings.
  const table = new TceTable({ liobn: 0x8000_0001, entries: 256, busOffset: 0x4000_0000n });
  table.stuffTce(0x4000_0000n, 0x60_0003n, 3n);
  const refused = assertThrows(() => guest.phb.addTable(table)) as IommuError;
  assertEquals([refused.code, sizes(), table.region.notifiers.size], ["mapping-limit", [45, 45, 45], 0]);
  assertEquals(guest.phb.windows.length, 1);
  table[Symbol.dispose]();
  // RAM that comes, which entries point to already.
  assertEquals(guest.table.stuffTce(0x100_000n, RAM | 3n, 4n).ret, Hcall.SUCCESS);
  const dimm = new RamRegion({ name: "dimm", size: 0x10_0000n });
  const late = assertThrows(() => guest.root.addSubregion(RAM, dimm)) as IommuError;
  assertEquals([late.code, sizes(), guest.root.subregions.length], ["mapping-limit", [45, 45, 45], 1]);
  for (const container of containers) {
    assert(verify(container).agrees);
    container.dispose();
  }
  assertEquals(sizes(), [0, 0, 0]);
});
