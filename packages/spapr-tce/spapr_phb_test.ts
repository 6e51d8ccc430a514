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
  assertEquals(phb.defaultWindow.entries, 0x201);
  assertThrows(() => phb.addWindow({ size: 0xfffn }), RangeError, "0xfff bytes");
  assertThrows(() => phb.addWindow({ size: 1n << 44n }), RangeError);
});

Deno.test("a device's access through SpaprPhb needs the entry's permission", () => {
  using memory = new AddressSpace({ name: "memory", root: new RamRegion({ name: "ram", size: 0x100_0000n }) });
  using phb = new SpaprPhb({ index: 0, memory });
  phb.table(0x8000_0000)!.putTce(0x1000n, 0x8_0001n);
  assertEquals(phb.space.translate(0x1004n, IommuPerm.READ).kind, "memory");
  assertEquals(phb.space.translate(0x1004n, IommuPerm.WRITE).kind, "fault");
  assertEquals(phb.space.translate(0x2004n, IommuPerm.READ).kind, "fault");
});

Deno.test("a disposed SpaprPhb has disposed its tables", () => {
  const phb = new SpaprPhb({ index: 0 });
  const table = phb.defaultWindow;
  phb[Symbol.dispose]();
  phb[Symbol.dispose]();
  assertEquals(assertThrows(() => table.stored, IommuError).code, "disposed");
  assertEquals(assertThrows(() => phb.addWindow({ size: 0x1000n }), IommuError).code, "disposed");
});

/** A listener that throws where told to; what it throws is an IommuError. */
function refusing(
  calls: Partial<Record<"regionAdd" | "regionDel" | "commit", (name: string) => boolean>>,
): MemoryListener {
  const check = (call: keyof typeof calls, name: string) => {
    if (calls[call]?.(name)) throw new IommuError("host-refused", `Cannot ${call} ${name}`);
  };
  return {
    regionAdd: ({ region }) => check("regionAdd", region.name),
    regionDel: ({ region }) => check("regionDel", region.name),
    commit: () => check("commit", ""),
  };
}

/** Whether a table still has its entries. */
function isLive(table: TceTable): boolean {
  try {
    return table.stored >= 0;
  } catch (error) {
    assert(error instanceof IommuError && error.code === "disposed");
    return false;
  }
}

Deno.test("SpaprPhb keeps a window whose removal a listener refuses, with its table", () => {
  using phb = new SpaprPhb({ index: 0, dmaWindow: { size: 0x1_0000n } });
  const high = phb.addWindow({ size: 0x1_0000n });
  let refuses = false;
  phb.space.addListener(refusing({ regionAdd: (name) => refuses && name === "tce-iommu-80000000" }));
  high.putTce(0n, 0x5003n);
  refuses = true;
  assertEquals(assertThrows(() => phb.removeWindow(high), IommuError).code, "host-refused");
  assertEquals(phb.windows.map((table) => table.liobn), [0x8000_0000, 0x8000_0001]);
  assertEquals(phb.table(0x8000_0001), high);
  assertEquals([high.entry(0), phb.space.translate(0n).kind], [0x5003n, "fault"]);
  refuses = false;
  assert(phb.removeWindow(high));
  assertEquals([phb.windows.length, isLive(high)], [1, false]);
});

Deno.test("SpaprPhb disposes of a window's table though a listener could not let go of it", () => {
  using phb = new SpaprPhb({ index: 0 });
  let fails = true;
  phb.space.addListener(refusing({ regionDel: () => fails }));
  const table = phb.defaultWindow;
  assertThrows(() => phb.removeWindow(table), IommuError);
  assertEquals([phb.windows.length, isLive(table)], [0, false]);
  fails = false;
});

Deno.test("SpaprPhb keeps a new window that is on the bus, though what it hides could not be removed", () => {
  using phb = new SpaprPhb({ index: 0, dmaWindow: { size: 0x1_0000n } });
  let fails = true;
  phb.space.addListener(refusing({ regionDel: () => fails }));
  assertEquals(assertThrows(() => phb.addWindow({ size: 0x1_0000n }), IommuError).code, "host-refused");
  assertEquals(sections(phb)[0]?.[0], "tce-iommu-80000001");
  const table = phb.table(0x8000_0001);
  assert(table !== undefined && isLive(table));
  assertEquals(phb.space.translate(0n).kind, "fault");
  fails = false;
  assert(phb.removeWindow(table));
});

