import { type IommuError, joinRanges } from "@giommu/core";
import { AddressSpace, MemoryRegion, RamRegion } from "@giommu/memory-api";
import { mapEvent, unmapEvent } from "@giommu/notifiers";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { flatten, GuestTable } from "./_guest_table_test.ts";
import type { VfioContainerInit } from "./container_options.ts";
import type { SimulatedHostOptions } from "./simulated_host.ts";
import { SimulatedHost } from "./simulated_host.ts";
import { verify } from "./verify.ts";
import { VfioContainer } from "./vfio_container.ts";

const AT = 0x10_0000n;

/** A table with six pages mapped, attached. */
function setUp(hostOptions: SimulatedHostOptions = {}, options: Omit<VfioContainerInit, "host"> = {}) {
  const table = new GuestTable({ pages: 32 });
  table.map(0, 6, 0x40000n);
  const root = new MemoryRegion({ name: "bus", size: 2n ** 64n });
  root.addSubregion(AT, table.region);
  const space = new AddressSpace({ name: "pci0", root });
  const host = new SimulatedHost(hostOptions);
  const container = new VfioContainer({ host, ...options });
  container.attach(space);
  return { table, space, host, container };
}

Deno.test("a change in place is one UNMAP and one MAP of just that page", () => {
  for (const rules of ["none", "type1", "iommufd", "spapr"] as const) {
    const calls: string[] = [];
    const { table, container } = setUp({
      rules,
      observe: ({ call, range }) =>
        calls.push(`${call} ${(range.start - AT).toString(16)}-${(range.last - AT).toString(16)}`),
    });
    calls.length = 0;
    assertEquals(table.map(2, 1, 0x90000n).status, "done");
    // sPAPR exchanges: the device never finds nothing there.
    assertEquals(calls, rules === "spapr" ? ["MAP 2000-2fff"] : ["UNMAP 2000-2fff", "MAP 2000-2fff"]);
    assert(verify(container).agrees);
    container.dispose();
  }
});

Deno.test("adjoining pages that one guest call unmaps are one wide UNMAP where the host takes it", () => {
  for (const [unmapWide, unmaps] of [[true, 1], [false, 4]] as const) {
    const { table, host, container } = setUp({ rules: "type1", unmapWide });
    table.unmap(1, 4);
    assertEquals([container.counters.unmaps, host.size], [unmaps, 2]);
    container.dispose();
  }
});

Deno.test("a MAP that the host refuses is refused to the guest, both sides are as before", () => {
  const { table, host, container } = setUp({ rules: "type1", maxMappings: 8 });
  const before = flatten(host.mappings());
  const pages = new Map(table.pages);
  // Three pages more, one of them in place: there is room for two.
  const { status, error, lost } = table.map(5, 4, 0x80000n);
  assertEquals([status, error?.code, lost], ["refused", "mapping-limit", []]);
  assert(error?.remedy?.includes("dma_entry_limit"));
  assertEquals([flatten(host.mappings()), table.pages], [before, pages]);
  assertEquals(container.failed, undefined);
  container.dispose();
});

Deno.test("a refused MAP puts back every container on the bus, and the guest's entry", () => {
  const { table, space, host, container } = setUp();
  const failing = new SimulatedHost({
    failAt: [{ call: ({ range, call }) => call === "MAP" && range.last >= AT + 0x8000n }],
  });
  using second = new VfioContainer({ host: failing });
  second.attach(space);
  const before = flatten(host.mappings());
  assertEquals(table.map(4, 8, 0x80000n).status, "refused");
  assertEquals([flatten(host.mappings()), flatten(failing.mappings())], [before, before]);
  assert(verify(container).agrees && verify(second).agrees);
  assertEquals(table.map(6, 1, 0x80000n).status, "done");
  assert(verify(container).agrees && verify(second).agrees);
  second.dispose();
  container.dispose();
});

Deno.test("an old mapping that cannot be put back is nothing on both sides, for every container", () => {
  const { table, space, host, container } = setUp({ rules: "type1" });
  // The second host takes no MAP any more once attached: neither the new mapping nor the old one.
  let dead = false;
  const failing = new SimulatedHost({
    rules: "type1",
    failAt: [{ call: ({ call }) => dead && call === "MAP", errno: "EIO" }],
  });
  using second = new VfioContainer({ host: failing });
  second.attach(space);
  dead = true;
  const { status, error, lost } = table.map(2, 2, 0x90000n);
  assertEquals([status, error?.code, lost], ["refused", "mapping-lost", [{ start: 0x2000n, last: 0x3fffn }]]);
  assertEquals([table.pages.has(2n), table.pages.has(3n), table.pages.has(4n)], [false, false, true]);
  for (const on of [host, failing]) assertEquals([on.translate(AT + 0x2000n), on.size], [undefined, 4]);
  assertEquals([container.failed, second.failed], [undefined, undefined]);
  assert(verify(container).agrees && verify(second).agrees);
  container.dispose();
});

