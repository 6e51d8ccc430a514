import { IommuError } from "@giommu/core";
import {
  AddressSpace,
  ArrayGuestMemory,
  type MemoryListener,
  MemoryRegion,
  RamRegion,
  readDma,
  registerNotifier,
  transaction,
  writeDma,
} from "@giommu/memory-api";
import { IommuNotifier, IommuNotifierFlag } from "@giommu/notifiers";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { Hcall, HcallOpcode } from "./hcall.ts";
import { RTAS_TOKENS, RtasStatus } from "./rtas.ts";
import { SpaprMachine, type SpaprMachineInit } from "./spapr_machine.ts";
import { SpaprPhb } from "./spapr_phb.ts";

const UNIT = 0x7100_0001;
const [LOW, HIGH] = [0x8000_0000, 0x8000_0001];
const FAR = 1n << 59n;

function machineOf(init: Partial<SpaprMachineInit> = {}): SpaprMachine {
  return new SpaprMachine({ ram: 0x10_0000n, phbs: [{ index: 0 }], vios: [{ unit: UNIT }], ...init });
}

/** Creates a window on bridge 0. */
function create(machine: SpaprMachine, pageShift: number, windowShift: number) {
  return machine.rtas("ibm,create-pe-dma-window", [0, ...machine.phb(0).buidCells, pageShift, windowShift], 4);
}

function remove(machine: SpaprMachine, liobn: number) {
  return machine.rtas("ibm,remove-pe-dma-window", [liobn], 1);
}

/** What a bus shows of a machine's windows, and a record of what its listeners hear. */
function listen(space: AddressSpace, refuse?: (name: string) => boolean): string[] {
  const heard: string[] = [];
  const say = (sign: string, name: string, start: bigint) => heard.push(`${sign}${name}@${start.toString(16)}`);
  const listener: MemoryListener = {
    regionAdd: ({ region, range }) => {
      if (region.kind === "iommu" && refuse?.(region.name)) {
        throw new IommuError("host-refused", "Cannot hold it");
      }
      if (region.kind === "iommu") say("+", region.name, range.start);
    },
    regionDel: ({ region, range }) => {
      if (region.kind === "iommu") say("-", region.name, range.start);
    },
  };
  space.addListener(listener);
  heard.length = 0;
  return heard;
}

Deno.test("a new machine has its default windows, and says so to the guest", () => {
  using machine = machineOf({
    phbs: [{ index: 0 }, { index: 1, ddw: false, dmaWinAddr: 0x1000_0000n, dmaWinSize: 0x2fffn }],
  });
  assertEquals(machine.tables.map(({ liobn, busOffset, entries }) => [liobn, busOffset, entries]), [
    [UNIT, 0n, 0x1_0000],
    [LOW, 0n, 0x4_0000],
    [0x8000_0100, 0x1000_0000n, 2],
  ]);
  const cells = (bytes: Uint8Array | undefined) =>
    bytes && Array.from({ length: bytes.length / 4 }, (_, at) => new DataView(bytes.buffer).getUint32(4 * at));
  const [first, second] = machine.phbs;
  assertEquals(cells(first?.deviceTree["ibm,dma-window"]), [LOW, 0, 0, 0, 0x4000_0000]);
  assertEquals(cells(first?.deviceTree["ibm,ddw-applicable"]), [0x2026, 0x2027, 0x2028]);
  assertEquals(cells(first?.deviceTree["ibm,ddw-extensions"]), [2, 0x2029, 1]);
  assertEquals(Object.keys(second?.deviceTree ?? {}), ["ibm,dma-window"]);
  assertEquals(cells(second?.deviceTree["ibm,dma-window"]), [0x8000_0100, 0, 0x1000_0000, 0, 0x2000]);
  assertEquals(cells(machine.vio(UNIT).deviceTree["ibm,my-dma-window"]), [UNIT, 0, 0, 0, 0x1000_0000]);
  assertEquals([first?.liobns, second?.liobns], [[LOW, HIGH], [0x8000_0100]]);
});

Deno.test("a default window of 4 GiB is told as size 0, as the cell has 32 bits", () => {
  using machine = machineOf({ phbs: [{ index: 0, dmaWinSize: 1n << 32n }] });
  assertEquals([...machine.phb(0).deviceTree["ibm,dma-window"]!.subarray(12)], [0, 0, 0, 0, 0, 0, 0, 0]);
});