Deno.test("SpaprPhb has the windows again that an undone transaction removed, and none that it added", () => {
  using phb = new SpaprPhb({ index: 0 });
  const table = phb.defaultWindow;
  let added: TceTable | undefined;
  const undone = () =>
    transaction(() => {
      assert(phb.removeWindow(table!));
      assertEquals(phb.windows, []);
      added = phb.addWindow({ size: 0x1000n, window: 5 });
      assertEquals(phb.windows, [added]);
      throw new Error("change of mind");
    });
  assertThrows(undone, Error, "change of mind");
  assertEquals(phb.windows, [table!]);
  assertEquals([isLive(table!), phb.space.translate(0n).kind], [true, "fault"]);
  phb.addWindow({ size: 0x1000n, window: 5 });
  assertEquals([isLive(table!), phb.windows.length], [true, 2]);
});

Deno.test("SpaprPhb has the windows again that a refused transaction removed", () => {
  using phb = new SpaprPhb({ index: 0 });
  const table = phb.defaultWindow;
  let refuses = false;
  phb.space.addListener(refusing({ commit: () => refuses && !(refuses = false) }));
  refuses = true;
  assertThrows(() => transaction(() => phb.removeWindow(table)), IommuError, "commit");
  assertEquals([phb.windows.length, isLive(table)], [1, true]);
});

Deno.test("SpaprPhb disposes of a table that a transaction removed when the next window comes or goes, or with itself", () => {
  const phb = new SpaprPhb({ index: 0 });
  const first = phb.defaultWindow;
  transaction(() => phb.removeWindow(first));
  assertEquals([phb.windows.length, isLive(first)], [0, true]);
  const second = phb.addWindow({ size: 0x1000n });
  assertEquals([isLive(first), isLive(second)], [false, true]);
  transaction(() => {
    phb.removeWindow(second);
    phb.addTable(second);
  });
  phb.addWindow({ size: 0x1000n });
  assertEquals([phb.windows.length, isLive(second)], [2, true], "it is a window again");
  transaction(() => phb.removeWindow(second));
  phb[Symbol.dispose]();
  assertEquals([phb.windows.length, isLive(second)], [0, false]);
});

Deno.test("SpaprPhb cannot be disposed of, nor lose a window, while listeners are told of a change", () => {
  using phb = new SpaprPhb({ index: 0 });
  const table = phb.defaultWindow;
  const errors: unknown[] = [];
  phb.space.addListener({
    regionAdd: ({ region }) => {
      if (region.name !== "tce-iommu-80000001") return;
      for (const act of [() => phb.removeWindow(table), () => phb[Symbol.dispose]()]) {
        errors.push(assertThrows(act, IommuError).code);
      }
    },
  });
  phb.addWindow({ size: 0x1000n, busOffset: 1n << 59n });
  assertEquals(errors, ["change-in-progress", "change-in-progress"]);
  assertEquals([phb.windows.length, isLive(table)], [2, true]);
});

Deno.test("SpaprPhb says that all windows are taken, also of the last bridge", () => {
  for (const index of [1, 0x7f_ffff]) {
    using phb = new SpaprPhb({ index });
    for (let window = 1; window < 256; window++) phb.addWindow({ size: 0x1000n, window });
    const error = assertThrows(() => phb.addWindow({ size: 0x1000n }), IommuError, "all 256 are taken");
    assertEquals(error.code, "duplicate-liobn");
  }
});

Deno.test("SpaprPhb takes no disposed table, and null for nothing", () => {
  using phb = new SpaprPhb({ index: 0 });
  const table = new TceTable({ liobn: 0x8000_0001, entries: 1 });
  table[Symbol.dispose]();
  assertEquals(assertThrows(() => phb.addTable(table), IommuError).code, "disposed");
  assertEquals(phb.windows.length, 1);
  for (const field of ["pageShift", "window", "busOffset", "size"]) {
    assertThrows(() => phb.addWindow({ size: 0x1000n, [field]: null }), TypeError, field);
  }
});