Deno.test("an UNMAP that fails fails the container, cuts its device off, and lets the others go on", () => {
  const cut: IommuError[] = [];
  const { table, space, host, container } = setUp({ rules: "type1" }, { cutOff: (error) => cut.push(error) });
  const other = new SimulatedHost();
  using second = new VfioContainer({ host: other });
  second.attach(space);
  host.failWhen({ call: ({ call, range }) => call === "UNMAP" && range.start === AT + 0x2000n, errno: "EIO" });
  // One guest call: page 2 goes, page 4 goes, page 8 comes.
  const { status, error } = table.write(2, [undefined, { target: 0x43000n, perm: 3 }, undefined]);
  assertEquals([status, error?.code], ["unmap-failed", "unmap-failed"]);
  assertEquals([table.pages.has(2n), table.pages.has(4n)], [false, false]);
  // What the host would unmap is unmapped all the same.
  assertEquals([host.translate(AT + 0x2000n)?.gpa, host.translate(AT + 0x4000n)], [0x42000n, undefined]);
  assertEquals(container.failed?.ranges, [{ start: AT + 0x2000n, last: AT + 0x2fffn }]);
  assertEquals([cut.length, cut[0]?.code], [1, "unmap-failed"]);
  assert(cut[0]?.message.includes("type1 refused UNMAP of 0x102000..0x102fff with EIO"));
  // The others go on; the failed one does nothing more.
  assertEquals(table.region.notifiers.size, 1);
  const { calls } = host;
  assertEquals(table.map(9, 1, 0x99000n).status, "done");
  assertEquals([host.calls, other.translate(AT + 0x9000n)?.gpa], [calls, 0x99000n]);
  assert(verify(second).agrees);
  assertEquals(assertThrows(() => container.attach(space), Error, "failed earlier").name, "IommuError");
  host.failNoMore();
  container.detach();
  assertEquals(host.size, 0);
  container.dispose();
});

Deno.test("a rollback that fails fails the container and lists what differs", () => {
  const { table, host, container } = setUp({ rules: "type1" });
  const first = host.calls;
  // UNMAP pages 2 and 3, MAP page 2, refuse page 3, refuse to take page 2 away again.
  for (const call of [first + 3, first + 4]) host.failWhen({ call, errno: "EIO" });
  const { status, error } = table.map(2, 2, 0x90000n);
  assertEquals([status, error?.code], ["refused", "rollback-failed"]);
  assertEquals(container.failed?.code, "rollback-failed");
  const { ranges, agrees } = verify(container);
  assertEquals([agrees, joinRanges(ranges.map(({ iova }) => iova))], [false, [...container.failed?.ranges ?? []]]);
  assertEquals(table.region.notifiers.size, 0);
  host.failNoMore();
  container.dispose();
  assertEquals(host.size, 0);
});

Deno.test("what another container lost is unmapped everywhere, also behind an UNMAP that fails", () => {
  // Found by the model check: a container that failed of the first UNMAP was not told of the second.
  const { table, space, host, container } = setUp({ rules: "type1" });
  // It sees the table in two pieces, as page 4 is hidden; the one of page 5 is told first.
  const ram = new RamRegion({ name: "ram", size: 0x1000n });
  space.root.addSubregion(AT + 0x4000n, ram, { priority: 1 });
  const other = new SimulatedHost({ rules: "type1" });
  using second = new VfioContainer({ host: other });
  second.attach(space);
  // One refuses the new mapping of page 2, and later, when its old mapping is back, the first UNMAP; the other one does not
  // undo what it did.
  let isBack = false;
  host.failWhen({
    call: ({ call, gpa, range }) => {
      if (call === "MAP") isBack ||= gpa === 0x43000n;
      return call === "MAP" ? gpa === 0x90000n : isBack && range.start === AT + 0x5000n;
    },
  });
  let isNew = false;
  other.failWhen({
    call: ({ call, gpa }) => {
      isNew ||= gpa === 0x90000n;
      return isNew && call === "UNMAP";
    },
  });
  const { status, error } = table.write(2, [
    { target: 0x90000n, perm: 3 },
    { target: 0xa0000n, perm: 3 },
    { target: 0x44000n, perm: 3 }, // as before
    { target: 0xb0000n, perm: 3 },
  ]);
  assertEquals([status, error?.code], ["refused", "rollback-failed"]);
  assertEquals([2n, 3n, 4n, 5n].map((page) => table.pages.has(page)), [false, false, true, false]);
  const held = [2n, 3n, 4n, 5n].map((page) => host.translate(AT + (page << 12n))?.gpa);
  const hidden = AT + 0x4000n; // RAM, at the address where the bus shows it
  assertEquals(held, [undefined, undefined, hidden, 0x45000n]);
  assertEquals(container.failed?.ranges, [{ start: AT + 0x5000n, last: AT + 0x5fffn }]);
  assertEquals(second.failed?.code, "rollback-failed");
  for (const one of [host, other]) one.failNoMore();
  container.dispose();
  assertEquals(host.size, 0);
});

