import { assertEquals, assertThrows } from "@std/assert";
import { AddressSpace, AliasRegion, IommuMemoryRegion, IoRegion, MemoryRegion, RamRegion } from "./mod.ts";

const ALL = 2n ** 64n;

/** What a space shows, in short. */
function shown(space: AddressSpace): string[] {
  return space.sections.map(({ region, range, offsetWithinRegion }) =>
    `${range.start.toString(16)}-${range.last.toString(16)} ${region.name}+${offsetWithinRegion.toString(16)}`
  );
}

const ram = (name: string, size: bigint) => new RamRegion({ name, size });
const box = (name: string, size: bigint = ALL) => new MemoryRegion({ name, size });

Deno.test("a region of 2^64 bytes is one section up to the last address", () => {
  using space = new AddressSpace({ name: "all", root: ram("ram", ALL) });
  assertEquals(shown(space), ["0-ffffffffffffffff ram+0"]);
  assertEquals(space.flatView().find(ALL - 1n)?.region.name, "ram");
});

Deno.test("a region is cropped at its parent's end", () => {
  const root = box("root");
  const small = box("small", 0x2000n);
  small.addSubregion(0x1000n, ram("ram", ALL));
  small.addSubregion(0x2000n, ram("outside", 0x1000n));
  root.addSubregion(ALL - 0x3000n, small);
  using space = new AddressSpace({ name: "s", root });
  assertEquals(shown(space), ["ffffffffffffe000-ffffffffffffefff ram+0"]);
});

Deno.test("the higher priority is seen, and of equals the one added last", () => {
  const root = box("root");
  root.addSubregion(0n, ram("first", 0x3000n));
  root.addSubregion(0x1000n, ram("second", 0x3000n));
  root.addSubregion(0n, ram("low", 0x8000n), { priority: -1 });
  root.addSubregion(0x2000n, ram("high", 0x800n), { priority: 1 });
  using space = new AddressSpace({ name: "s", root });
  assertEquals(shown(space), [
    "0-fff first+0",
    "1000-1fff second+0",
    "2000-27ff high+0",
    "2800-3fff second+1800",
    "4000-7fff low+4000",
  ]);
  assertEquals(root.subregions.map(({ region, priority }) => [region.name, priority]), [
    ["high", 1],
    ["second", 0],
    ["first", 0],
    ["low", -1],
  ]);
});

Deno.test("a priority counts inside its own container only", () => {
  const root = box("root");
  const inner = box("inner", 0x2000n);
  inner.addSubregion(0n, ram("urgent", 0x1000n), { priority: 1000 });
  root.addSubregion(0n, inner);
  root.addSubregion(0n, ram("over", 0x800n), { priority: 1 });
  using space = new AddressSpace({ name: "s", root });
  assertEquals(shown(space), ["0-7ff over+0", "800-fff urgent+800"]);
});

Deno.test("a container is transparent where nothing lies in it", () => {
  const root = box("root");
  root.addSubregion(0n, ram("below", 0x3000n));
  const over = box("over", 0x3000n);
  over.addSubregion(0x1000n, ram("island", 0x1000n));
  root.addSubregion(0n, over, { priority: 1 });
  using space = new AddressSpace({ name: "s", root });
  assertEquals(shown(space), ["0-fff below+0", "1000-1fff island+0", "2000-2fff below+2000"]);
});

Deno.test("subregions are seen above the RAM that they lie in", () => {
  const below = ram("below", 0x3000n);
  below.addSubregion(0x1000n, new IoRegion({ name: "registers", size: 0x1000n }));
  using space = new AddressSpace({ name: "s", root: below });
  assertEquals(shown(space), ["0-fff below+0", "1000-1fff registers+0", "2000-2fff below+2000"]);
});

Deno.test("a region that is not enabled hides all that lies in it, also behind an alias", () => {
  const root = box("root");
  const inner = box("inner", 0x1000n);
  inner.addSubregion(0n, ram("ram", 0x1000n));
  root.addSubregion(0n, inner);
  root.addSubregion(0x5000n, new AliasRegion({ name: "again", target: inner, size: 0x1000n }));
  using space = new AddressSpace({ name: "s", root });
  assertEquals(shown(space), ["0-fff ram+0", "5000-5fff ram+0"]);
  inner.enabled = false;
  assertEquals(shown(space), []);
  inner.enabled = true;
  assertEquals(shown(space).length, 2);
});