Deno.test("a machine refuses what is wrong with its devices, and says which", () => {
  assertThrows(() => new SpaprMachine({}), TypeError, "either ram or memory");
  assertThrows(() => machineOf({ ram: 0n }), RangeError, "RAM of 0x0 bytes");
  assertThrows(() => machineOf({ ram: 1n << 60n }), RangeError, "no array");
  assertThrows(() => machineOf({ phbs: [{ index: 0x80_0000 }] }), RangeError, "index");
  assertThrows(() => machineOf({ phbs: [{ index: 0, ddw: 1 as unknown as boolean }] }), TypeError, "ddw");
  assertThrows(() => machineOf({ phbs: [{ index: 0, pgsz: 1n << 64n }] }), RangeError, "pgsz");
  assertThrows(() => machineOf({ phbs: [{ index: 0, dmaWinSize: 0xfffn }] }), RangeError, "no entries");
  assertThrows(
    () => machineOf({ phbs: [{ index: 0, dmaWinAddr: ~0xfffn & ~0n & 0xffff_ffff_ffff_f000n }] }),
    RangeError,
    "top",
  );
  assertThrows(() => machineOf({ vios: [{ unit: 0x8000_0000 }] }), RangeError, "unit");
  assertThrows(() => machineOf({ entryLimit: 1 << 26 }), RangeError, "entryLimit");
  for (const twice of [{ phbs: [{ index: 3 }, { index: 3 }] }, { vios: [{ unit: 5 }, { unit: 5 }] }]) {
    assertEquals(assertThrows(() => machineOf(twice), IommuError).code, "duplicate-liobn");
  }
});

Deno.test("hypercalls find tables by all 64 bits of the LIOBN", () => {
  using machine = machineOf();
  assertEquals(machine.putTce(BigInt(LOW), 0x3000n, 0x5003n).ret, Hcall.SUCCESS);
  assertEquals(machine.getTce(LOW, 0x3abcn), { ret: Hcall.SUCCESS, value: 0x5003n });
  for (const liobn of [BigInt(LOW) | 1n << 32n, BigInt(LOW) | 1n << 63n, HIGH, 0x8000_0100, 0, 2n ** 64n - 1n]) {
    assertEquals(machine.putTce(liobn, 0n, 3n).ret, Hcall.PARAMETER);
    assertEquals(machine.getTce(liobn, 0n), { ret: Hcall.PARAMETER });
    assertEquals(machine.stuffTce(liobn, 0n, 3n, 1n), { ret: Hcall.PARAMETER, stored: 0 });
    assertEquals(machine.putTceIndirect(liobn, 0n, 0n, 1n), { ret: Hcall.PARAMETER, stored: 0 });
  }
});

Deno.test("a list may lie outside RAM: it reads as zeros there", () => {
  using machine = machineOf();
  machine.stuffTce(LOW, 0n, 0x7003n, 4n);
  assertEquals(machine.putTceIndirect(LOW, 0n, 1n << 60n, 2n).ret, Hcall.SUCCESS);
  assertEquals([0, 1, 2].map((at) => machine.table(LOW)?.entry(at)), [0n, 0n, 0x7003n]);
});

Deno.test("registers hold what a processor would find in them", () => {
  using machine = machineOf();
  const call = (...words: bigint[]) => {
    const registers = new BigUint64Array(10);
    registers.set(words);
    return [machine.hcallRegisters(registers), ...registers.subarray(0, 3)];
  };
  assertEquals(call(HcallOpcode.PUT_TCE, BigInt(LOW), 0x3000n, 0x5003n), [true, 0n, BigInt(LOW), 0x3000n]);
  assertEquals(call(HcallOpcode.GET_TCE, BigInt(LOW), 0x3000n), [true, 0n, 0x5003n, 0x3000n]);
  assertEquals(call(HcallOpcode.GET_TCE, 7n, 0x3000n), [true, BigInt.asUintN(64, -4n), 7n, 0x3000n]);
  assertEquals(call(0x54n, 1n), [false, 0x54n, 1n, 0n]);
  assertEquals(machine.hcall(0x54n, []).ret, Hcall.FUNCTION);
  assertThrows(() => machine.hcallRegisters(new BigUint64Array(9)), TypeError, "ten registers");
});

