// State of a machine: the own format, QEMU's sections, and containers that are brought in step with what is restored.
import { IommuError } from "@giommu/core";
import { AddressSpace, RamRegion } from "@giommu/memory-api";
import { readMigrationStream } from "@giommu/qemu-trace";
import { qemuSections, readQemuSections, SpaprMachine, type SpaprMachineInit } from "@giommu/spapr-tce";
import { SimulatedHost, verify, VfioContainer } from "@giommu/vfio-sync";
import { assert, assertEquals, assertGreater, assertThrows } from "@std/assert";
import { inflatedBytes } from "../command/run_giommu.ts";

const UNIT = 0x7100_0001;
const [LOW, HIGH] = [0x8000_0000, 0x8000_0001];
const FAR = 1n << 59n;

function machineOf(init: Partial<SpaprMachineInit> = {}): SpaprMachine {
  return new SpaprMachine({ ram: 0x100_0000n, phbs: [{ index: 0 }], vios: [{ unit: UNIT }], ...init });
}

function create(machine: SpaprMachine, pageShift: number, windowShift: number): void {
  const { status } = machine.rtas(
    "ibm,create-pe-dma-window",
    [0, ...machine.phb(0).buidCells, pageShift, windowShift],
    4,
  );
  assertEquals(status, 0);
}

/** A guest that did a bit of everything. */
function lived(): SpaprMachine {
  const machine = machineOf();
  create(machine, 16, 34);
  machine.stuffTce(HIGH, FAR, 0x20_0003n, 3n);
  machine.putTce(HIGH, FAR + (1n << 34n) - 1n, 0x30_0001n);
  machine.rtas("ibm,remove-pe-dma-window", [LOW], 1);
  machine.putTce(UNIT, 0x5000n, 0xffff_ffff_ffff_ff00n);
  machine.putTce(UNIT, 0x6000n, 0x1003n);
  machine.rtas("ibm,set-tce-bypass", [UNIT, 1], 1);
  return machine;
}

function concat(pieces: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}

function sectionBytes(machine: SpaprMachine, id?: (liobn: number) => number): Map<number, Uint8Array> {
  const sections = qemuSections(machine, id === undefined ? {} : { id });
  return new Map(Array.from(sections, ({ liobn, pieces }) => [liobn, concat([...pieces])]));
}

/** How each way of keeping state goes there and back. */
const WAYS: Readonly<Record<string, (from: SpaprMachine, to: SpaprMachine) => void>> = {
  "giommu's own format": (from, to) => to.restore(from.save()),
  "QEMU's sections": (from, to) => readQemuSections(to, [...sectionBytes(from).values()]),
};