Deno.test("an alias of an IOMMU shows the IOMMU itself, with the offset inside it", () => {
  const iommu = new IommuMemoryRegion({ name: "iommu", size: ALL, translate: () => undefined });
  const root = box("root");
  const once = new AliasRegion({ name: "once", target: iommu, offset: 0x10_0000n, size: 0x8000n });
  root.addSubregion(0x4000n, new AliasRegion({ name: "twice", target: once, offset: 0x1000n, size: 0x1_0000n }));
  using space = new AddressSpace({ name: "s", root });
  assertEquals(shown(space), ["4000-afff iommu+101000"]);
  assertEquals(space.sections[0]?.region, iommu);
});

Deno.test("an alias that begins in the middle of a container shows what lies there", () => {
  const inner = box("inner", 0x10000n);
  inner.addSubregion(0x1000n, ram("a", 0x2000n));
  inner.addSubregion(0x8000n, ram("b", 0x1000n));
  const root = box("root");
  root.addSubregion(0n, new AliasRegion({ name: "alias", target: inner, offset: 0x2000n, size: 0x6800n }));
  using space = new AddressSpace({ name: "s", root });
  assertEquals(shown(space), ["0-fff a+1000", "6000-67ff b+0"]);
});

Deno.test("neighbours that continue each other inside one region are one section", () => {
  const target = ram("ram", 0x4000n);
  const root = box("root");
  root.addSubregion(0n, new AliasRegion({ name: "low", target, size: 0x1000n }));
  root.addSubregion(0x1000n, new AliasRegion({ name: "next", target, offset: 0x1000n, size: 0x1000n }));
  root.addSubregion(0x2000n, new AliasRegion({ name: "jump", target, offset: 0x3000n, size: 0x1000n }));
  using space = new AddressSpace({ name: "s", root });
  assertEquals(shown(space), ["0-1fff ram+0", "2000-2fff ram+3000"]);
});

Deno.test("a view never changes", () => {
  const root = box("root");
  using space = new AddressSpace({ name: "s", root });
  const before = space.flatView();
  root.addSubregion(0n, ram("ram", 0x1000n));
  assertEquals([before.sections.length, space.sections.length], [0, 1]);
  assertThrows(() => (before.sections as unknown[]).push(1), TypeError);
});

Deno.test("a region lies in one place, and never in itself", () => {
  const root = box("root");
  const inner = box("inner");
  root.addSubregion(0n, inner);
  assertThrows(() => box("other").addSubregion(0n, inner), TypeError, "it lies in root");
  assertThrows(() => inner.addSubregion(0n, root), RangeError, "contain itself");
  const alias = new AliasRegion({ name: "alias", target: root, size: 0x1000n });
  assertThrows(() => inner.addSubregion(0n, alias), RangeError, "contain itself");
  assertThrows(() => root.addSubregion(0n, root), RangeError, "contain itself");
  assertThrows(() => alias.addSubregion(0n, box("x")), TypeError, "an alias");
  assertThrows(() => root.removeSubregion(alias), TypeError, "does not lie in it");
  assertThrows(() => root.addSubregion(-1n, box("x")), RangeError, "offset");
  assertThrows(() => root.addSubregion(0n, box("x"), { priority: 0.5 }), RangeError, "priority");
});

Deno.test("a size is 1 to 2^64", () => {
  for (const size of [1n, ALL - 1n, ALL]) assertEquals(box("x", size).size, size);
  for (const size of [0n, -1n, ALL + 1n]) assertThrows(() => box("x", size), RangeError, "region x");
  assertThrows(() => box("x", 4096 as unknown as bigint), TypeError, "region x");
});

Deno.test("hundreds of overlapping sections are rendered in no time", () => {
  const root = box("root");
  root.addSubregion(0n, ram("ram", ALL), { priority: -1 });
  for (let n = 0n; n < 800n; n++) root.addSubregion(n * 0x3000n, ram(`page ${n}`, 0x2000n));
  const started = performance.now();
  using space = new AddressSpace({ name: "s", root });
  assertEquals(space.sections.length, 1600);
  const milliseconds = performance.now() - started;
  assertEquals(milliseconds < 1000, true, `${milliseconds} ms`);
});
