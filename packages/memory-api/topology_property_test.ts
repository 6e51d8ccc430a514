import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { AddressSpace, AliasRegion, IoRegion, MemoryRegion, RamRegion, transaction } from "./mod.ts";
import type { MemoryListener, MemorySection } from "./mod.ts";

/** A tiny space at the bottom, or at the very top, of 2^64 addresses. */
const SIZE = 24;
const ALL = 2n ** 64n;

/** What is seen at one address: the region and the offset inside it, as a word. */
type Seen = string;

/** The plain model: looks one address up, with no painting at all. */
function look(region: MemoryRegion, offset: bigint): Seen | undefined {
  if (!region.enabled || offset < 0n || offset >= region.size) return undefined;
  if (region instanceof AliasRegion) return look(region.target, region.offset + offset);
  for (const child of region.subregions) {
    const seen = look(child.region, offset - child.offset);
    if (seen !== undefined) return seen;
  }
  return region.kind === "container" ? undefined : `${region.name}+${offset}`;
}

class World {
  readonly base: bigint;
  readonly root = new MemoryRegion({ name: "root", size: ALL });
  readonly regions: MemoryRegion[] = [];
  readonly space: AddressSpace;
  readonly part: AddressSpace;

  constructor(base: bigint, sizes: readonly number[]) {
    this.base = base;
    const world = new MemoryRegion({ name: "world", size: ALL - base });
    this.root.addSubregion(base, world);
    this.regions.push(world);
    sizes.forEach((size, n) => {
      const init = { name: `r${n}`, size: BigInt(size) };
      const target = this.regions[size % this.regions.length] ?? world;
      this.regions.push(
        n % 4 === 0
          ? new MemoryRegion(init)
          : n % 4 === 1
          ? new RamRegion(init)
          : n % 4 === 2
          ? new AliasRegion({ ...init, target, offset: BigInt(size % 5) })
          : new IoRegion(init),
      );
    });
    this.space = new AddressSpace({ name: "whole", root: this.root });
    this.part = new AddressSpace({ name: "part", root: this.regions[1] ?? world });
  }

  model(space: AddressSpace): Map<bigint, Seen> {
    const seen = new Map<bigint, Seen>();
    const base = space === this.space ? this.base : 0n;
    for (let n = 0n; n < BigInt(SIZE) && base + n < ALL; n++) {
      const one = look(space.root, base + n);
      if (one !== undefined) seen.set(base + n, one);
    }
    return seen;
  }

  /** To a place that may overlap the old one. */
  move(region: MemoryRegion, offset: bigint): void {
    const { parent } = region;
    if (parent === this.root) return;
    const priority = parent?.subregions.find((child) => child.region === region)?.priority ?? 0;
    transaction(() => {
      parent?.removeSubregion(region);
      parent?.addSubregion(offset, region, { priority });
    });
  }

  /** Makes one change; those that the rules forbid are left out. */
  act([what, a, b, offset, priority]: Act): void {
    const parent = this.regions[a % this.regions.length];
    const region = this.regions[b % this.regions.length];
    if (parent === undefined || region === undefined) return;
    try {
      if (what === "toggle") region.enabled = !region.enabled;
      else if (what === "remove") region.parent?.removeSubregion(region);
      else if (what === "move") this.move(region, BigInt(offset));
      else parent.addSubregion(BigInt(offset), region, { priority });
    } catch (error) {
      if (!(error instanceof TypeError || error instanceof RangeError)) throw error;
    }
  }
}

type Act = ["add" | "remove" | "toggle" | "move", number, number, number, number];

const act: fc.Arbitrary<Act> = fc.tuple(
  fc.constantFrom(
    "add" as const,
    "add" as const,
    "add" as const,
    "remove" as const,
    "toggle" as const,
    "move" as const,
  ),
  fc.nat(20),
  fc.nat(20),
  fc.nat(SIZE - 1),
  fc.integer({ min: -1, max: 1 }),
);
const sizes = fc.array(fc.integer({ min: 1, max: 12 }), { minLength: 3, maxLength: 10 });
const base = fc.constantFrom(0n, ALL - BigInt(SIZE));

/** The part of a view that lies in the tiny space, address by address. */
function spread(sections: readonly MemorySection[], from: bigint): Map<bigint, Seen> {
  const seen = new Map<bigint, Seen>();
  for (const section of sections) {
    for (let address = section.range.start; address <= section.range.last; address++) {
      if (address >= from + BigInt(SIZE)) break;
      assert(!seen.has(address), `two sections show ${address}`);
      seen.set(address, `${section.region.name}+${section.offsetWithinRegion + address - section.range.start}`);
    }
  }
  return seen;
}