for (const [way, carry] of Object.entries(WAYS)) {
  Deno.test(`${way}: a fresh machine becomes the saved one, bit for bit, with its containers in step`, () => {
    using machine = lived();
    using other = machineOf();
    const hosts = [new SimulatedHost(), new SimulatedHost()] as const;
    using pci = new VfioContainer({ host: hosts[0] });
    using vio = new VfioContainer({ host: hosts[1] });
    pci.attach(other.phb(0).space);
    vio.attach(other.vio(UNIT).space);
    other.putTce(LOW, 0x3000n, 0x7003n);
    other.putTce(UNIT, 0x7000n, 0x8003n);
    carry(machine, other);
    assertEquals(other.tables.map(({ liobn, busOffset, entries }) => [liobn, busOffset, entries]), [
      [UNIT, 0n, 1 << 16],
      [HIGH, FAR, 1 << 18],
    ]);
    assertEquals([other.vio(UNIT).bypass, other.stored], [true, 6]);
    assertEquals(other.getTce(UNIT, 0x5000n).value, 0xffff_ffff_ffff_ff00n, "all bits, also of what maps nothing");
    assert(verify(pci).agrees && verify(vio).agrees);
    assertGreater(hosts[0].size, 0);
    assertEquals(Array.from(hosts[1].mappings(), ({ iova }) => iova.last), [0xff_ffffn], "bypass: all of RAM");
    assertEquals([...sectionBytes(other)], [...sectionBytes(machine)]);
    // The guest goes on.
    assertEquals(other.putTce(HIGH, FAR, 0x40_0003n).ret, 0);
    assertEquals(other.rtas("ibm,remove-pe-dma-window", [HIGH], 1).status, 0);
    assertEquals(
      other.tables.map(({ liobn }) => liobn),
      [UNIT, LOW],
      "the default window comes back, as with the saved one",
    );
    assert(verify(pci).agrees);
  });

  Deno.test(`${way}: a machine that a container cannot follow stays as it was`, () => {
    using machine = lived();
    using other = machineOf();
    const host = new SimulatedHost({ maxMappings: 2 });
    using container = new VfioContainer({ host });
    container.attach(other.phb(0).space);
    other.putTce(LOW, 0x3000n, 0x7003n);
    other.putTce(UNIT, 0x3000n, 0x9003n);
    const before = [...sectionBytes(other)];
    const held = [...host.mappings()].map(({ iova, gpa }) => [iova.start, gpa]);
    const error = assertThrows(() => carry(machine, other), IommuError);
    assertEquals(error.code, "mapping-limit");
    assertEquals([...sectionBytes(other)], before);
    assertEquals([...host.mappings()].map(({ iova, gpa }) => [iova.start, gpa]), held);
    assert(verify(container).agrees);
    assertEquals(container.failed, undefined);
  });

  Deno.test(`${way}: what is the same on both sides is left alone on the host`, () => {
    using machine = machineOf();
    for (let page = 0n; page < 8n; page++) machine.putTce(LOW, page << 13n, page << 16n | 3n);
    using other = machineOf();
    const host = new SimulatedHost();
    using container = new VfioContainer({ host });
    container.attach(other.phb(0).space);
    for (let page = 0n; page < 8n; page++) other.putTce(LOW, page << 13n, page << 16n | 3n);
    other.putTce(LOW, 4n << 13n, 0x7777_7003n & 0xff_f003n);
    const calls = host.calls;
    carry(machine, other);
    assertEquals(host.calls - calls, 2, "one page was another: UNMAP and MAP");
    assert(verify(container).agrees);
  });

  Deno.test(`${way}: of another machine it is refused, by what differs`, () => {
    using machine = lived();
    for (
      const init of [
        { phbs: [{ index: 1 }] },
        { phbs: [{ index: 0, ddw: false }] },
        { vios: [] },
        { vios: [{ unit: UNIT }, { unit: UNIT + 1 }] },
      ]
    ) {
      using other = machineOf(init);
      const before = [...sectionBytes(other)];
      const error = assertThrows(() => carry(machine, other), IommuError);
      assertEquals(error.code, "snapshot-mismatch");
      assertEquals([...sectionBytes(other)], before);
    }
    using small = machineOf({ entryLimit: 5 });
    assertEquals(assertThrows(() => carry(machine, small), IommuError).code, "entry-limit");
    assertEquals(small.stored, 0);
  });
}

Deno.test("a machine made of a saved state has all its devices and options", () => {
  using machine = new SpaprMachine({
    ram: 0x1000n,
    phbs: [{ index: 2, pgsz: 1n << 16n, dmaWinAddr: 0x1_0000n, dmaWinSize: 0x10_0000n, dma64WinAddr: 1n << 44n }, {
      index: 7,
      ddw: false,
    }],
    vios: [{ unit: 3, windowSize: 0x8000n }],
    entryLimit: 100,
  });
  machine.putTce(0x8000_0200, 0x1_0000n, 3n);
  using other = SpaprMachine.fromSnapshot(machine.save(), { ram: 0x1000n, entryLimit: 100 });
  assertEquals(other.phbs.map(({ options }) => options), machine.phbs.map(({ options }) => options));
  assertEquals(other.tables.map(({ liobn, entries, stored }) => [liobn, entries, stored]), [[3, 8, 0], [
    0x8000_0200,
    256,
    1,
  ], [0x8000_0700, 0x4_0000, 0]]);
  assertEquals(other.save(), machine.save());
  assertEquals(other.entryLimit, 100);
  const error = assertThrows(
    () => SpaprMachine.fromSnapshot(machine.save(), { ram: 0x1000n, entryLimit: 0 }),
    IommuError,
  );
  assertEquals(error.code, "entry-limit");
});

