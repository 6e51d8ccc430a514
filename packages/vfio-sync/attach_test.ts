import { IommuError } from "@giommu/core";
import { AddressSpace, IommuMemoryRegion, MemoryRegion, RamRegion, registerNotifier } from "@giommu/memory-api";
import { IommuNotifier, IommuNotifierFlag } from "@giommu/notifiers";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { GuestTable } from "./_guest_table_test.ts";
import type { VfioContainerInit } from "./container_options.ts";
import { SimulatedHost } from "./simulated_host.ts";
import { SimulatedSpaprHost } from "./simulated_spapr_host.ts";
import { VfioContainer } from "./vfio_container.ts";

/** A bus with a table at an address. */
function bus(table: GuestTable, at = 0n): AddressSpace {
  const root = new MemoryRegion({ name: "bus", size: 2n ** 64n });
  root.addSubregion(at, table.region);
  return new AddressSpace({ name: "pci0", root });
}

Deno.test("attach() maps one host page per guest page where the host does not split, and whole runs where it does", () => {
  for (const [split, maps] of [["none", 5], ["atomic", 2]] as const) {
    const table = new GuestTable({ pages: 16 });
    table.map(1, 4, 0x10000n);
    table.map(5, 1, 0x90000n, 1);
    using space = bus(table);
    const host = new SimulatedHost({ rules: "iommufd", split });
    using container = new VfioContainer({ host });
    const report = container.attach(space, { countMaps: true });
    assertEquals([report.pages, report.extents, report.hostMaps], [5n, 2, maps]);
    assertEquals(report.maps, { none: 5, call: 5, full: 2 });
    assertEquals([report.policy.asked, report.policy.coalesce, report.policy.split], [
      "auto",
      split === "atomic" ? "full" : "none",
      split,
    ]);
    assertEquals([report.space, report.host, report.joined, report.devices], ["pci0", "iommufd", false, 1]);
    assert(report.nanoseconds > 0);
    assertEquals(host.translate(0x5008n), { gpa: 0x90008n, perm: 1 });
  }
});

Deno.test("attach() maps RAM whole, ROM without write, and reports what is in no whole page of the host", () => {
  const root = new MemoryRegion({ name: "root", size: 2n ** 64n });
  root.addSubregion(0n, new RamRegion({ name: "ram", size: 0x20_0000n }));
  root.addSubregion(0xf_0000n, new RamRegion({ name: "bios", size: 0x1_0000n, readonly: true }), { priority: 1 });
  root.addSubregion(0x100_0800n, new RamRegion({ name: "odd", size: 0x3000n }));
  root.addSubregion(0x200_0000n, new RamRegion({ name: "tiny", size: 0x1234n }));
  using space = new AddressSpace({ name: "system", root });
  const host = new SimulatedHost({ rules: "type1" });
  using container = new VfioContainer({ host });
  const report = container.attach(space);
  assertEquals([report.ramSections, report.problems, report.hostMaps], [4, 2, 4]);
  assertEquals(
    [...host.mappings()].map(({ iova, perm, ram, ramOffset }) => [iova.start, iova.last, perm, ram?.name, ramOffset]),
    [
      [0n, 0xe_ffffn, 3, "ram", 0n],
      [0xf_0000n, 0xf_ffffn, 1, "bios", 0n],
      [0x10_0000n, 0x1f_ffffn, 3, "ram", 0x10_0000n],
      [0x200_0000n, 0x200_0fffn, 3, "tiny", 0n],
    ],
  );
  assertEquals(container.problems.map(({ code, range }) => [code, range?.start]), [
    ["page-too-fine", 0x100_0800n],
    ["page-too-fine", 0x200_0000n],
  ]);
});

