// What a guest does to its windows, with VFIO containers on the bus: hosts that hold them, refuse them, or fail.
import type { IommuError } from "@giommu/core";
import { AddressSpace } from "@giommu/memory-api";
import { type RtasResult, RtasStatus, SpaprMachine, type SpaprMachineInit } from "@giommu/spapr-tce";
import { type HostMapping, SimulatedHost, verify, VfioContainer } from "@giommu/vfio-sync";
import { assert, assertEquals, assertThrows } from "@std/assert";

const UNIT = 0x7100_0001;
const [LOW, HIGH] = [0x8000_0000, 0x8000_0001];
const FAR = 1n << 59n;

function machineOf(
  phb: Partial<NonNullable<SpaprMachineInit["phbs"]>[number]> = {},
  init: Partial<SpaprMachineInit> = {},
) {
  return new SpaprMachine({ ram: 0x100_0000n, phbs: [{ index: 0, ...phb }], vios: [{ unit: UNIT }], ...init });
}

function create(machine: SpaprMachine, pageShift: number, windowShift: number): RtasResult {
  return machine.rtas("ibm,create-pe-dma-window", [0, ...machine.phb(0).buidCells, pageShift, windowShift], 4);
}

function remove(machine: SpaprMachine, liobn: number): RtasResult {
  return machine.rtas("ibm,remove-pe-dma-window", [liobn], 1);
}

/** What a host holds: first bus address, first target, pages of 4 KiB. */
function held(host: SimulatedHost): [bigint, bigint, bigint][] {
  return Array.from(
    host.mappings(),
    ({ iova, gpa }: HostMapping) => [iova.start, gpa, (iova.last - iova.start + 1n) >> 12n],
  );
}

Deno.test("a new window costs the host nothing, whatever its size, and then holds what the guest maps", () => {
  using machine = machineOf({ pgsz: 1n << 12n | 1n << 34n });
  const host = new SimulatedHost();
  using container = new VfioContainer({ host });
  container.attach(machine.phb(0).space);
  assertEquals(create(machine, 34, 63).status, RtasStatus.SUCCESS, "2^63 bytes");
  assertEquals(host.calls, 0);
  machine.putTce(HIGH, FAR, 3n);
  machine.putTce(HIGH, FAR + (1n << 63n) - 1n, 3n);
  assertEquals(held(host).map(([start]) => start), [FAR, FAR + (1n << 63n) - (1n << 34n)]);
  assert(verify(container).agrees);
  assertEquals(remove(machine, HIGH).status, RtasStatus.SUCCESS);
  assertEquals(held(host), []);
});

Deno.test("a window wholly beyond what the host translates is refused at create, and nothing is left of it", () => {
  // QEMU answers success, and then maps nothing: the default address of a second window is 2^59, x86 hosts have 48 bits.
  using machine = machineOf();
  const host = new SimulatedHost({ rules: "type1" });
  using container = new VfioContainer({ host });
  container.attach(machine.phb(0).space);
  const refused = create(machine, 16, 30);
  assertEquals([refused.status, refused.error?.code, refused.error?.range], [
    RtasStatus.HARDWARE_ERROR,
    "iova-out-of-range",
    { start: FAR, last: FAR + (1n << 30n) - 1n },
  ]);
  assert(refused.error?.remedy?.includes("dma64_win_addr"));
  assertEquals([machine.table(HIGH), host.calls], [undefined, 0]);

  using near = machineOf({ dma64WinAddr: 1n << 40n });
  using other = new VfioContainer({ host: new SimulatedHost({ rules: "type1" }) });
  other.attach(near.phb(0)!.space);
  assertEquals(create(near, 16, 30).status, RtasStatus.SUCCESS);
  assertEquals(near.putTce(HIGH, 1n << 40n, 0x1_0003n).ret, 0);
});