Deno.test("damaged state is refused, wherever it is damaged, and nothing has changed", () => {
  using machine = lived();
  const state = machine.save();
  using other = machineOf();
  const before = other.save();
  for (let at = 0; at < state.length; at++) {
    const damaged = state.slice();
    damaged[at]! ^= 1 << (at & 7);
    const error = assertThrows(() => other.restore(damaged), IommuError);
    assert(["bad-input", "snapshot-version"].includes(error.code), `${at}: ${error.code}`);
  }
  for (let length = 0; length < state.length; length++) {
    assertEquals(assertThrows(() => other.restore(state.subarray(0, length)), IommuError).code, "bad-input");
  }
  assertEquals(assertThrows(() => other.restore(concat([state, new Uint8Array(1)])), IommuError).code, "bad-input");
  assertThrows(() => other.restore("state" as unknown as Uint8Array), TypeError, "Uint8Array");
  assertEquals(other.save(), before);
});

Deno.test("damaged sections are refused, and nothing has changed", () => {
  using machine = machineOf({ phbs: [{ index: 0, dmaWinSize: 0x4000n }], vios: [] });
  machine.putTce(LOW, 0n, 3n);
  using other = machineOf({ phbs: [{ index: 0, dmaWinSize: 0x4000n }], vios: [] });
  const whole = concat([...sectionBytes(machine).values()]);
  for (let length = 0; length < whole.length; length++) {
    const error = assertThrows(() => readQemuSections(other, [whole.subarray(0, length)]), IommuError);
    assert(["bad-input", "snapshot-mismatch"].includes(error.code));
  }
  assertEquals(other.stored, 0);
  for (let at = 0; at < whole.length; at++) readQemuSections(other, [whole.subarray(0, at), whole.subarray(at)]);
  assertEquals(other.getTce(LOW, 0n).value, 3n);
});

/** Where the section of a table begins in a stream: its type, any number, the name, the LIOBN as instance. */
function sectionStart(stream: Uint8Array, liobn: number): number {
  const name = [
    0x0b,
    ...new TextEncoder().encode("spapr_iommu"),
    liobn >>> 24,
    liobn >> 16 & 0xff,
    liobn >> 8 & 0xff,
    liobn & 0xff,
  ];
  for (let at = 5; at < stream.length; at++) {
    if (name.every((byte, i) => stream[at + i] === byte) && stream[at - 5] === 4) return at - 5;
  }
  throw new Error(`the stream has no section of table ${liobn.toString(16)}`);
}

const LOGS = new URL("../data/logs/", import.meta.url);
const STREAMS: Readonly<Record<string, SpaprMachineInit>> = {
  "migration-ddw-off": { phbs: [{ index: 0, ddw: false }] },
  "migration-ddw-on": { phbs: [{ index: 0 }] },
};

for (const [name, init] of Object.entries(STREAMS)) {
  Deno.test(`${name}: QEMU's sections, read into a machine and written again, are the same bytes`, async () => {
    const path = new URL(`${name}.mig.gz`, LOGS).pathname;
    const stream = await inflatedBytes(path);
    using read = await readMigrationStream(stream);
    const vios = read.tables.filter(({ liobn }) => liobn >>> 31 === 0).map(({ liobn }) => ({ unit: liobn }));
    using memory = new AddressSpace({ name: "memory", root: new RamRegion({ name: "ram", size: 1n << 29n }) });
    using machine = new SpaprMachine({ memory, ...init, vios });
    const host = new SimulatedHost();
    using container = new VfioContainer({ host });
    container.attach(machine.phb(0).space);
    readQemuSections(machine, [stream]);
    assert(verify(container).agrees);
    const mapped = machine.phb(0).windows.reduce((sum, { mapped }) => sum + mapped, 0);
    assertEquals(verify(container).guestPages, BigInt(mapped));
    const starts = new Map(read.tables.map(({ liobn }) => [liobn, sectionStart(stream, liobn)]));
    const id = (liobn: number) => new DataView(stream.buffer).getUint32(starts.get(liobn)! + 1);
    const written = sectionBytes(machine, id);
    assertEquals([...written.keys()], read.tables.map(({ liobn }) => liobn));
    for (const [liobn, bytes] of written) {
      const start = starts.get(liobn)!;
      assertEquals(bytes, stream.subarray(start, start + bytes.length), `table ${liobn.toString(16)}`);
    }
    // And through the own format the same bytes come out.
    using moved = SpaprMachine.fromSnapshot(machine.save(), { memory });
    assertEquals([...sectionBytes(moved, id)], [...written]);
  });
}
