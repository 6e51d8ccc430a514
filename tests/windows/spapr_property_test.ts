// Random guests on a host with windows: whatever fails, host and guest are in step, or it is said where they are not; and in the
// end nothing is left.
import { AddressSpace, MemoryRegion, RamRegion } from "@giommu/memory-api";
import { Hcall, SpaprPhb } from "@giommu/spapr-tce";
import { SimulatedSpaprHost, verify, VfioContainer } from "@giommu/vfio-sync";
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";

const PAGE = 0x1000n;
const BIT59 = 1n << 59n;
const MAIN = 0x4_0000n;
const DIMM = 0x2_0000n;

type Step =
  | {
    readonly do: "store";
    readonly high: boolean;
    readonly page: number;
    readonly count: number;
    readonly tce: bigint;
  }
  | { readonly do: "window"; readonly high: boolean; readonly shift: 12 | 16 }
  | { readonly do: "dimm" | "plug" | "over" };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant("store" as const),
      high: fc.boolean(),
      page: fc.nat(15),
      count: fc.integer({ min: 1, max: 8 }),
      tce: fc.oneof(
        fc.constant(0n),
        fc.tuple(fc.bigInt({ min: 0n, max: 7n }), fc.constantFrom(1n, 2n, 3n)).map(([at, perm]) =>
          at * 0x1_0000n | perm
        ),
      ),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant("window" as const),
      high: fc.boolean(),
      shift: fc.constantFrom(12 as const, 16 as const),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom("dimm" as const, "plug" as const, "over" as const) }) },
);

class World implements Disposable {
  readonly root = new MemoryRegion({ name: "memory", size: 2n ** 64n });
  readonly memory = new AddressSpace({ name: "memory", root: this.root });
  readonly dimm = new RamRegion({ name: "dimm", size: DIMM });
  readonly over = new RamRegion({ name: "over", size: 0x1_0000n });
  readonly phb = new SpaprPhb({ index: 0, memory: this.memory, dmaWindow: { size: 16n * PAGE } });
  readonly host: SimulatedSpaprHost;
  container: VfioContainer;
  /** Entries that change in place by the call under way: pages of the bus that must always be reachable. */
  inPlace: bigint[] = [];

  constructor(failAt: readonly number[]) {
    this.root.addSubregion(0n, new RamRegion({ name: "main", size: MAIN }));
    this.host = new SimulatedSpaprHost({
      failAt: failAt.map((call) => ({ call, errno: "EIO" })),
      observe: () => {
        for (const iova of this.inPlace) {
          assert(this.host.translate(iova), `0x${iova.toString(16)} is gone for a moment`);
        }
      },
    });
    this.container = new VfioContainer({ host: this.host });
  }

  window(high: boolean) {
    return this.phb.table(0x8000_0000 + (high ? 1 : 0));
  }

  /** Does one step. Whatever is thrown is what a machine would tell its guest or its operator. */
  step(one: Step): void {
    switch (one.do) {
      case "store": {
        const table = this.window(one.high);
        if (table === undefined) return;
        const at = table.busOffset + (BigInt(one.page) << BigInt(table.pageShift));
        const count = Math.min(one.count, table.entries - one.page);
        const before = Array.from({ length: table.entries }, (_, i) => table.entry(i));
        if (this.host.failedCalls === 0 && (one.tce & 3n) !== 0n && this.isRam(one.tce)) {
          this.inPlace = Array.from({ length: count }, (_, i) => at + (BigInt(i) << BigInt(table.pageShift)))
            .filter((iova) => this.host.translate(iova) !== undefined);
        }
        const { ret, error } = table.stuffTce(at, one.tce, BigInt(count));
        this.inPlace = [];
        if (ret === Hcall.SUCCESS) return;
        assert(error !== undefined);
        if (error.code === "host-refused") {
          assertEquals(Array.from({ length: table.entries }, (_, i) => table.entry(i)), before);
        }
        return;
      }
      case "window": {
        const table = this.window(one.high);
        if (table !== undefined) return void this.phb.removeWindow(table);
        const size = 16n << BigInt(one.shift);
        this.phb.addWindow({
          window: one.high ? 1 : 0,
          busOffset: one.high ? BIT59 : 0n,
          size,
          pageShift: one.shift,
        });
        return;
      }
      case "dimm":
        if (this.dimm.parent === undefined) this.root.addSubregion(MAIN, this.dimm);
        else this.root.removeSubregion(this.dimm);
        return;
      case "over":
        if (this.over.parent === undefined) this.root.addSubregion(0x1_0000n, this.over, { priority: 1 });
        else this.root.removeSubregion(this.over);
        return;
      case "plug":
        if (this.container.space === undefined) this.container.attach(this.phb.space);
        else this.container.detach();
    }
  }

