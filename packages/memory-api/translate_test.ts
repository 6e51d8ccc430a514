import { assert, assertEquals, assertThrows } from "@std/assert";
import type { IotlbEntry } from "@giommu/notifiers";
import { IommuPerm } from "@giommu/notifiers";
import {
  AddressSpace,
  ArrayGuestMemory,
  IommuMemoryRegion,
  IoRegion,
  MemoryRegion,
  RamRegion,
  readDma,
  SpaceMemory,
  writeDma,
} from "./mod.ts";
import type { IommuMemoryRegionInit, Translation } from "./mod.ts";

const ALL = 2n ** 64n;
const { NONE, READ, WRITE, READ_WRITE } = IommuPerm;

/** An IOMMU of a few pages of one size. */
function iommu(
  name: string,
  size: bigint,
  pageSize: bigint,
  pages: Record<string, Partial<IotlbEntry>>,
  more: Partial<IommuMemoryRegionInit> = {},
) {
  return new IommuMemoryRegion({
    name,
    size,
    minPageSize: () => pageSize,
    translate: (iova) => {
      const start = iova - iova % pageSize;
      const entry = pages[`0x${start.toString(16)}`];
      return entry &&
        { iova: { start, last: start + pageSize - 1n }, target: 0n, perm: READ_WRITE, pageSize, ...entry };
    },
    ...more,
  });
}

function memory(size = 0x10_0000) {
  const ram = new RamRegion({ name: "ram", size: BigInt(size), memory: new ArrayGuestMemory(size) });
  const root = new MemoryRegion({ name: "system", size: ALL });
  root.addSubregion(0n, ram);
  return { ram, root, space: new AddressSpace({ name: "memory", root }) };
}

function fault(found: Translation) {
  assert(found.kind === "fault");
  return [found.reason, found.space.name, found.address, found.region?.name, found.length];
}

Deno.test("an access without an IOMMU ends where it began", () => {
  const { space, ram } = memory();
  const found = space.translate(0x1234n, WRITE, 0x10n);
  assert(found.kind === "memory");
  assertEquals([found.region, found.offset, found.address, found.length, found.perm, found.hops], [
    ram,
    0x1234n,
    0x1234n,
    0x10n,
    READ_WRITE,
    0,
  ]);
});

Deno.test("chained IOMMUs are followed, permissions and-ed, lengths cut at the least page end", () => {
  const { space, ram } = memory();
  const inner = iommu("inner", 0x10_0000n, 0x1000n, { "0x3000": { target: 0x8000n, perm: READ_WRITE } });
  const middle = new AddressSpace({ name: "middle", root: inner, memory: space });
  const outer = iommu("outer", 0x10_0000n, 0x1_0000n, { "0x20000": { target: 0n, perm: READ, targetSpace: middle } });
  const root = new MemoryRegion({ name: "bus root", size: ALL });
  root.addSubregion(0x4000_0000n, outer);
  const bus = new AddressSpace({ name: "bus", root, memory: space });
  const found = bus.translate(0x4002_3456n, NONE);
  assert(found.kind === "memory");
  assertEquals([found.region, found.offset, found.length, found.perm, found.hops], [ram, 0x8456n, 0xbaan, READ, 2]);
  assertEquals(fault(bus.translate(0x4002_3456n, WRITE)), ["no-permission", "bus", 0x4002_3456n, "outer", 0xcbaan]);
  assertEquals(fault(bus.translate(0x4002_4000n, READ)), ["not-mapped", "middle", 0x4000n, "inner", 0x1000n]);
  assertEquals(fault(bus.translate(0x4003_0010n, READ)), ["not-mapped", "bus", 0x4003_0010n, "outer", 0xfff0n]);
});

Deno.test("IOMMUs that point at each other are a loop, not a hang", () => {
  const known: { bus?: AddressSpace } = {};
  const region = new IommuMemoryRegion({
    name: "self",
    size: ALL,
    translate: (iova) => ({
      iova: { start: iova, last: iova },
      target: BigInt.asUintN(64, iova + 1n),
      perm: READ,
      pageSize: 1n,
      ...(known.bus !== undefined && { targetSpace: known.bus }),
    }),
  });
  const bus = known.bus = new AddressSpace({ name: "bus", root: region });
  assertEquals(fault(bus.translate(ALL - 4n, READ)).slice(0, 2), ["loop", "bus"]);
});