Deno.test("property: a flat view shows at each address what a look-up by the rules finds", () => {
  fc.assert(
    fc.property(base, sizes, fc.array(act, { maxLength: 30 }), (base, sizes, acts) => {
      const world = new World(base, sizes);
      for (const act of acts) {
        world.act(act);
        for (const space of [world.space, world.part]) {
          const from = space === world.space ? base : 0n;
          assertEquals(spread(space.sections, from), world.model(space));
          for (const [address, seen] of world.model(space)) {
            assertEquals(space.flatView().find(address)?.region.name, seen.split("+")[0]);
          }
        }
      }
    }),
    { numRuns: 300 },
  );
});

/** Keeps a copy of a view by what it is told, and insists on being told exactly. */
class Follower implements MemoryListener {
  readonly seen = new Map<bigint, Seen>();
  readonly #from: bigint;
  /** Which of the coming additions is refused, counted down. */
  refuseAt = Infinity;
  open = false;
  phase: "none" | "gone" | "come" = "none";
  readonly touched = new Set<bigint>();

  constructor(from: bigint) {
    this.#from = from;
  }

  begin(): void {
    assert(!this.open);
    this.open = true;
    this.phase = "gone";
  }

  regionAdd(section: MemorySection): void {
    assert(this.open);
    if (this.refuseAt-- <= 0) {
      this.refuseAt = Infinity;
      throw new Error("refused");
    }
    this.phase = "come";
    for (const [address, one] of spread([section], this.#from)) {
      assert(!this.seen.has(address), `${address} was added twice`);
      this.seen.set(address, one);
      this.touched.add(address);
    }
  }

  regionDel(section: MemorySection): void {
    assert(this.open);
    for (const [address, one] of spread([section], this.#from)) {
      assertEquals(this.seen.get(address), one, `${address} was deleted but not there`);
      this.seen.delete(address);
      this.touched.add(address);
    }
  }

  commit(): void {
    assert(this.open);
    this.open = false;
  }
}

Deno.test("property: what listeners are told leaves exactly the new view, and touches only what changed", () => {
  fc.assert(
    fc.property(base, sizes, fc.array(fc.array(act, { maxLength: 4 }), { maxLength: 12 }), (base, sizes, batches) => {
      const world = new World(base, sizes);
      const early = new Follower(base);
      const part = new Follower(0n);
      world.space.addListener(early);
      world.part.addListener(part);
      for (const acts of batches) {
        const before = world.model(world.space);
        early.touched.clear();
        transaction(() => acts.forEach((act) => world.act(act)));
        const after = world.model(world.space);
        assertEquals(new Map([...early.seen].sort()), new Map([...after].sort()));
        assertEquals(new Map([...part.seen].sort()), new Map([...world.model(world.part)].sort()));
        for (const address of early.touched) {
          assert(before.get(address) !== after.get(address), `${address} is unchanged`);
        }
        const late = new Follower(base);
        world.space.addListener(late);
        assertEquals(late.seen.size, after.size);
        world.space.removeListener(late);
        assertEquals(late.seen.size, 0);
      }
    }),
    { numRuns: 300 },
  );
});

Deno.test("property: a refused transaction leaves map, views and listeners as they were", () => {
  const refusals = fc.tuple(fc.nat(6), fc.nat(2));
  fc.assert(
    fc.property(
      base,
      sizes,
      fc.array(fc.tuple(fc.array(act, { minLength: 1, maxLength: 6 }), refusals), { maxLength: 12 }),
      (base, sizes, batches) => {
        const world = new World(base, sizes);
        const followers = [new Follower(base), new Follower(base), new Follower(0n)];
        for (const follower of followers.slice(0, 2)) world.space.addListener(follower);
        followers.slice(2).forEach((follower) => world.part.addListener(follower));
        for (const [acts, [at, who]] of batches) {
          const before = [world.model(world.space), world.model(world.part)];
          const shape = JSON.stringify(world.regions.map((region) => describe(region)));
          const refuser = followers[who];
          if (refuser !== undefined) refuser.refuseAt = at;
          let refused = false;
          try {
            transaction(() => acts.forEach((act) => world.act(act)));
          } catch (error) {
            assert(error instanceof Error && error.message === "refused", String(error));
            refused = true;
          }
          if (refuser !== undefined) refuser.refuseAt = Infinity;
          if (refused) {
            assertEquals([world.model(world.space), world.model(world.part)], before);
            assertEquals(JSON.stringify(world.regions.map((region) => describe(region))), shape);
          }
          assertEquals(spread(world.space.sections, base), world.model(world.space));
          followers.forEach((follower, n) => {
            const model = world.model(n < 2 ? world.space : world.part);
            assertEquals(new Map([...follower.seen].sort()), new Map([...model].sort()));
            assert(!follower.open);
          });
        }
      },
    ),
    { numRuns: 300 },
  );
});

function describe(region: MemoryRegion): unknown {
  return [
    region.enabled,
    region.parent?.name,
    region.subregions.map((child) => [child.region.name, child.offset.toString(), child.priority]),
  ];
}