Deno.test("attach() refuses sixteen adjoining 4 KiB entries on a 64 KiB host, and so does a live change", () => {
  const table = new GuestTable({ pages: 64 });
  table.map(16, 16, 0x10_0000n);
  using space = bus(table);
  const host = new SimulatedHost({ pageSize: 0x10000n });
  using container = new VfioContainer({ host });
  const error = assertThrows(
    () => container.attach(space),
    IommuError,
    "0x1000 are finer than the smallest page of sim, 0x10000",
  );
  assertEquals([error.code, error.range], ["page-too-fine", { start: 0x10000n, last: 0x1ffffn }]);
  assert(error.remedy !== undefined);
  assertEquals([host.calls, table.region.notifiers.size, space.listeners.length], [0, 0, 0]);

  table.unmap(16, 16);
  container.attach(space);
  const { status, error: refusal } = table.map(16, 16, 0x10_0000n);
  assertEquals([status, refusal?.code], ["refused", "page-too-fine"]);
  assertEquals([table.pages.size, host.calls, container.failed], [0, 0, undefined]);
});

Deno.test("attach() refuses sPAPR's 64-bit window on a host of 48 bits before the first host call, and says what helps", () => {
  const table = new GuestTable({ pages: 16 });
  table.map(0, 4, 0n);
  const low = new GuestTable({ pages: 4 });
  low.map(0, 4, 0n);
  const root = new MemoryRegion({ name: "bus", size: 2n ** 64n });
  root.addSubregion(0n, low.region);
  root.addSubregion(1n << 59n, table.region);
  using space = new AddressSpace({ name: "pci0", root });
  const host = new SimulatedHost({ rules: "type1" });
  using container = new VfioContainer({ host });
  const error = assertThrows(
    () => container.attach(space),
    IommuError,
    "Cannot attach type1 to pci0, as it cannot hold window",
  );
  assertEquals([error.code, error.range?.start], ["iova-out-of-range", 1n << 59n]);
  assert(error.message.includes("0xfef00000..0xffffffffffff"));
  assert(error.remedy?.includes("dma64_win_addr"));
  assertEquals([host.calls, low.region.notifiers.size, container.space], [0, 0, undefined]);
});

Deno.test("attach() refuses too many mappings before the first host call, with the numbers and the remedies", () => {
  const table = new GuestTable({ pages: 64 });
  for (let i = 0; i < 40; i += 4) table.map(i, 3, BigInt(i) << 20n);
  using space = bus(table);
  const host = new SimulatedHost({ rules: "type1", maxMappings: 20 });
  using container = new VfioContainer({ host });
  const error = assertThrows(
    () => container.attach(space),
    IommuError,
    "room for 20 mappings, and one per page makes 30",
  );
  assertEquals(error.code, "mapping-limit");
  for (const word of ["iommufd", "dma_entry_limit to 30", "larger IOMMU pages", '"full" (10 mappings)']) {
    assert(error.remedy?.includes(word), word);
  }
  assertEquals([error.message.match(/Cannot/g)?.length, error.remedy?.includes("--")], [1, false]);
  assertEquals(host.calls, 0);
  // With coalescing there is room; the report names it.
  using coalesced = new VfioContainer({ host, coalesce: "full", allowDmaHoles: true });
  const { hostMaps, policy } = coalesced.attach(space);
  assertEquals([hostMaps, policy.coalesce, policy.holes], [10, "full", "allowed"]);
});

Deno.test("attach() is refused and undone whichever host call fails", () => {
  const table = new GuestTable({ pages: 16 });
  table.map(0, 6, 0n);
  const root = new MemoryRegion({ name: "bus", size: 2n ** 64n });
  root.addSubregion(0n, table.region);
  root.addSubregion(0x100000n, new RamRegion({ name: "ram", size: 0x10000n }));
  using space = new AddressSpace({ name: "pci0", root });
  for (let k = 1; k <= 7; k++) {
    const host = new SimulatedHost({ rules: "type1", failAt: [{ call: k, errno: "ENOMEM" }] });
    using container = new VfioContainer({ host });
    const error = assertThrows(() => container.attach(space), IommuError, "type1 refused MAP");
    assertEquals([error.code, host.size, table.region.notifiers.size, space.listeners.length], [
      "host-refused",
      0,
      0,
      0,
    ]);
    assertEquals(container.attach(space).hostMaps, 7);
  }
});