Deno.test("H_RTAS masks the top four bits of its block's address, and writes its answers behind the arguments", () => {
  using machine = machineOf();
  const block = [RTAS_TOKENS["ibm,query-pe-dma-window"], 3, 5, 0, ...machine.phb(0).buidCells];
  const bytes = new Uint8Array(4 * 12).fill(0xa5);
  const view = new DataView(bytes.buffer);
  block.forEach((word, at) => view.setUint32(4 * at, word));
  machine.ram.write(0x4000n, bytes);
  assertEquals(machine.hcall(HcallOpcode.RTAS, [0xf000_0000_0000_4000n]).ret, Hcall.SUCCESS);
  machine.ram.read(0x4000n, bytes);
  assertEquals([6, 7, 8, 9, 10, 11].map((at) => view.getUint32(4 * at)), [0, 1, 0x8000_0000, 0x107, 0, 0xa5a5_a5a5]);
});

Deno.test("an RTAS block that straddles the end of RAM is read and answered as far as there is RAM", () => {
  using machine = machineOf({ ram: 0x1_0006n });
  const words = new Uint8Array(14);
  const view = new DataView(words.buffer);
  view.setUint32(0, RTAS_TOKENS.quiesce); // nargs 0, nret 0: the status goes to the word after, which ends outside
  machine.ram.write(0xfff8n, words);
  machine.putTce(UNIT, 0n, 3n);
  assertEquals(machine.hcall(HcallOpcode.RTAS, [0xfff8n]).ret, Hcall.SUCCESS);
  assertEquals(machine.table(UNIT)?.stored, 0);
  // Outside RAM the token reads as 0: there is no such call.
  assertEquals(machine.hcall(HcallOpcode.RTAS, [0x10_0000n]).ret, Hcall.PARAMETER);
});

Deno.test("rtas() takes names and tokens, and refuses what no guest could say", () => {
  using machine = machineOf();
  assertEquals(machine.rtas(0x20ff, [], 1), { ret: Hcall.PARAMETER, status: -3, rets: [0xffff_fffd] });
  assertThrows(() => machine.rtas("toString" as "quiesce", [], 1), RangeError, "toString");
  assertThrows(() => machine.rtas("quiesce", [2 ** 32], 1), RangeError, "argument 0");
  assertThrows(() => machine.rtas("quiesce", [], -1), RangeError, "nret");
});

Deno.test("a window appears in one transaction, and the guest learns where", () => {
  using machine = machineOf();
  const heard = listen(machine.phb(0).space);
  assertEquals(create(machine, 16, 47).rets, [0, HIGH, 0x0800_0000, 0]);
  assertEquals(heard, ["+tce-iommu-80000001@800000000000000"]);
  assertEquals(machine.table(HIGH)?.entries, 2 ** 31);
});

Deno.test("the default window comes back when the last window goes, unless that was in its place", () => {
  using machine = machineOf();
  const heard = listen(machine.phb(0).space);
  create(machine, 16, 30);
  assertEquals(remove(machine, LOW).status, RtasStatus.SUCCESS);
  heard.length = 0;
  assertEquals(remove(machine, HIGH).status, RtasStatus.SUCCESS);
  assertEquals(heard, ["-tce-iommu-80000001@800000000000000", "+tce-iommu-80000000@0"], "one transaction");
  assertEquals(remove(machine, LOW).status, RtasStatus.SUCCESS);
  assertEquals(create(machine, 12, 20).rets[1], LOW);
  assertEquals(remove(machine, LOW).status, RtasStatus.SUCCESS);
  assertEquals(
    machine.phb(0).windows.length,
    0,
    "observed: a created window in the default's place is not followed by it",
  );
});

Deno.test("a window that a listener refuses is a hardware error and leaves nothing, not even for the next one", () => {
  using machine = machineOf();
  let refuses = false;
  const heard = listen(machine.phb(0).space, () => refuses);
  const before = machine.tables;
  refuses = true;
  const refused = create(machine, 16, 30);
  assertEquals([refused.ret, refused.status, refused.rets, refused.error?.code], [
    0,
    -1,
    [0xffff_ffff],
    "host-refused",
  ]);
  assertEquals([machine.tables, heard], [before, []]);
  assertEquals(machine.rtas("ibm,query-pe-dma-window", [0, ...machine.phb(0).buidCells], 5).rets[1], 1);
  refuses = false;
  assertEquals(create(machine, 16, 30).rets[1], HIGH);
});

