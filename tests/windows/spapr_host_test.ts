// A guest's windows on a host that has windows of its own: what the guest creates and removes, the host has to as well.
import type { AddressRange } from "@giommu/core";
import { IommuError } from "@giommu/core";
import { AddressSpace, AliasRegion, IoRegion, MemoryRegion, RamRegion } from "@giommu/memory-api";
import { Hcall, SpaprPhb } from "@giommu/spapr-tce";
import type { SimulatedSpaprHostOptions } from "@giommu/vfio-sync";
import { SimulatedHost, SimulatedSpaprHost, verify, VfioContainer } from "@giommu/vfio-sync";
import { assert, assertEquals, assertThrows } from "@std/assert";

const BIT59 = 1n << 59n;
const GIB = 1n << 30n;
const RAM = 0x1000_0000n;
const range = (start: bigint, size: bigint): AddressRange => ({ start, last: start + size - 1n });

/** A pseries bus with its default window, 256 MiB of RAM, a container on an sPAPR host that is attached to nothing yet. */
class Machine implements Disposable {
  readonly memoryRoot = new MemoryRegion({ name: "memory", size: 2n ** 64n });
  readonly memory: AddressSpace;
  readonly phb: SpaprPhb;
  readonly host: SimulatedSpaprHost;
  readonly container: VfioContainer;
  readonly calls: string[] = [];

  constructor(options: SimulatedSpaprHostOptions = {}) {
    this.memoryRoot.addSubregion(0n, new RamRegion({ name: "ram", size: RAM }));
    this.memory = new AddressSpace({ name: "memory", root: this.memoryRoot });
    this.phb = new SpaprPhb({ index: 0, memory: this.memory });
    this.host = new SimulatedSpaprHost({
      ...options,
      observe: ({ call, range: { start }, errno }) =>
        this.calls.push(`${call} ${start.toString(16)}${errno === undefined ? "" : ` ${errno}`}`),
    });
    this.container = new VfioContainer({ host: this.host });
  }

  get table() {
    return this.phb.defaultWindow;
  }

  attach() {
    return this.container.attach(this.phb.space);
  }

  big(pageShift = 16, size = 1n << 40n) {
    return this.phb.addWindow({ busOffset: BIT59, size, pageShift });
  }

  [Symbol.dispose](): void {
    this.host.failNoMore();
    this.container.dispose();
    assertEquals([this.host.size, this.host.windows, this.host.memory], [0, [], []], "something was left on the host");
    assertEquals([this.memory.listeners.length, this.phb.space.listeners.length], [0, 0]);
    this.phb[Symbol.dispose]();
    this.memory.dispose();
  }
}

Deno.test("an attach makes memory known, creates the guest's windows, and only then maps", () => {
  using machine = new Machine();
  machine.table.stuffTce(0x1000n, 0x10_0003n, 2n);
  machine.big().putTce(BIT59, 0x20_0003n);
  const { pages, hostMaps } = machine.attach();
  assertEquals([pages, hostMaps], [3n, 3]);
  assertEquals(machine.calls, [
    "REGISTER 0",
    "CREATE 0",
    "MAP 1000",
    "MAP 2000",
    "CREATE 800000000000000",
    "MAP 800000000000000",
  ]);
  assertEquals(machine.host.windows, [range(0n, GIB), range(BIT59, 1n << 40n)]);
  assert(verify(machine.container).agrees);
  machine.calls.length = 0;
  machine.container.detach();
  assertEquals(machine.calls, [
    "UNMAP 1000",
    "UNMAP 800000000000000",
    "REMOVE 0",
    "REMOVE 800000000000000",
    "UNREGISTER 0",
  ]);
});

Deno.test("a window that the guest creates or removes is created and removed on the host", () => {
  using machine = new Machine();
  machine.attach();
  machine.calls.length = 0;
  const big = machine.big();
  assertEquals(big.putTce(BIT59 + 0x10000n, 0x30_0003n).ret, Hcall.SUCCESS);
  assertEquals(machine.calls, ["CREATE 800000000000000", "MAP 800000000010000"]);
  assert(verify(machine.container).agrees);
  machine.calls.length = 0;
  machine.phb.removeWindow(big);
  assertEquals(machine.calls, ["UNMAP 800000000010000", "REMOVE 800000000000000"]);
  // The default one away, and a dynamic one in its place: as DDW does for a guest that wants one window only.
  machine.phb.removeWindow(machine.table);
  assertEquals(machine.host.windows, []);
  machine.phb.addWindow({ busOffset: 0n, size: 1n << 36n, pageShift: 24 });
  assertEquals(machine.host.windows, [range(0n, 1n << 36n)]);
});