Deno.test("attach() that cannot be undone fails the container and says what the host still holds", () => {
  const table = new GuestTable({ pages: 16 });
  table.map(0, 6, 0n);
  using space = bus(table);
  const host = new SimulatedHost({ rules: "type1", failAt: [{ call: 4 }, { call: ({ call }) => call === "UNMAP" }] });
  const container = new VfioContainer({ host });
  const error = assertThrows(() => container.attach(space), IommuError, "cannot undo");
  assertEquals([error.code, error.ranges], ["rollback-failed", [{ start: 0n, last: 0x2fffn }]]);
  assertEquals(container.failed?.ranges, error.ranges);
  assertEquals([table.region.notifiers.size, space.listeners.length], [0, 0]);
  assertEquals(assertThrows(() => container.attach(space), IommuError).code, "container-failed");
  assertEquals(container.plan(space).refusal?.code, "container-failed");
  assertEquals(assertThrows(() => container.detach(), IommuError).ranges, error.ranges);
  host.failNoMore();
  container.detach();
  assertEquals(host.size, 0);
  container.dispose();
});

Deno.test("attach() that cannot be undone tells what began it, and what failed then", () => {
  const table = new GuestTable({ pages: 16 });
  table.map(0, 3, 0n);
  using space = bus(table);
  const host = new SimulatedHost({ rules: "type1", failAt: [{ call: 3, errno: "ENOMEM" }] });
  host.failWhen({ call: ({ call }) => call === "UNMAP", errno: "EIO" });
  using container = new VfioContainer({ host });
  const error = assertThrows(() => container.attach(space), IommuError, "refused MAP of 0x2000..0x2fff with ENOMEM");
  host.failNoMore();
  assertEquals([error.code, error.message.includes("with EIO")], ["rollback-failed", true]);
  assert(error.cause instanceof AggregateError);
  const [refusal, ...failures] = error.cause.errors;
  assertEquals([refusal.code, refusal.cause.errno], ["host-refused", "ENOMEM"]);
  assertEquals(failures.map(({ code }) => code), ["unmap-failed"]);
});

Deno.test("attach() whose undo fails once and then succeeds tells the refusal that began it: nothing is left over", () => {
  const table = new GuestTable({ pages: 16 });
  table.map(0, 3, 0n);
  using space = bus(table);
  const failAt = [{ call: 3, errno: "ENOMEM" }, { call: 4, errno: "EIO" }] as const;
  const host = new SimulatedHost({ rules: "type1", failAt });
  using container = new VfioContainer({ host });
  const error = assertThrows(() => container.attach(space), IommuError, "ENOMEM");
  assertEquals([error.code, error.ranges.length, host.size], ["host-refused", 1, 0]);
  assertEquals(container.failed?.code, "unmap-failed"); // its device was cut off all the same
});

Deno.test("a mapping limit for which no policy helps suggests none", () => {
  const table = new GuestTable({ pages: 64 });
  for (let i = 0; i < 60; i += 2) table.map(i, 1, BigInt(i) << 20n);
  using space = bus(table);
  using container = new VfioContainer({ host: new SimulatedHost({ rules: "type1", maxMappings: 20 }) });
  const { remedy } = assertThrows(() => container.attach(space), IommuError, "makes 30");
  assertEquals(remedy?.includes("coalesce"), false);
});

Deno.test("a misspelt option of a container, an attach or a simulated host is refused", () => {
  // deno-lint-ignore no-explicit-any
  const untyped = (options: object): any => options;
  const host = new SimulatedHost();
  assertThrows(() => new VfioContainer(untyped({ host, cutoff: () => {} })), TypeError, "there is no cutoff");
  assertThrows(() => new SimulatedHost(untyped({ maxMapings: 3 })), TypeError, "there is no maxMapings");
  assertThrows(() => new SimulatedSpaprHost(untyped({ window: 3 })), TypeError, "there is no window");
  using container = new VfioContainer({ host });
  using space = bus(new GuestTable({ pages: 16 }));
  assertThrows(() => container.attach(space, untyped({ countmaps: true })), TypeError, "there is no countmaps");
  assertEquals(container.space, undefined);
});

