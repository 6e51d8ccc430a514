import { AddressSpace, ArrayGuestMemory, RamRegion } from "@giommu/memory-api";
import { SpaprPhb, type TceTable } from "@giommu/spapr-tce";
import { SimulatedHost, VfioContainer } from "@giommu/vfio-sync";
import { assertEquals, assertNotEquals } from "@std/assert";
import { ChangeWatch, type TouchedKind } from "./change_watch.ts";

/** A guest with pages 1 to 8 mapped to 0x101 to 0x108, a container, and who watches. */
class Watched implements Disposable {
  readonly host: SimulatedHost = new SimulatedHost({ rules: "type1", maxMappings: 40 });
  readonly #memory = new AddressSpace({ name: "memory", root: new RamRegion({ name: "ram", size: 1n << 40n }) });
  readonly phb: SpaprPhb = new SpaprPhb({ index: 0, memory: this.#memory });
  readonly #container = new VfioContainer({ host: this.host });
  readonly watch: ChangeWatch;

  constructor() {
    this.table.stuffTce(0x1000n, 0x10_1003n, 8n);
    for (let page = 1n; page <= 8n; page++) this.table.putTce(page << 12n, (0x100n + page) << 12n | 3n);
    this.#container.attach(this.phb.space);
    this.watch = new ChangeWatch(this.phb.space, (range) => this.#container.mappings(range));
  }

  get table(): TceTable {
    const table = this.phb.defaultWindow;
    return table;
  }

  /** The pages of a kind, by number, and where they were. */
  pages(kind: TouchedKind): [bigint, bigint | undefined][] {
    return this.watch.pages(kind).map(({ iova, was }) => [iova >> 12n, was === undefined ? was : was >> 12n]);
  }

  [Symbol.dispose](): void {
    this.watch[Symbol.dispose]();
    this.#container[Symbol.dispose]();
    this.phb[Symbol.dispose]();
    this.#memory[Symbol.dispose]();
  }
}

Deno.test("A page is what happened to it last, and where it was is known", () => {
  using guest = new Watched();
  guest.table.putTce(0x3000n, 0x20_0003n);
  assertEquals(guest.pages("changed-in-place"), [[3n, 0x103n]]);
  assertEquals(guest.pages("neighbour"), [[2n, undefined], [4n, undefined]]);
  guest.table.putTce(0x3000n, 0n);
  assertEquals([guest.pages("changed-in-place"), guest.pages("unmapped")], [[], [[3n, 0x200n]]]);
  guest.table.putTce(0x3000n, 0x30_0001n);
  assertEquals([guest.pages("unmapped"), guest.pages("new")], [[], [[3n, undefined]]]);
  guest.table.stuffTce(0x2000n, 0n, 3n);
  assertEquals(guest.pages("unmapped"), [[2n, 0x102n], [3n, 0x300n], [4n, 0x104n]]);
  assertEquals(guest.pages("neighbour"), [[1n, undefined], [5n, undefined]]);
});

Deno.test("A change that is refused did not happen", () => {
  using guest = new Watched();
  guest.host.failWhen({ call: guest.host.calls + 2, errno: "ENOMEM" });
  assertNotEquals(guest.table.putTce(0x3000n, 0x20_0003n).ret, 0);
  for (const kind of ["new", "changed-in-place", "unmapped", "neighbour"] as const) assertEquals(guest.pages(kind), []);
});

Deno.test("Of a long run its ends are noted, and those of a window that comes later too", () => {
  using guest = new Watched();
  const second = guest.phb.addWindow({ window: 1, busOffset: 0x10_0000_0000n, size: 0x100_0000n });
  const list = new ArrayGuestMemory(0x1000);
  const words = new DataView(list.bytes.buffer);
  for (let page = 0; page < 30; page++) words.setBigUint64(page * 8, 0x50_0003n + (BigInt(page) << 12n));
  second.putTceIndirect(0x10_0000_0000n, 0n, 30n, list);
  const pages = guest.pages("new").map(([page]) => Number(page - 0x100_0000n));
  assertEquals(pages, [0, 1, 2, 3, 4, 5, 6, 7, 22, 23, 24, 25, 26, 27, 28, 29]);
  guest.phb.removeWindow(second);
  guest.table.putTce(0x9000n, 0x10_9003n);
  assertEquals(guest.pages("new").at(-1), [9n, undefined]);
});