Deno.test("the cutOff hook may detach: what the host still takes is unmapped", () => {
  const cutOff: { now?: () => void } = {};
  const { table, host, container } = setUp({ rules: "type1" }, { cutOff: () => cutOff.now?.() });
  cutOff.now = () => container.detach();
  host.failWhen({ call: host.calls + 1, errno: "EIO" });
  assertEquals(table.unmap(2).status, "unmap-failed");
  assertEquals([host.size, container.space, table.region.notifiers.size], [0, undefined, 0]);
  assertEquals(container.failed?.ranges, []);
  assertEquals(table.map(2, 1, 0n).status, "done");
  container.dispose();
});

Deno.test("a cutOff hook that throws is a problem, and no more", () => {
  const { table, host, container } = setUp({}, {
    cutOff: () => {
      throw new Error("no such device");
    },
  });
  host.failWhen({ call: host.calls + 1 });
  assertEquals(table.unmap(2).status, "unmap-failed");
  assertEquals(container.problems.map(({ code }) => code), ["container-failed"]);
  host.failNoMore();
  container.dispose();
});

Deno.test("an UNMAP that unmaps less than was mapped is no success", () => {
  const { table, host, container } = setUp({ rules: "type1" });
  host.unmap({ start: AT + 0x2000n, last: AT + 0x2fffn });
  assertEquals(table.unmap(1, 3).status, "unmap-failed");
  assert(container.failed?.message.includes("unmapped 8192 of 12288 bytes"));
  container.dispose();
});

Deno.test("holes are made only where they are allowed, and counted page by page", () => {
  const { table, host, container } = setUp({ rules: "type1" }, { coalesce: "full", allowDmaHoles: true });
  assertEquals(host.size, 1);
  assertEquals(table.unmap(2).status, "done");
  const { holes, exposedPages, quiesced } = container.counters;
  assertEquals([holes, exposedPages, quiesced, host.size], [1, 5, 0, 2]);
  assert(verify(container).agrees);
  container.dispose();
});

Deno.test("a device that can be stopped is stopped before a hole, and goes on after it", () => {
  const heard: string[] = [];
  const { table, container } = setUp(
    { rules: "type1", observe: ({ call }) => heard.push(call) },
    {
      coalesce: "full",
      quiesce: () => {
        heard.push("stop");
        return () => heard.push("go");
      },
    },
  );
  heard.length = 0;
  table.unmap(2);
  assertEquals(heard, ["stop", "UNMAP", "MAP", "MAP", "go"]);
  const { exposedPages, quiesced } = container.counters;
  assertEquals([exposedPages, quiesced], [0, 1]);
  heard.length = 0;
  table.unmap(0, 2); // a whole map: nobody needs to stop
  assertEquals(heard, ["UNMAP"]);
  container.dispose();
});

Deno.test("a device that does not go on is a problem, not a reason to undo anything", () => {
  const { table, container } = setUp({ rules: "type1" }, {
    coalesce: "full",
    quiesce: () => () => {
      throw new Error("it fell asleep");
    },
  });
  assertEquals(table.unmap(2).status, "done");
  assertEquals([container.failed, container.problems.length], [undefined, 1]);
  assert(container.problems[0]?.message.includes("it fell asleep"));
  assert(verify(container).agrees);
  container.dispose();
});

Deno.test("a device that does not stop keeps its mapping, and the container is failed", () => {
  const { table, host, container } = setUp({ rules: "type1" }, {
    coalesce: "full",
    quiesce: () => {
      throw new Error("it does not listen");
    },
  });
  assertEquals(table.unmap(2).status, "unmap-failed");
  assertEquals([host.size, container.failed?.code, container.failed?.ranges], [1, "unmap-failed", [{
    start: AT + 0x2000n,
    last: AT + 0x2fffn,
  }]]);
  assert(container.failed?.message.includes("it does not listen"));
  container.dispose();
});