Deno.test("attach() a second time shares the mappings; the last detach() takes them along", () => {
  const table = new GuestTable({ pages: 16 });
  table.map(0, 6, 0n);
  using space = bus(table);
  using other = new AddressSpace({ name: "other", root: new MemoryRegion({ name: "empty", size: 0x1000n }) });
  const host = new SimulatedHost();
  using container = new VfioContainer({ host });
  container.attach(space);
  const joined = container.attach(space);
  assertEquals([joined.joined, joined.devices, joined.pages, joined.hostMaps], [true, 2, 0n, 0]);
  assertEquals([host.calls, table.region.notifiers.size], [1, 1]);
  assertEquals(container.plan(space), { pages: 0n, extents: 0, ramSections: 0, hostMaps: 0, bytes: 0n, problems: [] });
  assertEquals(assertThrows(() => container.attach(other), IommuError).code, "already-attached");
  container.detach();
  assertEquals([container.devices, host.size], [1, 1]);
  container.detach();
  assertEquals([container.devices, host.size, container.space, table.region.notifiers.size], [0, 0, undefined, 0]);
  container.detach();
  assertEquals(container.attach(other).pages, 0n);
});

Deno.test("plan() tells what an attach would take and asks the host nothing", () => {
  const table = new GuestTable({ pages: 16 });
  table.map(0, 6, 0n);
  const root = new MemoryRegion({ name: "bus", size: 2n ** 64n });
  root.addSubregion(0n, table.region);
  root.addSubregion(0x100000n, new RamRegion({ name: "ram", size: 0x10000n }));
  using space = new AddressSpace({ name: "pci0", root });
  const host = new SimulatedHost({ rules: "type1" });
  using container = new VfioContainer({ host });
  const { pages, extents, ramSections, hostMaps, bytes, refusal, problems } = container.plan(space);
  assertEquals([pages, extents, ramSections, hostMaps, bytes, refusal, problems], [
    6n,
    1,
    1,
    7,
    0x16000n,
    undefined,
    [],
  ]);
  assertEquals([host.calls, container.size, table.region.notifiers.size], [0, 0, 0]);
});

Deno.test("attach() passes on why an IOMMU refuses a notifier for MAP", () => {
  const iommu = new IommuMemoryRegion({
    name: "vtd",
    size: 0x1000n,
    translate: () => undefined,
    flagsChanged: (_, next) => {
      if (next & IommuNotifierFlag.MAP) throw new Error("caching mode is off");
    },
  });
  using space = new AddressSpace({ name: "pci0", root: iommu });
  using container = new VfioContainer({ host: new SimulatedHost() });
  const error = assertThrows(() => container.attach(space), IommuError, "caching mode is off");
  assertEquals([error.code, space.listeners.length, container.space], ["notifier-refused", 0, undefined]);
});

Deno.test("attach() to 2^64 bytes that one entry maps takes one host call, and detach() one more", () => {
  const whole = { start: 0n, last: 2n ** 64n - 1n };
  const iommu = new IommuMemoryRegion({
    name: "identity",
    size: 2n ** 64n,
    translate: () => ({ iova: whole, target: 0n, perm: 3, pageSize: 2n ** 64n }),
  });
  using space = new AddressSpace({ name: "pci0", root: iommu });
  const host = new SimulatedHost();
  using container = new VfioContainer({ host });
  container.attach(space);
  assertEquals([...host.mappings()].map(({ iova }) => iova), [whole]);
  container.detach();
  assertEquals([host.calls, host.size], [2, 0]);
});

