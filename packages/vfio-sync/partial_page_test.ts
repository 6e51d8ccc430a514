// Regions smaller than the host's page, laid over RAM, over a guest IOMMU, and over the memory that its entries point to.
import { AddressSpace, MemoryRegion, RamRegion, transaction } from "@giommu/memory-api";
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { GuestTable } from "./_guest_table_test.ts";
import { SimulatedHost } from "./simulated_host.ts";
import { verify } from "./verify.ts";
import { VfioContainer } from "./vfio_container.ts";

const HOST_PAGE = 0x1_0000n;
const BLOCK = 0x1000n;
const RAM_AT = 0n;
const RAM_SIZE = 0x8_0000n;
const TABLE_AT = 0x10_0000n;
const ENTRIES = 6;
const MEMORY_SIZE = 0x8_0000n;
/** From where RAM and table begin, nothing ever lies farther. */
const AREA = 0x10_0000n;

/** A host of 64 KiB pages; a bus with RAM and a guest IOMMU of 64 KiB pages; memory that its entries point to. */
class World implements Disposable {
  readonly host = new SimulatedHost({ pageSize: HOST_PAGE });
  readonly table = new GuestTable({ pages: ENTRIES, pageSize: HOST_PAGE });
  readonly busRoot = new MemoryRegion({ name: "bus", size: 2n ** 64n });
  readonly memoryRoot = new MemoryRegion({ name: "memory", size: 2n ** 64n });
  readonly memory = new AddressSpace({ name: "memory", root: this.memoryRoot });
  readonly bus: AddressSpace;
  readonly container = new VfioContainer({ host: this.host });

  constructor() {
    this.memoryRoot.addSubregion(0n, new RamRegion({ name: "main", size: MEMORY_SIZE }));
    this.busRoot.addSubregion(RAM_AT, new RamRegion({ name: "ram", size: RAM_SIZE }));
    this.busRoot.addSubregion(TABLE_AT, this.table.region);
    this.bus = new AddressSpace({ name: "bus", root: this.busRoot, memory: this.memory });
  }

  /** Which pages of the host a device reaches, by what the bus shows in every block of 4 KiB: all of a page, or nothing of it. */
  expected(): Map<bigint, bigint> {
    const all = new Map<bigint, bigint>();
    for (const from of [RAM_AT, TABLE_AT]) {
      for (let page = from; page < from + AREA; page += HOST_PAGE) {
        const first = this.bus.translate(page);
        if (first.kind === "fault" || first.region.kind !== "ram" || first.offset % HOST_PAGE !== 0n) continue;
        let whole = true;
        for (let at = 0n; at < HOST_PAGE && whole; at += BLOCK) {
          const found = this.bus.translate(page + at);
          whole = found.kind === "memory" && found.region === first.region && found.offset === first.offset + at &&
            found.perm === first.perm;
        }
        if (whole) all.set(page, first.hops === 0 ? page : first.address);
      }
    }
    return all;
  }

  check(): void {
    const found = new Map<bigint, bigint>();
    for (const { iova, gpa } of this.host.mappings()) {
      for (let at = iova.start; at <= iova.last; at += HOST_PAGE) found.set(at, gpa + (at - iova.start));
    }
    assertEquals(found, this.expected());
    assert(verify(this.container).agrees);
    assertEquals(this.container.failed, undefined);
  }

  [Symbol.dispose](): void {
    this.container.dispose();
    assertEquals([this.host.size, this.table.region.notifiers.size], [0, 0]);
  }
}

const patch = (size = BLOCK) => new RamRegion({ name: "patch", size });

Deno.test("a region smaller than the host's page takes the page off the host, and it comes back when that goes", () => {
  using world = new World();
  world.container.attach(world.bus);
  const over = patch();
  world.busRoot.addSubregion(0x2_3000n, over, { priority: 1 });
  assertEquals(world.host.translate(0x2_0000n), undefined);
  assertEquals(world.container.problems.map(({ code }) => code), ["page-too-fine"]);
  world.check();
  world.busRoot.removeSubregion(over);
  assertEquals(world.host.translate(0x2_3000n)?.gpa, 0x2_3000n);
  world.check();
});

Deno.test("a page that two regions were laid over comes back with the last of them", () => {
  using world = new World();
  world.container.attach(world.bus);
  const [one, two] = [patch(), patch()];
  world.busRoot.addSubregion(0x2_3000n, one, { priority: 1 });
  world.busRoot.addSubregion(0x2_8000n, two, { priority: 1 });
  world.busRoot.removeSubregion(one);
  assertEquals(world.host.translate(0x2_0000n), undefined);
  world.check();
  world.busRoot.addSubregion(0x2_3000n, one, { priority: 1 });
  transaction(() => {
    world.busRoot.removeSubregion(one);
    world.busRoot.removeSubregion(two);
  });
  assertEquals(world.host.translate(0x2_0000n)?.gpa, 0x2_0000n);
  world.check();
});