Deno.test("of a window that the host translates in part, what lies outside is refused entry by entry", () => {
  using machine = machineOf({ dma64WinAddr: (1n << 48n) - (1n << 29n) });
  const host = new SimulatedHost({ rules: "type1" });
  using container = new VfioContainer({ host });
  container.attach(machine.phb(0).space);
  assertEquals(create(machine, 16, 30).status, RtasStatus.SUCCESS);
  assertEquals(machine.putTce(HIGH, (1n << 48n) - 1n, 0x1_0003n).ret, 0);
  const beyond = machine.putTce(HIGH, 1n << 48n, 0x1_0003n);
  assertEquals([beyond.ret, beyond.error?.code, machine.table(HIGH)?.stored], [-44, "iova-out-of-range", 1]);
});

/** A machine whose window HIGH hides LOW at FAR; LOW's entries 0 to 3 are mapped, HIGH's 0 and 1. HIGH has 2 pages of 64 KiB, LOW 2 GiB of 4 KiB pages. */
function overlapping(init: Partial<SpaprMachineInit> = {}): SpaprMachine {
  const machine = machineOf({}, init);
  create(machine, 16, 30);
  remove(machine, LOW);
  remove(machine, HIGH);
  create(machine, 16, 17);
  remove(machine, LOW);
  assertEquals(create(machine, 12, 31).rets.slice(1), [LOW, Number(FAR >> 32n), 0]);
  for (let page = 0n; page < 64n; page += 8n) machine.putTce(LOW, FAR + (page << 12n), 0x10_0003n + (page << 12n));
  machine.putTce(HIGH, FAR, 0x20_0003n);
  return machine;
}

Deno.test("of two windows at one address only the difference reaches the host when one goes or comes", () => {
  using machine = overlapping();
  const host = new SimulatedHost();
  using container = new VfioContainer({ host });
  container.attach(machine.phb(0).space);
  const beyond = [32n, 40n, 48n, 56n].map((page) => [FAR + (page << 12n), 0x10_0000n + (page << 12n), 1n] as const);
  assertEquals(held(host), [[FAR, 0x20_0000n, 16n], ...beyond.map((one) => [...one] as [bigint, bigint, bigint])]);

  const calls = host.calls;
  machine.putTce(LOW, FAR + 0x1000n, 0x7003n);
  assertEquals(host.calls, calls, "an entry that is hidden reaches no host");

  assertEquals(remove(machine, HIGH).status, RtasStatus.SUCCESS);
  assertEquals(
    host.calls - calls,
    1 + 5,
    "one UNMAP of what went, a MAP of each run that became visible, nothing else",
  );
  assert(verify(container).agrees);
  const before = host.calls;
  assertEquals(create(machine, 16, 17).rets[1], HIGH);
  assertEquals(host.calls - before, 1, "one wide UNMAP of what the new window hides");
  assertEquals(held(host).length, 4);
  assert(verify(container).agrees);
});

Deno.test("what becomes visible and does not fit the host refuses the removal: nothing has changed", () => {
  using machine = overlapping();
  const host = new SimulatedHost({ maxMappings: 6 });
  using container = new VfioContainer({ host });
  container.attach(machine.phb(0).space);
  const before = held(host);
  const removed = remove(machine, HIGH);
  assertEquals([removed.status, removed.error?.code], [RtasStatus.HARDWARE_ERROR, "mapping-limit"]);
  assertEquals([held(host), container.failed], [before, undefined]);
  assertEquals(machine.phb(0).windows.map(({ liobn }) => liobn), [LOW, HIGH]);
  assert(verify(container).agrees);
  assertEquals(machine.putTce(HIGH, FAR + 0x1_0000n, 0x30_0003n).ret, 0, "the window lives on");
  assertEquals(held(host).length, 6);
});

Deno.test("a reset empties what a window hides before the window goes: a host that is full does not refuse it", () => {
  using machine = overlapping();
  const host = new SimulatedHost({ maxMappings: 5 });
  using container = new VfioContainer({ host });
  container.attach(machine.phb(0).space);
  machine.reset();
  assertEquals([held(host), machine.stored], [[], 0]);
  assertEquals(machine.phb(0).windows.map(({ busOffset }) => busOffset), [0n]);
  assertEquals(machine.putTce(LOW, 0n, 3n).ret, 0);
  assert(verify(container).agrees);
});

