import { SpaprMachine } from "@giommu/spapr-tce";
import { assert, assertEquals } from "@std/assert";
import { LogicalLan } from "./logical_lan.ts";

const UNIT = 0x7100_0001;
const [LIST, FILTERS] = [0x5000n, 0x7000n];
const queue = (bytes: bigint) => 1n << 63n | bytes << 32n | 0x6000n;

/** A card whose three pages are mapped, to a guest of 1 MiB. */
function setUp(): { machine: SpaprMachine; lan: LogicalLan } {
  const machine = new SpaprMachine({ ram: 0x10_0000n, vios: [{ unit: UNIT }] });
  const device = machine.vio(UNIT);
  assert(device !== undefined);
  for (const page of [0n, 1n, 2n]) machine.putTce(UNIT, 0x5000n + page * 0x1000n, 0x8_0003n + page * 0x1000n);
  return { machine, lan: new LogicalLan(device.space) };
}

Deno.test("LogicalLan registers once, frees once, and forgets at a reset", () => {
  const { machine, lan } = setUp();
  using _ = machine;
  assertEquals(lan.free(), -16);
  assertEquals([lan.register(LIST, queue(0x1000n), FILTERS), lan.isOpen], [0, true]);
  assertEquals(lan.register(LIST, queue(0x1000n), FILTERS), -16);
  assertEquals([lan.free(), lan.isOpen], [0, false]);
  lan.register(LIST, queue(0x1000n), FILTERS);
  lan.reset();
  assertEquals(lan.free(), -16);
});

Deno.test("LogicalLan wants to read and write all of every buffer, and writes nothing if it may not", () => {
  const { machine, lan } = setUp();
  using _ = machine;
  for (const at of [0x5000n, 0x6000n, 0x7000n]) {
    const { value = 0n } = machine.getTce(UNIT, at);
    for (const bits of [0n, 1n, 2n]) {
      machine.putTce(UNIT, at, value & ~3n | bits);
      assertEquals(lan.register(LIST, queue(0x1000n), FILTERS), -4);
    }
    machine.putTce(UNIT, at, 0x10_0003n); // just beyond RAM
    assertEquals(lan.register(LIST, queue(0x1000n), FILTERS), -4);
    machine.putTce(UNIT, at, value);
  }
  assertEquals(lan.register(LIST, queue(0x2001n), FILTERS), -4); // a queue of two pages and a byte
  assertEquals(lan.register(0xffff_ffff_ffff_f800n, queue(0x1000n), FILTERS), -4);
  const bytes = new Uint8Array(0x1000);
  machine.ram.read(0x8_0000n, bytes);
  assert(bytes.every((byte) => byte === 0));
  assertEquals(lan.register(LIST, queue(0x2000n), FILTERS), 0);
});