Deno.test("calls on which QEMU aborts answer an error, and the next one is fine", () => {
  using machine = machineOf();
  assertEquals(remove(machine, UNIT).status, -3, "a VIO LIOBN");
  assertEquals(create(machine, 12, 44).status, -1, "2^32 entries");
  assertEquals(create(machine, 12, 63).status, -1);
  assertEquals(create(machine, 76, 80).status, -3, "a shift of 64 and more");
  assertEquals(create(machine, 12, 76).status, -3);
  assertEquals(create(machine, 12, 43).rets[1], HIGH, "2^31 entries, right after the refusals");
});

Deno.test("two windows at one bus address: the higher LIOBN hides the lower, which shows beyond its end", () => {
  using machine = machineOf();
  create(machine, 16, 30); // HIGH, far away
  remove(machine, LOW);
  remove(machine, HIGH); // restores LOW
  create(machine, 16, 30);
  remove(machine, LOW);
  assertEquals(create(machine, 12, 31).rets, [0, LOW, 0x0800_0000, 0], "one window is there: the far address");
  machine.putTce(LOW, FAR, 0x1003n);
  machine.putTce(LOW, FAR + (1n << 30n), 0x2003n);
  const space = machine.phb(0).space;
  machine.ram.write(0x1000n, new Uint8Array([1]));
  machine.ram.write(0x2000n, new Uint8Array([2]));
  const read = (bus: bigint) => {
    const byte = new Uint8Array([9]);
    readDma(space, bus, byte);
    return byte[0];
  };
  assertEquals([read(FAR), read(FAR + (1n << 30n))], [0, 2], "hidden by an invalid entry: no fall-through");
  remove(machine, HIGH);
  assertEquals(read(FAR), 1);
});

Deno.test("quiesce empties VIO tables, reset everything, and notifiers are told", () => {
  using machine = machineOf();
  const heard: string[] = [];
  for (const table of machine.tables) {
    registerNotifier(
      table.region,
      new IommuNotifier({
        flags: IommuNotifierFlag.IOTLB_EVENTS,
        notify: (event) =>
          heard.push(
            `${event.type === IommuNotifierFlag.MAP ? "+" : "-"}${table.liobn.toString(16)}:${event.iova.start}`,
          ),
      }),
    );
    table.putTce(0x1000n, 0x3003n);
  }
  heard.length = 0;
  machine.rtas("ibm,set-tce-bypass", [UNIT, 1], 1);
  assertEquals(machine.rtas("quiesce", [], 1).status, 0);
  assertEquals([heard, machine.vio(UNIT).bypass], [["-71000001:4096"], true]);
  create(machine, 24, 30);
  machine.putTce(UNIT, 0n, 3n);
  heard.length = 0;
  machine.reset();
  assertEquals(heard, ["-71000001:0", "-80000000:4096"]);
  assertEquals([machine.stored, machine.vio(UNIT).bypass, machine.phb(0).windows.length], [0, false, 1]);
});

Deno.test("all tables of a machine share one limit, whoever writes to them", () => {
  using machine = machineOf({ entryLimit: 3 });
  machine.stuffTce(UNIT, 0n, 1n, 2n);
  const full = machine.stuffTce(LOW, 0n, 1n, 2n);
  assertEquals([full.ret, full.stored, full.error?.code], [Hcall.NOT_ENOUGH_RESOURCES, 0, "entry-limit"]);
  assertEquals(machine.table(LOW)?.putTce(0n, 1n).ret, Hcall.SUCCESS, "directly, as a test suite may");
  assertEquals(machine.putTce(UNIT, 0x5000n, 1n).ret, Hcall.NOT_ENOUGH_RESOURCES);
  create(machine, 12, 20);
  remove(machine, LOW);
  assertEquals(machine.stored, 2, "a removed window's entries count no more");
  assertEquals(machine.putTce(HIGH, FAR, 1n).ret, Hcall.SUCCESS);
});