Deno.test("a reset that a bus cannot follow leaves the machine as it was, entries and host alike", () => {
  using machine = machineOf();
  create(machine, 16, 30);
  remove(machine, LOW);
  machine.putTce(HIGH, FAR, 0x20_0003n);
  machine.putTce(UNIT, 0x1000n, 0x5003n);
  const hosts = [new SimulatedHost(), new SimulatedHost()] as const;
  using pci = new VfioContainer({ host: hosts[0] });
  using vio = new VfioContainer({ host: hosts[1] });
  pci.attach(machine.phb(0).space);
  vio.attach(machine.vio(UNIT).space);
  const before = hosts.map(held);
  machine.phb(0).space.addListener({
    regionAdd: ({ region }) => {
      if (region.name.endsWith("80000000")) throw new Error("no default window here");
    },
  });
  assertThrows(() => machine.reset(), Error, "no default window here");
  assertEquals(hosts.map(held), before);
  assertEquals([machine.getTce(HIGH, FAR).value, machine.getTce(UNIT, 0x1000n).value], [0x20_0003n, 0x5003n]);
  assert(verify(pci).agrees && verify(vio).agrees);
  const reply = machine.rtas("ibm,reset-pe-dma-window", [0, ...machine.phb(0).buidCells], 1);
  assertEquals([reply.status, machine.phb(0).windows[0]?.liobn], [RtasStatus.HARDWARE_ERROR, HIGH]);
});

Deno.test("a mapping that a refused reset cannot put back is nothing on both sides", () => {
  using machine = machineOf();
  create(machine, 16, 30);
  remove(machine, LOW);
  machine.putTce(UNIT, 0x1000n, 0x5003n);
  machine.putTce(UNIT, 0x3000n, 0x6003n);
  const host = new SimulatedHost();
  using vio = new VfioContainer({ host });
  vio.attach(machine.vio(UNIT).space);
  machine.phb(0).space.addListener({
    regionAdd: ({ region }) => {
      if (region.name.endsWith("80000000")) throw new Error("no default window here");
    },
  });
  host.failWhen({ call: ({ call, range }) => call === "MAP" && range.start === 0x3000n });
  const error = assertThrows(() => machine.reset()) as IommuError;
  assertEquals(error.code, "mapping-lost");
  assert(verify(vio).agrees);
  assertEquals(machine.table(UNIT)?.stored, held(host).length, "what the guest reads is what the host holds");
  assertEquals(machine.getTce(UNIT, 0x3000n).value, 0n);
});

Deno.test("an UNMAP that fails while a window goes: the window is gone, the container failed, the caller knows", () => {
  using machine = machineOf();
  create(machine, 16, 30);
  machine.putTce(HIGH, FAR, 3n);
  const host = new SimulatedHost();
  let cutOff = 0;
  using container = new VfioContainer({ host, cutOff: () => void cutOff++ });
  container.attach(machine.phb(0).space);
  host.failWhen({ call: ({ call }) => call === "UNMAP", errno: "EIO" });
  const removed = remove(machine, HIGH);
  assertEquals([removed.status, removed.error?.code], [RtasStatus.HARDWARE_ERROR, "unmap-failed"]);
  assertEquals([machine.table(HIGH), cutOff, container.failed?.code], [undefined, 1, "unmap-failed"]);
  host.failNoMore();
  container.detach();
});

Deno.test("several containers on one bus: all hold a window's mappings, or the guest's call has no effect", () => {
  using machine = overlapping();
  const hosts = [
    new SimulatedHost(),
    new SimulatedHost({ maxMappings: 6 }),
    new SimulatedHost({ rules: "iommufd", iovaRanges: [{ start: 0n, last: 2n ** 64n - 1n }] }),
  ];
  const containers = hosts.map((host) => new VfioContainer({ host }));
  for (const container of containers) container.attach(machine.phb(0).space);
  const before = hosts.map(held);
  assertEquals(remove(machine, HIGH).status, RtasStatus.HARDWARE_ERROR);
  assertEquals(hosts.map(held), before);
  containers[1]?.dispose();
  assertEquals(remove(machine, HIGH).status, RtasStatus.SUCCESS);
  for (const container of [containers[0]!, containers[2]!]) {
    assert(verify(container).agrees);
    container.dispose();
  }
});