Deno.test("an entry whose page is hidden in part is not mapped, refuses nothing, and is mapped when it is seen again", () => {
  using world = new World();
  world.table.map(0, 3, 0x1_0000n);
  world.container.attach(world.bus);
  const over = patch();
  world.busRoot.addSubregion(TABLE_AT + 0x1_3000n, over, { priority: 1 });
  world.check();
  assertEquals(world.table.map(1, 1, 0x5_0000n).status, "done");
  world.check();
  assertEquals(world.table.map(0, 3, 0x2_0000n).status, "done");
  world.check();
  world.busRoot.removeSubregion(over);
  assertEquals(world.host.translate(TABLE_AT + 0x1_3000n)?.gpa, 0x3_3000n);
  assertEquals(world.table.region.notifiers.size, 1, "the window is one piece again");
  world.check();
  assertEquals(world.table.unmap(0, 3).status, "done");
  world.check();
});

Deno.test("an entry whose target is not all RAM is not mapped, and is mapped when the RAM is whole again", () => {
  using world = new World();
  world.table.map(0, 4, 0x1_0000n);
  world.container.attach(world.bus);
  const over = patch();
  world.memoryRoot.addSubregion(0x2_3000n, over, { priority: 1 });
  assertEquals(world.host.translate(TABLE_AT + 0x1_0000n), undefined);
  assertEquals(verify(world.container).notRam, 1n);
  world.check();
  assertEquals(world.table.map(4, 1, 0x2_0000n).status, "done");
  world.check();
  world.memoryRoot.removeSubregion(over);
  assertEquals(world.host.translate(TABLE_AT + 0x4_0000n)?.gpa, 0x2_0000n);
  world.check();
});

Deno.test("a device that comes while a page is hidden in part gets the rest, and the page later", () => {
  using world = new World();
  world.table.map(0, 4, 0x1_0000n);
  const overs = [patch(), patch(), patch(0x2_0000n)];
  transaction(() => {
    world.busRoot.addSubregion(TABLE_AT + 0x1_f000n, overs[0]!, { priority: 1 });
    world.memoryRoot.addSubregion(0x3_3000n, overs[1]!, { priority: 1 });
    world.busRoot.addSubregion(0x3_8000n, overs[2]!, { priority: 1 });
  });
  world.container.attach(world.bus);
  world.check();
  transaction(() => {
    world.busRoot.removeSubregion(overs[0]!);
    world.memoryRoot.removeSubregion(overs[1]!);
    world.busRoot.removeSubregion(overs[2]!);
  });
  world.check();
  assertEquals(world.host.translate(TABLE_AT + 0x2_3000n)?.gpa, 0x3_3000n);
});

type Step =
  | { readonly where: "ram" | "table" | "memory"; readonly block: number; readonly blocks: number }
  | { readonly where: "away"; readonly which: number }
  | { readonly where: "store"; readonly first: number; readonly target: number; readonly count: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    where: fc.constantFrom("ram" as const, "table" as const, "memory" as const),
    block: fc.nat(95),
    blocks: fc.integer({ min: 1, max: 40 }),
  }),
  fc.record({ where: fc.constant("away" as const), which: fc.nat(5) }),
  fc.record({
    where: fc.constant("store" as const),
    first: fc.nat(ENTRIES - 1),
    target: fc.nat(7),
    count: fc.integer({ min: 0, max: 3 }),
  }),
);

Deno.test("property: whatever is laid over whatever, a device reaches just the whole pages that the bus shows", () => {
  fc.assert(
    fc.property(fc.array(fc.array(step, { maxLength: 3 }), { maxLength: 8 }), fc.nat(4), (groups, plugAt) => {
      using world = new World();
      const there: { readonly root: MemoryRegion; readonly region: RamRegion }[] = [];
      for (const [index, group] of groups.entries()) {
        if (index === Math.min(plugAt, groups.length - 1)) world.container.attach(world.bus);
        for (const one of group) {
          if (one.where !== "store") continue;
          const count = Math.min(one.count, ENTRIES - one.first);
          const { status } = count === 0
            ? world.table.unmap(one.first)
            : world.table.map(one.first, count, BigInt(one.target) * HOST_PAGE);
          assertEquals(status, "done");
        }
        transaction(() => {
          for (const one of group) {
            if (one.where === "store") continue;
            if (one.where === "away") {
              const [gone] = there.splice(one.which % Math.max(there.length, 1), 1);
              if (gone !== undefined) gone.root.removeSubregion(gone.region);
              continue;
            }
            const root = one.where === "memory" ? world.memoryRoot : world.busRoot;
            const region = patch(BigInt(one.blocks) * BLOCK);
            root.addSubregion((one.where === "table" ? TABLE_AT : 0n) + BigInt(one.block) * BLOCK, region, {
              priority: 1,
            });
            there.push({ root, region });
          }
        });
        if (world.container.space !== undefined) world.check();
      }
    }),
    { numRuns: 300 },
  );
});