Deno.test("RTAS calls are not made inside transactions, listeners or notifiers", () => {
  using machine = machineOf();
  const { space } = machine.phb(0);
  const codes: unknown[] = [];
  const attempt = () => {
    codes.push(assertThrows(() => create(machine, 16, 30), IommuError).code);
  };
  transaction(attempt);
  const listener: MemoryListener = { commit: attempt };
  space.addListener(listener);
  space.removeListener(listener);
  const notifier = new IommuNotifier({ flags: IommuNotifierFlag.MAP, notify: attempt });
  registerNotifier(machine.table(LOW)!.region, notifier);
  machine.putTce(LOW, 0n, 3n);
  assertEquals(codes, Array(4).fill("change-in-progress"));
  assertEquals(machine.tables.length, 2);
});

Deno.test("a machine works in system memory that is not its own", () => {
  const root = new MemoryRegion({ name: "system", size: 1n << 64n });
  root.addSubregion(1n << 40n, new RamRegion({ name: "high", size: 0x4000n, memory: new ArrayGuestMemory(0x4000) }));
  using memory = new AddressSpace({ name: "system", root });
  {
    using machine = new SpaprMachine({ memory, phbs: [{ index: 0 }] });
    machine.putTce(LOW, 0n, (1n << 40n) | 3n);
    writeDma(machine.phb(0).space, 8n, new Uint8Array([7]));
    const byte = new Uint8Array(1);
    assert(machine.ram.read((1n << 40n) + 8n, byte));
    assertEquals(byte[0], 7);
  }
  assertEquals(memory.sections.length, 1, "borrowed memory outlives the machine");
});

Deno.test("a disposed machine says so, and its tables too", () => {
  const machine = machineOf();
  const table = machine.table(LOW)!;
  machine[Symbol.dispose]();
  machine[Symbol.dispose]();
  for (
    const use of [
      () => machine.putTce(LOW, 0n, 3n),
      () => machine.rtas("quiesce", [], 1),
      () => machine.reset(),
      () => machine.save(),
      () => machine.addVio({ unit: 9 }),
      () => table.putTce(0n, 3n),
    ]
  ) assertEquals(assertThrows(use, IommuError).code, "disposed");
});

Deno.test("a machine, a bridge and a device refuse options that are misspelt or of the wrong type", () => {
  // deno-lint-ignore no-explicit-any
  const untyped = (value: unknown): any => value;
  const cases: [() => unknown, string][] = [
    [() => new SpaprMachine(untyped({ ram: 1 << 20 })), "its ram is a number, expected a number of bytes as a bigint"],
    [() => new SpaprMachine(untyped({ ram: 0x1000n, phb: [] })), "there is no phb"],
    [() => new SpaprMachine(untyped({ ram: 0x1000n, phbs: [{ index: 0, dma64WinAdr: 0n }] })), "no dma64WinAdr"],
    [() => new SpaprMachine(untyped({ ram: 0x1000n, vios: [{ unit: 0, size: 0n }] })), "there is no size"],
    [() => new SpaprPhb(untyped({ index: 0, dmaWindow: { size: 0x1000n, pageshift: 16 } })), "there is no pageshift"],
    [() => new SpaprPhb(untyped({ index: 0, memory: {} })), "expected an AddressSpace, got an object"],
  ];
  for (const [misuse, words] of cases) assertThrows(misuse, TypeError, words);
});

Deno.test("the default window, a bridge and a device are there, or what is missing is named", () => {
  using machine = new SpaprMachine({ ram: 0x1_0000n, phbs: [{ index: 0 }, { index: 3 }] });
  const phb = machine.phb(3);
  assertEquals(phb.defaultWindow.liobn, 0x8000_0300);
  assertEquals(machine.rtas("ibm,remove-pe-dma-window", [0x8000_0300], 1).status, 0);
  const error = assertThrows(() => phb.defaultWindow, IommuError, "Cannot use the default window of PCI host bridge 3");
  assertEquals(error.code, "no-window");
  assertThrows(() => machine.phb(1), RangeError, "has PCI host bridge 0, PCI host bridge 3");
  assertThrows(
    () => machine.vio(0x7100_0000),
    RangeError,
    "Cannot find VIO device 0x71000000: the sPAPR machine has none",
  );
});