  isRam(tce: bigint): boolean {
    return (tce & ~0xfffn) < MAIN;
  }

  check(): void {
    const { container, host, phb } = this;
    if (container.space === undefined) {
      // What the host did not take back is still there; the next detach tries again.
      if (host.failedCalls === 0) assertEquals([host.size, host.windows, host.memory], [0, [], []]);
      return;
    }
    const { agrees, ranges } = verify(container);
    const { failed } = container;
    if (failed !== undefined) {
      for (const { iova, kind } of ranges) {
        const named = failed.ranges.some(({ start, last }) => start <= iova.start && iova.last <= last);
        assert(named, `${kind} at 0x${iova.start.toString(16)} is not named by ${failed.message}`);
      }
      return;
    }
    assert(agrees, JSON.stringify(ranges, (_, v) => typeof v === "bigint" ? `0x${v.toString(16)}` : v));
    const wanted = phb.windows.map(({ busOffset }) => busOffset).sort();
    const found = host.windows.map(({ start }) => start).sort();
    // One that the host did not remove is still there, and empty.
    if (host.failedCalls === 0) assertEquals(found, wanted);
    else for (const start of wanted) assert(found.includes(start));
  }

  [Symbol.dispose](): void {
    this.inPlace = [];
    this.host.failNoMore();
    this.container.dispose();
    assertEquals([this.host.size, this.host.windows, this.host.memory], [0, [], []]);
    assertEquals([this.memory.listeners.length, this.phb.space.listeners.length], [0, 0]);
    this.phb[Symbol.dispose]();
    this.memory.dispose();
  }
}

function play(steps: readonly Step[], failAt: readonly number[]): number {
  using world = new World(failAt);
  for (const one of steps) {
    try {
      world.step(one);
    } catch (error) {
      assertEquals((error as Error).name, "IommuError", String(error));
      // Without a fault there is one thing that this guest cannot have: a place that the host uses for another window.
      if (world.host.failedCalls === 0) {
        assert(["iova-out-of-range", "overlap"].includes((error as { code: string }).code));
      }
    }
    world.check();
    if (world.container.failed !== undefined) break;
  }
  return world.host.calls;
}

Deno.test("property: host windows, memory and mappings are the guest's after every step, and no change in place is a hole", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 25 }), (steps) => {
      play([{ do: "plug" }, ...steps], []);
      play([...steps, { do: "plug" }, ...steps], []);
    }),
    { numRuns: 120 },
  );
});

Deno.test("property: whichever host calls fail, guest and host are in step or it is said, and in the end nothing is left", () => {
  fc.assert(
    fc.property(fc.array(step, { minLength: 1, maxLength: 10 }), fc.integer({ min: 1, max: 3 }), (steps, gap) => {
      const all: Step[] = [...steps, { do: "plug" }, ...steps];
      const calls = play(all, []);
      for (let k = 1; k <= calls; k++) {
        play(all, [k]);
        play(all, [k, k + gap]);
      }
    }),
    { numRuns: 60 },
  );
});
