import { IommuError } from "@giommu/core";
import { AddressSpace, type MemoryListener, RamRegion, transaction } from "@giommu/memory-api";
import { IommuPerm } from "@giommu/notifiers";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { SpaprPhb } from "./spapr_phb.ts";
import { TceTable } from "./tce_table.ts";

/** What a bus shows: name, first and last address of each section. */
function sections(phb: SpaprPhb): [string, string, string][] {
  return phb.space.sections.map((
    { region, range },
  ) => [region.name, range.start.toString(16), range.last.toString(16)]);
}

Deno.test("SpaprPhb has a default window of 1 GiB, and a place for interrupts", () => {
  using phb = new SpaprPhb({ index: 1 });
  assertEquals(phb.buid, 0x800000020000001n);
  assertEquals(phb.windows.map((table) => table.liobn), [0x8000_0100]);
  assertEquals(sections(phb), [
    ["tce-iommu-80000100", "0", "3fffffff"],
    ["msi", "40000000000", "40000000fff"],
  ]);
});

Deno.test("SpaprPhb shows the window with the higher LIOBN where two overlap, whichever came first", () => {
  using phb = new SpaprPhb({ index: 0, dmaWindow: false });
  phb.addWindow({ window: 1, size: 0x2_0000n, pageShift: 16 });
  const low = phb.addWindow({ size: 0x4_0000n });
  assertEquals(low.liobn, 0x8000_0000);
  assertEquals(sections(phb).slice(0, 2), [
    ["tce-iommu-80000001", "0", "1ffff"],
    ["tce-iommu-80000000", "20000", "3ffff"],
  ]);
});

Deno.test("SpaprPhb exchanges windows in one transaction", () => {
  using phb = new SpaprPhb({ index: 0 });
  const heard: string[] = [];
  const listener: MemoryListener = {
    regionAdd: (section) => heard.push(`+${section.region.name}`),
    regionDel: (section) => heard.push(`-${section.region.name}`),
  };
  phb.space.addListener(listener);
  heard.length = 0;
  transaction(() => {
    phb.addWindow({ busOffset: 1n << 59n, size: 1n << 40n, pageShift: 16 });
    assert(phb.removeWindow(phb.table(0x8000_0000)!));
  });
  assertEquals(heard, ["-tce-iommu-80000000", "+tce-iommu-80000001"]);
  assertEquals(phb.table(0x8000_0001)?.entries, 1 << 24);
});

Deno.test("SpaprPhb leaves nothing over of a window that a listener refuses", () => {
  using phb = new SpaprPhb({ index: 0, dmaWindow: false });
  phb.space.addListener({
    regionAdd: ({ region }) => {
      if (region.kind === "iommu") throw new IommuError("host-refused", "Cannot hold the window");
    },
  });
  assertEquals(assertThrows(() => phb.addWindow({ size: 0x1_0000n }), IommuError).code, "host-refused");
  assertEquals(phb.windows, []);
  assertEquals(phb.table(0x8000_0000), undefined);
});

Deno.test("SpaprPhb finds tables by the LIOBN as a guest says it, all 64 bits", () => {
  using phb = new SpaprPhb({ index: 0 });
  assert(phb.table(0x8000_0000n) !== undefined);
  assertEquals(phb.table(0x1_8000_0000n), undefined);
  assertEquals(phb.table(0x8000_0001), undefined);
});

Deno.test("SpaprPhb takes tables of its own LIOBNs, each once", () => {
  using phb = new SpaprPhb({ index: 2 });
  using other = new TceTable({ liobn: 0x8000_0100, entries: 1 });
  assertThrows(() => phb.addTable(other), RangeError, "0x80000200");
  using twice = new TceTable({ liobn: 0x8000_0200, entries: 1 });
  assertEquals(assertThrows(() => phb.addTable(twice), IommuError).code, "duplicate-liobn");
});

Deno.test("SpaprPhb rounds a window's size down to pages and refuses what has none", () => {
  using phb = new SpaprPhb({ index: 0, dmaWindow: { size: 0x20_1800n } });
  assertEquals(phb.windows[0]?.entries, 0x201);
  assertThrows(() => phb.addWindow({ size: 0xfffn }), RangeError, "0xfff bytes");
  assertThrows(() => phb.addWindow({ size: 1n << 44n }), RangeError);
});

Deno.test("a device's access through SpaprPhb needs the entry's permission", () => {
  using memory = new AddressSpace("memory", new RamRegion({ name: "ram", size: 0x100_0000n }));
  using phb = new SpaprPhb({ index: 0, memory });
  phb.table(0x8000_0000)!.putTce(0x1000n, 0x8_0001n);
  assertEquals(phb.space.translate(0x1004n, IommuPerm.READ).kind, "memory");
  assertEquals(phb.space.translate(0x1004n, IommuPerm.WRITE).kind, "fault");
  assertEquals(phb.space.translate(0x2004n, IommuPerm.READ).kind, "fault");
});

Deno.test("a disposed SpaprPhb has disposed its tables", () => {
  const phb = new SpaprPhb({ index: 0 });
  const table = phb.windows[0]!;
  phb[Symbol.dispose]();
  phb[Symbol.dispose]();
  assertEquals(assertThrows(() => table.stored, IommuError).code, "disposed");
  assertEquals(assertThrows(() => phb.addWindow({ size: 0x1000n }), IommuError).code, "disposed");
});