Deno.test("permissions that exclude each other along the way allow nothing", () => {
  const { space } = memory();
  const inner = iommu("inner", 0x1000n, 0x1000n, { "0x0": { perm: WRITE } });
  const middle = new AddressSpace({ name: "middle", root: inner, memory: space });
  const outer = iommu("outer", 0x1000n, 0x1000n, { "0x0": { perm: READ, targetSpace: middle } });
  const bus = new AddressSpace({ name: "bus", root: outer });
  assertEquals(fault(bus.translate(0n, NONE)).slice(0, 2), ["no-permission", "middle"]);
});

Deno.test("what nothing is seen at, ROM, and a space that nobody knows are faults", () => {
  const { space, root } = memory();
  root.addSubregion(0x20_0000n, new RamRegion({ name: "rom", size: 0x1000n, readonly: true }));
  assertEquals(fault(space.translate(0x1f_0000n, READ)), ["unassigned", "memory", 0x1f_0000n, undefined, 0x1_0000n]);
  assertEquals(fault(space.translate(0x20_1000n, READ)).at(-1), ALL - 0x20_1000n);
  assertEquals(fault(space.translate(0x20_0000n, WRITE))[0], "read-only");
  const rom = space.translate(0x20_0000n);
  assertEquals(rom.kind === "memory" && rom.perm, READ);
  const lost = iommu("lost", 0x2000n, 0x1000n, { "0x0": {}, "0x1000": { targetSpace: { name: "stranger" } } });
  const bus = new AddressSpace({ name: "bus", root: lost });
  assertEquals(fault(bus.translate(0n))[0], "no-target-space");
  assertEquals(fault(bus.translate(0x1000n))[0], "no-target-space");
});

Deno.test("a target may wrap around the top of the space, and the length stops there", () => {
  const { space } = memory();
  const region = iommu("iommu", 0x1_0000n, 0x1_0000n, { "0x0": { target: ALL - 0x1000n } });
  const bus = new AddressSpace({ name: "bus", root: region, memory: space });
  assertEquals(fault(bus.translate(0n, READ)).slice(2), [ALL - 0x1000n, undefined, 0x1000n]);
  const found = bus.translate(0x1010n, READ);
  assertEquals(found.kind === "memory" && found.offset, 0x10n);
});

Deno.test("what an IOMMU answers is checked, and the error names it", () => {
  const answers: [unknown, typeof Error, string][] = [
    [
      { iova: { start: 0x1000n, last: 0x1fffn }, target: 0n, perm: 1, pageSize: 0x1000n },
      RangeError,
      "it is for 0x1000",
    ],
    [{ iova: { start: 5n, last: 0n }, target: 0n, perm: 1, pageSize: 0x1000n }, RangeError, "iova"],
    [{ iova: { start: 0, last: 0xfff }, target: 0n, perm: 1, pageSize: 0x1000n }, TypeError, "iova.start"],
    [{ iova: { start: 0n, last: 0xfffn }, target: 0n, perm: 1, pageSize: 4096 }, TypeError, "pageSize"],
    [{ iova: { start: 0n, last: 0xfffn }, target: 0n, perm: 7, pageSize: 4096n }, RangeError, "perm"],
    [null, TypeError, "expected an entry"],
    ["mapped", TypeError, "expected an entry"],
  ];
  for (const [answer, type, message] of answers) {
    const region = new IommuMemoryRegion({ name: "broken", size: 0x1000n, translate: () => answer as IotlbEntry });
    const error = assertThrows(() => region.translate(0n), type, message) as Error;
    assert(error.message.includes("region broken"), error.message);
  }
  const region = iommu("good", 0x1000n, 0x1000n, { "0x0": { perm: NONE } });
  assertEquals([region.translate(0n), region.translate(0x1000n)], [undefined, undefined]);
  assertThrows(() => region.translate(-1n), RangeError, "iova");
  assertThrows(() => region.translate(0 as unknown as bigint), TypeError, "iova");
});