Deno.test("a third window is refused before anything is asked of the host, and nothing is left of it", () => {
  using machine = new Machine({
    windows: { count: 2, pageSizes: 1n << 12n | 1n << 16n, levels: 5 },
    windowStarts: [0n, BIT59, 1n << 60n],
  });
  machine.attach();
  machine.big();
  machine.calls.length = 0;
  const error = assertThrows(() => machine.phb.addWindow({ busOffset: 1n << 60n, size: GIB }), IommuError);
  assertEquals([error.code, machine.calls, machine.phb.windows.length], ["host-refused", [], 2]);
  assert(error.message.includes("it holds 2 of 2 windows"), error.message);
  assertEquals(machine.host.windows.length, 2);
  assert(verify(machine.container).agrees);
});

Deno.test("a window that the host puts somewhere else is removed again and refused, with what helps", () => {
  using machine = new Machine();
  machine.attach();
  machine.calls.length = 0;
  const error = assertThrows(() => machine.phb.addWindow({ busOffset: 1n << 40n, size: GIB }), IommuError);
  assertEquals(error.code, "iova-out-of-range");
  assert(error.message.includes("0x800000000000000") && error.remedy?.includes("dma64_win_addr"), error.message);
  assertEquals(machine.calls, ["CREATE 800000000000000", "REMOVE 800000000000000"]);
  assertEquals([machine.phb.windows.length, machine.host.windows.length], [1, 1]);
});

Deno.test("a window of pages that the host has none of, or over another one, is refused", () => {
  using machine = new Machine({ windows: { count: 2, pageSizes: 1n << 16n, levels: 1 } });
  // The default window has pages of 4 KiB, which is too fine for this host.
  const refused = machine.container.plan(machine.phb.space).refusal;
  assertEquals([refused?.code, machine.calls], ["page-too-fine", []]);
  assertEquals(assertThrows(() => machine.attach(), IommuError).code, "page-too-fine");
  machine.phb.removeWindow(machine.table);
  machine.phb.addWindow({ busOffset: 0n, size: GIB, pageShift: 16 });
  machine.attach();
  const over = assertThrows(
    () => machine.phb.addWindow({ busOffset: 0x1000_0000n, size: GIB, pageShift: 16 }),
    IommuError,
  );
  assertEquals([over.code, machine.host.windows.length], ["overlap", 1]);
  // Of larger pages than the host has it takes the largest that fit.
  machine.big(24);
  assertEquals(machine.host.windows.length, 2);
});

Deno.test("a table is given more levels where the host does not take fewer", () => {
  const levels: number[] = [];
  using machine = new Machine();
  const create = machine.host.createWindow.bind(machine.host);
  machine.host.createWindow = (request) => {
    levels.push(request.levels);
    if (request.levels < 3) machine.host.failWhen({ call: machine.host.calls + 1, errno: "ENOMEM" });
    return create(request);
  };
  machine.attach();
  assertEquals([levels, machine.host.windows.length], [[1, 2, 3], 1]);
  levels.length = 0;
  machine.big(12, 1n << 43n); // 2^31 entries: two levels of 2^20
  assertEquals(levels, [2, 3]);
});

Deno.test("a change in place is one MAP: the device reaches the old page or the new one, never nothing", () => {
  using machine = new Machine();
  for (let page = 0n; page < 8n; page++) machine.table.putTce(page << 12n, 0x10_0003n + (page << 12n));
  machine.attach();
  assertEquals(machine.host.size, 1);
  machine.calls.length = 0;
  assertEquals(machine.table.putTce(0x3000n, 0x55_0003n).ret, Hcall.SUCCESS);
  assertEquals(machine.calls, ["MAP 3000"]);
  assertEquals(machine.host.translate(0x3abcn)?.gpa, 0x55_0abcn);
  // Permission alone, and several by one call, some of them new, some only removed.
  assertEquals(machine.table.putTce(0x4000n, 0x10_4001n).ret, Hcall.SUCCESS);
  machine.calls.length = 0;
  assertEquals(machine.table.stuffTce(0x6000n, 0x70_0003n, 4n).ret, Hcall.SUCCESS);
  assertEquals(machine.calls, ["MAP 6000", "MAP 7000", "MAP 8000", "MAP 9000"]);
  assert(verify(machine.container).agrees);
});