Deno.test("VfioContainer refuses options that make no container", () => {
  const host = new SimulatedHost({ rules: "type1" });
  const make = (options: Partial<VfioContainerInit>) => () => new VfioContainer({ host, ...options });
  assertThrows(make({ coalesce: "most" as "full" }), RangeError, "most");
  assertThrows(make({ staticWindows: [{ start: 1n, last: 0n }] }), RangeError, "staticWindows");
  for (const coalesce of ["call", "full"] as const) {
    assertEquals(assertThrows(make({ coalesce }), IommuError).code, "dma-holes-not-allowed");
    make({ coalesce, allowDmaHoles: true })().dispose();
    make({ coalesce, quiesce: () => {} })().dispose();
  }
  const bad = (info: object) => ({ host: { ...host, info: { ...host.info, ...info }, map() {}, unmap: () => 0n } });
  assertThrows(make(bad({ pageSizes: 0n })), RangeError, "page sizes");
  assertThrows(make(bad({ pageSizes: 2n ** 64n })), RangeError, "page sizes");
  assertThrows(make(bad({ maxMappings: 1.5 })), RangeError, "maxMappings");
  assertThrows(make(bad({ iovaRanges: [{ start: -1n, last: 0n }] })), RangeError, "iovaRanges");
  const windows = { count: 2, pageSizes: 0x1000n, levels: 1 };
  assertThrows(make(bad({ windows })), TypeError, "createWindow");
  const able = { map() {}, unmap: () => 0n, createWindow: () => 0n, removeWindow() {} };
  const odd = { info: { ...host.info, windows: { ...windows, levels: 0 } }, ...able };
  assertThrows(make({ host: odd }), RangeError, "windows.levels");
  const mute = { info: host.info, ...able, dirty: { precision: "written" } };
  assertThrows(make({ host: mute as unknown as typeof host }), TypeError, "host.dirty.start");
  assertThrows(make({ headroom: 0.5 }), RangeError, "headroom");
});

Deno.test("VfioContainer that was disposed says so, and disposing twice is silent", () => {
  using space = bus(new GuestTable({ pages: 1 }));
  const container = new VfioContainer({ host: new SimulatedHost() });
  container.attach(space);
  const mappings = container.mappings()[Symbol.iterator]();
  container.dispose();
  container.dispose();
  assertEquals(assertThrows(() => mappings.next(), IommuError).code, "disposed");
  for (
    const use of [
      () => container.attach(space),
      () => container.attachSteps(space),
      () => container.plan(space),
      () => container.detach(),
      () => container.size,
      () => container.counters,
      () => container.mappings(),
    ]
  ) {
    assertEquals(assertThrows(use, IommuError).code, "disposed");
  }
  assertEquals([container.space, container.failed, container.devices], [undefined, undefined, 0]);
});

Deno.test("VfioContainer leaves other listeners of the same IOMMU alone", () => {
  const table = new GuestTable({ pages: 4 });
  const heard: number[] = [];
  registerNotifier(
    table.region,
    new IommuNotifier({ flags: IommuNotifierFlag.IOTLB_EVENTS, notify: ({ type }) => heard.push(type) }),
  );
  using space = bus(table);
  {
    using container = new VfioContainer({ host: new SimulatedHost() });
    container.attach(space);
    assertEquals(table.region.notifiers.size, 2);
  }
  assertEquals(table.region.notifiers.size, 1);
  table.map(0, 1, 0n);
  assertEquals(heard, [IommuNotifierFlag.MAP]);
});

Deno.test("attach() to something that is no AddressSpace is refused and leaves the container as it was", () => {
  const table = new GuestTable({ pages: 4 });
  table.map(0, 2, 0n);
  using space = bus(table);
  using container = new VfioContainer({ host: new SimulatedHost() });
  for (const wrong of [{}, 5, null, undefined]) {
    const no = wrong as unknown as AddressSpace;
    assertThrows(() => container.attach(no), TypeError, "AddressSpace");
    assertThrows(() => container.attachSteps(no), TypeError, "AddressSpace");
    assertThrows(() => container.plan(no), TypeError, "AddressSpace");
  }
  assertThrows(() => container.attach(space, null as unknown as object), TypeError, "options");
  assertThrows(() => container.attachSteps(space, { plan: 1 as unknown as boolean }), TypeError, "plan");
  const gone = new AddressSpace({ name: "gone", root: table.region });
  gone.dispose();
  for (const attach of [() => container.attach(gone), () => container.attachSteps(gone), () => container.plan(gone)]) {
    assertEquals(assertThrows(attach, IommuError).code, "disposed");
  }
  container.detach();
  assertEquals([container.space, container.attach(space).devices], [undefined, 1]);
});