Deno.test("a region without minPageSize has pages of 4 KiB, and nonsense is refused", () => {
  const translate = () => undefined;
  assertEquals(new IommuMemoryRegion({ name: "x", size: 1n, translate }).minPageSize, 0x1000n);
  for (const size of [0n, 3n, -4096n, 1n << 64n]) {
    const region = new IommuMemoryRegion({ name: "odd", size: 1n, translate, minPageSize: () => size });
    assertThrows(() => region.minPageSize, RangeError, "minPageSize of region odd");
  }
});

Deno.test("DMA goes page by page: holes read zeros and drop writes, the rest goes on", () => {
  const { space, ram } = memory();
  const bytes = (ram.memory as ArrayGuestMemory).bytes;
  const region = iommu("iommu", 0x4000n, 0x1000n, {
    "0x0": { target: 0x5000n, perm: READ_WRITE },
    "0x2000": { target: 0x9000n, perm: WRITE },
    "0x3000": { target: 0x7000n, perm: READ },
  });
  const bus = new AddressSpace({ name: "bus", root: region, memory: space });
  bytes.fill(0xaa, 0x5000, 0x6000);
  bytes.fill(0xbb, 0x7000, 0x8000);
  const target = new Uint8Array(0x4000).fill(0xff);
  const read = readDma(bus, 0n, target);
  assertEquals([read.bytes, read.lost, read.firstFault?.reason], [0x2000, 0x2000, "not-mapped"]);
  assertEquals([0, 0xfff, 0x1000, 0x2000, 0x3000, 0x3fff].map((at) => target[at]), [0xaa, 0xaa, 0, 0, 0xbb, 0xbb]);
  const written = writeDma(bus, 0xff8n, new Uint8Array(0x3000).fill(0xcc));
  assertEquals([written.bytes, written.lost], [0x1008, 0x1ff8]);
  assertEquals([bytes[0x5ff7], bytes[0x5ff8], bytes[0x9000], bytes[0x9fff], bytes[0x7000]], [
    0xaa,
    0xcc,
    0xcc,
    0xcc,
    0xbb,
  ]);
});

Deno.test("DMA stops at the top of the address space, and meets registers without a trace", () => {
  const root = new MemoryRegion({ name: "root", size: ALL });
  root.addSubregion(ALL - 0x10n, new RamRegion({ name: "top", size: 0x10n, memory: new ArrayGuestMemory(16) }));
  root.addSubregion(0n, new IoRegion({ name: "registers", size: 0x1000n }));
  const space = new AddressSpace({ name: "s", root });
  assertEquals(writeDma(space, ALL - 8n, new Uint8Array(16)), { bytes: 8, lost: 8 });
  assertEquals(readDma(space, 0n, new Uint8Array(16)), { bytes: 0, lost: 16 });
});

Deno.test("the RAM of a space is one memory, across sections and all or nothing", () => {
  const { space, root, ram } = memory(0x2000);
  const more = new ArrayGuestMemory(0x1000);
  root.addSubregion(0x2000n, new RamRegion({ name: "more", size: 0x1000n, memory: more }));
  root.addSubregion(0x8000n, new RamRegion({ name: "rom", size: 8n, readonly: true, memory: new ArrayGuestMemory(8) }));
  const all = new SpaceMemory(space);
  assertEquals(all.write(0x1ffen, new Uint8Array([1, 2, 3, 4])), true);
  assertEquals([...(ram.memory as ArrayGuestMemory).bytes.slice(-2), ...more.bytes.slice(0, 2)], [1, 2, 3, 4]);
  assertEquals(all.write(0x2ffen, new Uint8Array(4).fill(9)), false);
  assertEquals(more.bytes.at(-1), 0);
  assertEquals([all.write(0x8000n, new Uint8Array(1)), all.read(0x8000n, new Uint8Array(8))], [false, true]);
  assertEquals([all.read(0x9000n, new Uint8Array(0)), all.read(ALL - 1n, new Uint8Array(2))], [true, false]);
});