Deno.test("a static window is coalesced on any host; a part of it that goes all the same fails the container", () => {
  const window = { start: AT, last: AT + 0x1ffffn };
  const { table, host, container } = setUp({ rules: "type1" }, { coalesce: "static", staticWindows: [window] });
  assertEquals([host.size, container.policy.coalesce, container.policy.holes], [1, "none", "forbidden"]);
  assertEquals(table.unmap(0, 6).status, "done");
  assertEquals(table.map(0, 4, 0x40000n).status, "done");
  assertEquals(table.unmap(1).status, "unmap-failed");
  assert(container.failed?.cause instanceof Error);
  assertEquals((container.failed.cause as IommuError).code, "dma-holes-not-allowed");
  assertEquals(host.size, 1);
  container.dispose();
});

Deno.test("write-only is exact where the host has it, else widened and counted; read-only never is", () => {
  for (const writeOnly of [true, false]) {
    const { table, host, container } = setUp({ writeOnly });
    table.map(10, 2, 0x80000n, 2);
    table.map(12, 1, 0x90000n, 1);
    assertEquals(host.translate(AT + 0xa000n)?.perm, writeOnly ? 2 : 3);
    assertEquals(host.translate(AT + 0xc000n)?.perm, 1);
    assertEquals(container.counters.widenedPages, writeOnly ? 0 : 2);
    assert(verify(container).agrees);
    container.dispose();
  }
});

Deno.test("what points to no RAM is stored by the guest, not mapped, and reported", () => {
  const root = new MemoryRegion({ name: "memory", size: 2n ** 64n });
  root.addSubregion(0n, new RamRegion({ name: "low", size: 0x4000n }));
  root.addSubregion(0x4000n, new RamRegion({ name: "high", size: 0x4000n }));
  root.addSubregion(0x8000n, new RamRegion({ name: "rom", size: 0x1000n, readonly: true }));
  using memory = new AddressSpace({ name: "memory", root });
  const { table, host, container } = setUp({}, { memory });
  assertEquals([host.size, container.problems.length], [0, 1]); // 0x40000 is nothing
  // Two pages of RAM on either side of a border, ROM, nothing.
  assertEquals(table.map(8, 4, 0x6000n, 3).status, "done");
  assertEquals(table.map(16, 2, 0x3000n, 3).status, "done");
  assertEquals(table.map(20, 1, 0x8000n, 2).status, "done"); // write-only to ROM
  assertEquals(
    [...host.mappings()].map((
      { iova, gpa, perm, ram, ramOffset },
    ) => [iova.start - AT, gpa, perm, ram?.name, ramOffset]),
    [
      [0x8000n, 0x6000n, 3, "high", 0x2000n],
      [0xa000n, 0x8000n, 1, "rom", 0n],
      [0x10000n, 0x3000n, 3, "low", 0x3000n],
      [0x11000n, 0x4000n, 3, "high", 0n],
    ],
  );
  assertEquals(container.problems.map(({ code, range }) => [code, (range?.start ?? 0n) - AT]), [
    ["not-ram", 0n],
    ["not-ram", 0xb000n],
    ["not-ram", 0x14000n],
  ]);
  assertEquals(table.unmap(0, 32).status, "done");
  assertEquals([host.size, container.counters.problems], [0, 3]);
  container.dispose();
});

Deno.test("problems are kept up to a hundred, and counted beyond", () => {
  using memory = new AddressSpace({ name: "memory", root: new RamRegion({ name: "ram", size: 0x1000n }) });
  const { table, container } = setUp({}, { memory });
  for (let i = 0n; i < 300n; i++) table.map(i % 32n, 1, (i + 16n) << 16n);
  assertEquals([container.problems.length, container.counters.problems], [100, 301]);
  container.dispose();
});

Deno.test("a target in an address space that is not system memory is not mapped, and reported", () => {
  using p2p = new AddressSpace({ name: "device memory", root: new RamRegion({ name: "vram", size: 0x10000n }) });
  const table = new GuestTable({ pages: 4, space: p2p });
  table.map(0, 1, 0n);
  using bus = new AddressSpace({ name: "pci0", root: table.region });
  const host = new SimulatedHost();
  using container = new VfioContainer({ host });
  container.attach(bus);
  assertEquals(table.map(1, 1, 0x1000n).status, "done");
  assertEquals([host.size, container.problems.length], [0, 2]);
  assert(container.problems[0]?.message.includes("device memory"));
  assertEquals(verify(container).notRam, 2n);
  assertEquals(table.unmap(0, 2).status, "done");
});