Deno.test("attach() that fails to count maps is undone", () => {
  let walks = 0;
  const region = new IommuMemoryRegion({
    name: "moody",
    size: 0x4000n,
    translate: () => undefined,
    *replay() {
      if (++walks >= 3) throw new Error("third walk");
      yield { iova: { start: 0n, last: 0xfffn }, target: 0n, perm: 3, pageSize: 0x1000n };
    },
  });
  using space = new AddressSpace({ name: "bus", root: region });
  const host = new SimulatedHost();
  using container = new VfioContainer({ host });
  assertThrows(() => container.attach(space, { countMaps: true }), Error, "third walk");
  assertEquals([container.space, container.devices, host.size, host.calls], [undefined, 0, 0, 2]);
  assertEquals([region.notifiers.size, space.listeners.length], [0, 0]);
});

Deno.test("an attach in steps that fails is undone although an IOMMU does not want to be left", () => {
  const table = new GuestTable({ pages: 16 });
  table.map(0, 6, 0n);
  const region = new IommuMemoryRegion({
    name: "clingy",
    size: 0x4000n,
    translate: () => undefined,
    flagsChanged: (_, next) => {
      if (next === IommuNotifierFlag.NONE) throw new Error("stay");
    },
  });
  const root = new MemoryRegion({ name: "bus", size: 2n ** 64n });
  root.addSubregion(0n, region);
  root.addSubregion(0x10_0000n, table.region);
  using space = new AddressSpace({ name: "pci0", root });
  const host = new SimulatedHost({ rules: "type1", failAt: [{ call: 4 }] });
  const container = new VfioContainer({ host });
  const steps = container.attachSteps(space);
  assertThrows(
    () => {
      while (!steps.step(100).done);
    },
    IommuError,
    "refused MAP",
  );
  assertEquals([container.space, host.size, space.listeners.length], [undefined, 0, 0]);
  assertEquals([region.notifiers.size, table.region.notifiers.size], [0, 0]);
  container.attach(space);
  assertThrows(() => container.detach(), Error, "stay");
  assertEquals([container.space, host.size, region.notifiers.size], [undefined, 0, 0]);
  container.dispose();
});

Deno.test("a container refuses options of the wrong kind", () => {
  const make = (options: object) => () =>
    new VfioContainer({ host: new SimulatedHost({ rules: "type1" }), ...options } as VfioContainerInit);
  const { info } = new SimulatedHost();
  const host = (wrong: object) => ({ host: { map() {}, unmap: () => 0n, info: { ...info, ...wrong } } });
  const wrongs: [object, string][] = [
    [{ quiesce: true, coalesce: "full" }, "quiesce"],
    [{ cutOff: 5 }, "cutOff"],
    [{ memory: {} }, "memory"],
    [{ allowDmaHoles: "yes" }, "allowDmaHoles"],
    [{ staticWindows: 5 }, "staticWindows"],
    [{ staticWindows: [null] }, "staticWindows"],
    [{ host: undefined }, "host"],
    [{ host: {} }, "host.map"],
    [{ host: { map() {}, unmap() {} } }, "host.info"],
    [host({ unmapWide: 1 }), "host.info.unmapWide"],
    [host({ writeOnly: undefined }), "host.info.writeOnly"],
    [host({ name: 5 }), "host.info.name"],
    [host({ iovaRanges: 5 }), "host.info.iovaRanges"],
    [host({ split: 5 }), "host.info.split"],
  ];
  for (const [options, what] of wrongs) assertThrows(make(options), TypeError, what);
  assertThrows(make(host({ split: "weird" })), RangeError, "split");
  make(host({}))().dispose();
});