Deno.test("an exchange that the host refuses leaves the old page in place, for every container on the bus", () => {
  using machine = new Machine();
  machine.table.stuffTce(0n, 0x10_0003n, 2n);
  machine.attach();
  const other = new SimulatedHost({ rules: "spapr" });
  using second = new VfioContainer({ host: other });
  second.attach(machine.phb.space);
  const dump = () => [machine.host, other].map((on) => [...on.mappings()].map(({ iova, gpa }) => [iova.start, gpa]));
  const before = dump();
  for (const failing of [machine.host, other]) {
    failing.failWhen({ call: ({ call, gpa }) => call === "MAP" && gpa === 0x77_0000n, errno: "EIO" });
    assertEquals(machine.table.stuffTce(0n, 0x77_0003n, 2n).ret, Hcall.NOT_ENOUGH_RESOURCES);
    failing.failNoMore();
    assertEquals([dump(), machine.table.getTce(0n).value], [before, 0x10_0003n]);
  }
  assert(verify(machine.container).agrees && verify(second).agrees);
});

Deno.test("an entry that is changed to point to no RAM is unmapped at once, not held for a MAP", () => {
  using machine = new Machine();
  machine.table.stuffTce(0n, 0x10_0003n, 3n);
  machine.attach();
  machine.calls.length = 0;
  assertEquals(machine.table.putTce(0x1000n, RAM | 3n).ret, Hcall.SUCCESS);
  assertEquals([machine.calls, machine.host.translate(0x1000n)], [["UNMAP 1000"], undefined]);
  assertEquals(verify(machine.container).notRam, 1n);
});

Deno.test("RAM that comes is made known before anything points there, and RAM that goes is taken back after", () => {
  using machine = new Machine({ maxRegistered: RAM + 0x10_0000n });
  machine.table.stuffTce(0n, RAM | 3n, 1n);
  machine.attach();
  machine.calls.length = 0;
  const dimm = new RamRegion({ name: "dimm", size: 0x10_0000n });
  machine.memoryRoot.addSubregion(RAM, dimm);
  assertEquals(machine.calls, ["REGISTER 10000000", "MAP 0"]);
  machine.calls.length = 0;
  machine.memoryRoot.removeSubregion(dimm);
  assertEquals(machine.calls, ["UNMAP 0", "UNREGISTER 10000000"]);
  // More than may be locked: the machine is told that it does not get the memory.
  const error = assertThrows(
    () => machine.memoryRoot.addSubregion(RAM, new RamRegion({ name: "large", size: 0x20_0000n })),
    IommuError,
  );
  assert(error.message.includes("ENOMEM") && error.remedy?.includes("RLIMIT_MEMLOCK"), error.message);
  assertEquals([machine.memoryRoot.subregions.length, machine.host.memory.length], [1, 1]);
  assert(verify(machine.container).agrees);
});

Deno.test("RAM that something is laid over stays known as a whole, until nothing of it is seen", () => {
  using machine = new Machine();
  machine.table.stuffTce(0n, 0x20_0003n, 1n);
  machine.attach();
  machine.calls.length = 0;
  const over = new RamRegion({ name: "over", size: 0x10_0000n });
  machine.memoryRoot.addSubregion(0x20_0000n, over, { priority: 1 });
  assertEquals(machine.calls, ["UNMAP 0", "REGISTER 200000", "MAP 0"]);
  machine.memoryRoot.removeSubregion(over);
  assertEquals(machine.calls.slice(3), ["UNMAP 0", "UNREGISTER 200000", "MAP 0"]);
  assert(verify(machine.container).agrees);
});

Deno.test("without system memory there is nothing to make known, and the attach says so", () => {
  using phb = new SpaprPhb({ index: 0 });
  const host = new SimulatedSpaprHost();
  using container = new VfioContainer({ host });
  for (
    const refusal of [
      container.plan(phb.space).refusal,
      assertThrows(() => container.attach(phb.space), IommuError),
    ]
  ) {
    assertEquals(refusal?.code, "host-refused");
    assert(refusal?.remedy?.includes("memory"));
  }
  assertEquals([host.calls, phb.defaultWindow.region.notifiers.size], [0, 0]);
});