Deno.test("a single event, outside of any change, is all or nothing as well", () => {
  const { table, host, container } = setUp({ rules: "type1", maxMappings: 8 });
  const entry = (first: bigint, pages: bigint) => ({
    iova: { start: first << 12n, last: ((first + pages) << 12n) - 1n },
    target: 0x80000n,
    perm: 3,
    pageSize: 0x1000n,
  } as const);
  table.region.notify(mapEvent(entry(8n, 2n)));
  assertEquals(host.size, 8);
  assertEquals(
    assertThrows(() => table.region.notify(mapEvent(entry(16n, 2n))), Error, "holds 8 of 8").name,
    "IommuError",
  );
  table.region.notify(unmapEvent(entry(8n, 4n).iova, 0x1000n));
  assertEquals(host.size, 6);
  host.failWhen({ call: host.calls + 2 });
  assertThrows(() => table.region.notify(mapEvent(entry(16n, 2n))));
  assertEquals([host.size, container.failed], [6, undefined]);
  // QEMU's change in place: MAP without UNMAP. It is refused and named, not lost.
  const overlap = assertThrows(() => table.region.notify(mapEvent(entry(0n, 1n))), Error, "is mapped already");
  assertEquals((overlap as IommuError).code, "overlap");
  container.dispose();
});

Deno.test("a host that changes the guest from inside its calls is told off, and nothing is broken", () => {
  const codes: (string | undefined)[] = [];
  const hook: { now?: () => void } = {};
  const { table, container } = setUp({ observe: () => hook.now?.() });
  const second = new GuestTable({ pages: 4 });
  const root = container.space?.root;
  root?.addSubregion(0x900000n, second.region);
  hook.now = () => {
    hook.now = () => {};
    codes.push(second.map(0, 1, 0n).error?.code);
  };
  assertEquals(table.map(10, 1, 0n).status, "done");
  assertEquals(codes, ["change-in-progress"]);
  assert(verify(container).differing === 0n && verify(container).stale === 0n);
  container.dispose();
});

Deno.test("a quiesce that returns neither nothing nor a function did not stop the device", () => {
  for (const [answer, what] of [[Promise.resolve(), "a Promise"], [null, "null"], [5, "number"]] as const) {
    const { table, host, container } = setUp({ rules: "type1" }, {
      coalesce: "full",
      quiesce: (() => answer) as unknown as () => void,
    });
    const { status, error } = table.unmap(2);
    assertEquals([status, error?.code, host.size], ["unmap-failed", "unmap-failed", 1]);
    const cause = container.failed?.cause;
    assert(cause instanceof TypeError && cause.message.includes(`quiesce returned ${what}`), String(cause));
    container.dispose();
  }
});

Deno.test("the time of holes is counted where a device runs in them, and only of holes", () => {
  const wait = { for: 0 };
  const { table, container } = setUp({
    rules: "type1",
    observe: () => {
      for (const end = performance.now() + wait.for; performance.now() < end;);
    },
  }, { coalesce: "full", allowDmaHoles: true });
  assertEquals(container.counters.exposedNanoseconds, 0);
  wait.for = 1;
  table.unmap(2); // UNMAP, MAP, MAP
  const { exposedNanoseconds } = container.counters;
  assert(exposedNanoseconds >= 3e6 && exposedNanoseconds < 3e9, String(exposedNanoseconds));
  table.unmap(0, 2); // a whole map
  table.map(20, 2, 0n);
  assertEquals(container.counters.exposedNanoseconds, exposedNanoseconds);
  container.dispose();

  const stopped = setUp({ rules: "type1" }, { coalesce: "full", quiesce: () => {} });
  stopped.table.unmap(2);
  assertEquals([stopped.container.counters.holes, stopped.container.counters.exposedNanoseconds], [1, 0]);
  stopped.container.dispose();
});

Deno.test("a host whose observer throws refused the MAP, and holds what the container says", () => {
  let armed = false;
  const { table, host, container } = setUp({
    observe: ({ call }) => {
      if (armed && call === "MAP") throw new Error("observer");
    },
  });
  armed = true;
  assertEquals(table.map(10, 1, 0n).status, "refused");
  armed = false;
  assertEquals([host.size, container.size, verify(container).agrees], [1, 1, true]);
  assertEquals(table.map(10, 1, 0n).status, "done");
  container.dispose();
});