Deno.test("bypass shows a VIO device all of system memory, and its table again after", () => {
  using machine = machineOf();
  const host = new SimulatedHost();
  using container = new VfioContainer({ host });
  container.attach(machine.vio(UNIT).space);
  machine.putTce(UNIT, 0x1000n, 0x5003n);
  assertEquals(machine.rtas("ibm,set-tce-bypass", [UNIT, 1], 1).status, 0);
  assertEquals(held(host), [[0n, 0n, 0x1000n]]);
  machine.putTce(UNIT, 0x2000n, 0x6003n);
  assertEquals(machine.rtas("ibm,set-tce-bypass", [UNIT, 0], 1).status, 0);
  assertEquals(held(host), [[0x1000n, 0x5000n, 2n]]);
  const full = new SimulatedHost({ iovaRanges: [{ start: 0n, last: 0xffff_ffn }] });
  using tight = new VfioContainer({ host: full });
  tight.attach(machine.vio(UNIT).space);
  const refused = machine.rtas("ibm,set-tce-bypass", [UNIT, 1], 1);
  assertEquals([refused.status, machine.vio(UNIT).bypass, held(full).length], [0, true, 1]);
});

Deno.test("bypass that a host cannot hold is refused, and undone for everybody", () => {
  using machine = machineOf();
  const wide = new SimulatedHost();
  const narrow = new SimulatedHost({ iovaRanges: [{ start: 0n, last: 0xf_ffffn }] });
  using first = new VfioContainer({ host: wide });
  using second = new VfioContainer({ host: narrow });
  machine.putTce(UNIT, 0x1000n, 0x5003n);
  first.attach(machine.vio(UNIT).space);
  second.attach(machine.vio(UNIT).space);
  const refused = machine.rtas("ibm,set-tce-bypass", [UNIT, 1], 1);
  assertEquals([refused.status, refused.error?.code], [RtasStatus.HARDWARE_ERROR, "iova-out-of-range"]);
  assertEquals([machine.vio(UNIT).bypass, held(wide), held(narrow)], [false, [[0x1000n, 0x5000n, 1n]], [[
    0x1000n,
    0x5000n,
    1n,
  ]]]);
});

Deno.test("a target that is not RAM is stored, told to nobody's host, and reported", () => {
  using machine = machineOf();
  const host = new SimulatedHost();
  using container = new VfioContainer({ host });
  container.attach(machine.phb(0).space);
  assertEquals(machine.putTce(LOW, 0n, 0x4000_0000_0003n).ret, 0);
  assertEquals([machine.getTce(LOW, 0n).value, held(host), container.problems[0]?.code], [
    0x4000_0000_0003n,
    [],
    "not-ram",
  ]);
});

Deno.test('onHostFailure "qemu": the guest hears success, the host lacks the mapping, the caller knows', () => {
  using machine = machineOf({}, { onHostFailure: "qemu" });
  const host = new SimulatedHost({ maxMappings: 1 });
  using container = new VfioContainer({ host });
  container.attach(machine.phb(0).space);
  machine.putTce(LOW, 0n, 3n);
  const put = machine.putTce(LOW, 0x5000n, 3n);
  assertEquals([put.ret, put.error?.code, machine.getTce(LOW, 0x5000n).value, held(host).length], [
    0,
    "mapping-limit",
    3n,
    1,
  ]);
  assert(!verify(container).agrees);
});

Deno.test("a second bridge has its own bus: windows there are nobody's on the first", () => {
  using machine = machineOf();
  const second = machine.addPhb({ index: 1 });
  const host = new SimulatedHost();
  using container = new VfioContainer({ host });
  container.attach(second.space);
  assertEquals(machine.rtas("ibm,create-pe-dma-window", [0, ...second.buidCells, 12, 20], 4).rets[1], 0x8000_0101);
  machine.putTce(LOW, 0n, 3n);
  machine.putTce(0x8000_0101, FAR, 0x1003n);
  assertEquals(held(host), [[FAR, 0x1000n, 1n]]);
  assert(machine.memory instanceof AddressSpace);
});