Deno.test("what the host does not take back is named, and taken back by the next detach", () => {
  for (const call of ["REMOVE", "UNREGISTER"] as const) {
    using machine = new Machine();
    machine.table.stuffTce(0n, 0x20_0003n, 1n);
    machine.attach();
    machine.host.failWhen({ call: (one) => one.call === call, errno: "EIO" });
    const error = assertThrows(() => machine.container.detach(), IommuError);
    assertEquals([error.code, error.remedy], ["unmap-failed", "detach again, or close the host"]);
    assert(error.message.includes("EIO"), error.message);
    assertEquals([machine.host.size, machine.table.region.notifiers.size], [0, 0]);
    machine.host.failNoMore();
    machine.container.detach();
    assertEquals([machine.host.windows, machine.host.memory], [[], []]);
  }
});

Deno.test("a window that the host does not remove is a problem, and out of the way when its place is needed", () => {
  using machine = new Machine();
  machine.attach();
  const big = machine.big();
  machine.host.failWhen({ call: machine.host.calls + 1, errno: "EBUSY" });
  machine.phb.removeWindow(big);
  assertEquals([machine.host.windows.length, machine.container.problems.length], [2, 1]);
  assert(machine.container.problems[0]?.message.includes("EBUSY"));
  machine.big(12, GIB);
  assertEquals(machine.host.windows, [range(0n, GIB), range(BIT59, GIB)]);
});

Deno.test("a plan tries windows out without asking the host", () => {
  using machine = new Machine({ windows: { count: 1, pageSizes: 1n << 12n | 1n << 16n, levels: 5 } });
  machine.big();
  const plan = machine.container.plan(machine.phb.space);
  assertEquals([plan.refusal?.code, machine.host.calls], ["host-refused", 0]);
  assert(plan.refusal?.message.includes("1 of 1 windows"), plan.refusal?.message);
  assertEquals(assertThrows(() => machine.attach(), IommuError).code, "host-refused");
  assertEquals(machine.host.calls, 0);
});

Deno.test("an attach in steps that is aborted takes windows and memory back, and one that goes on keeps them", () => {
  using machine = new Machine();
  machine.table.stuffTce(0n, 0x20_0003n, 9n);
  {
    using steps = machine.container.attachSteps(machine.phb.space);
    steps.step(3);
    assert(machine.host.size > 0);
    assertEquals(machine.big().putTce(BIT59, 0x30_0003n).ret, Hcall.SUCCESS);
    assertEquals(machine.host.windows.length, 2);
  }
  assertEquals([machine.host.size, machine.host.windows, machine.host.memory], [0, [], []]);
  using steps = machine.container.attachSteps(machine.phb.space);
  while (!steps.step(2).done);
  assertEquals(machine.host.windows.length, 2);
  assert(verify(machine.container).agrees);
});

Deno.test("a window that is hidden in part keeps its host window until nothing of it is seen", () => {
  const root = new MemoryRegion({ name: "bus", size: 2n ** 64n });
  using phb = new SpaprPhb({ index: 0, dmaWindow: { size: 16n << 12n } });
  const table = phb.defaultWindow;
  table.stuffTce(0n, 0x20_0003n, 16n);
  using memory = new AddressSpace({ name: "memory", root: new RamRegion({ name: "ram", size: RAM }) });
  root.addSubregion(0n, new AliasRegion({ name: "window", target: table.region, size: 16n << 12n }));
  using bus = new AddressSpace({ name: "bus", root, memory });
  const host = new SimulatedSpaprHost();
  using container = new VfioContainer({ host });
  container.attach(bus);
  const io = new IoRegion({ name: "io", size: 4n << 12n });
  root.addSubregion(4n << 12n, io, { priority: 1 });
  assertEquals([host.windows, host.translate(5n << 12n)], [[range(0n, 16n << 12n)], undefined]);
  assert(verify(container).agrees);
  root.removeSubregion(io);
  assertEquals([host.windows.length, host.translate(5n << 12n)?.gpa], [1, 0x20_0000n]);
  assert(verify(container).agrees);
  root.removeSubregion(root.subregions[0]!.region);
  assertEquals([host.windows, host.size], [[], 0]);
});
