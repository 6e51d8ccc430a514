import { IommuError } from "@giommu/core";
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { bytes, recorded, recording } from "./testdata/recordings.ts";
import { openInput } from "./input.ts";
import { MigrationStream, readMigrationStream } from "./migration_stream.ts";
import { RebuiltMachine } from "./rebuilt_machine.ts";

async function inflated(name: string): Promise<Uint8Array<ArrayBuffer>> {
  using file = await Deno.open(recording(name), { read: true });
  const stream = file.readable.pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function machineOf(text: string): RebuiltMachine {
  const machine = new RebuiltMachine();
  assertEquals(machine.feed(bytes(text), { last: true }), "end");
  return machine;
}

Deno.test("the tables of QEMU's own migration streams equal those that the logs tell", async () => {
  const expected = {
    "migration-ddw-off": { mapped: [0, 98, 303], unknown: [0, 87, 43] },
    "migration-ddw-on": { mapped: [0, 0, 32], unknown: [0, 0, 27] },
  };
  for (const [name, { mapped, unknown }] of Object.entries(expected)) {
    using stream = await readMigrationStream(recording(`${name}.mig.gz`));
    assertEquals([stream.unsound, stream.cut], [0, []]);
    assertEquals(stream.tables.map((table) => table.mapped), mapped);
    using machine = machineOf(await recorded(`${name}.log.gz`));
    const compared = machine.compareState(stream);
    assertEquals(compared.map(({ differing }) => differing), [0, 0, 0]);
    assertEquals(compared.map((one) => one.unknown), unknown);
    for (const { entries, agreed, unknown } of compared) assertEquals(agreed + unknown, entries);
  }
});

Deno.test("an entry that differs between log and stream is named", async () => {
  using stream = await readMigrationStream(recording("migration-ddw-on.mig.gz"));
  const log = (await recorded("migration-ddw-on.log.gz")).split("\n");
  const at = log.findIndex((line) => line.includes("pci_indirect"));
  log[at] = log[at]?.replace("tceN=0x1f000003", "tceN=0x1f000001") ?? "";
  using machine = machineOf(log.join("\n"));
  const dynamic = machine.compareState(stream).find(({ liobn }) => liobn === 0x8000_0001);
  assertEquals(dynamic?.differing, 1);
  assertEquals(dynamic?.differences, [
    { iova: 0x800_0000_1f00_0000n, log: 0x1f00_0001n, stream: 0x1f00_0003n },
  ]);
});

Deno.test("a machine can be made of a stream, and then all of it is known", async () => {
  using stream = await readMigrationStream(recording("migration-ddw-on.mig.gz"));
  using machine = new RebuiltMachine({ stream });
  const { liobn, busOffset, pageShift, mapped, unknown, geometry } = machine.tables[2] ?? assert(false) as never;
  assertEquals([liobn, busOffset, pageShift], [0x8000_0001, 1n << 59n, 24]);
  assertEquals([mapped, unknown, geometry], [32, 0, "told"]);
  assertEquals(machine.compareState(stream).map(({ differing, unknown }) => differing + unknown), [0, 0, 0]);
  using bridge = machine.bridge(0);
  assertEquals(bridge.windows.map((table) => table.mapped), [0, 32]);
  using table = stream.table(0x8000_0001);
  assertEquals([table?.entry(31), stream.table(7)], [0x1f00_0003n, undefined]);
});

Deno.test("a stream that is cut gives the tables that were whole, and says which one was not", async () => {
  const whole = await inflated("migration-ddw-on.mig.gz");
  let most = 0;
  for (let length = 0; length <= whole.length; length += 99_991) {
    using stream = new MigrationStream();
    stream.feed(whole.subarray(0, length), { last: true });
    assert(stream.tables.length >= most && stream.cut.length <= 1);
    most = stream.tables.length;
  }
  assertEquals(most, 2);
  using stream = new MigrationStream();
  for (let at = 0; at < whole.length; at += 4093) stream.feed(whole.subarray(at, at + 4093));
  stream.feed(new Uint8Array(), { last: true });
  assertEquals([stream.tables.length, stream.bytes], [3, whole.length]);
});

Deno.test("what is no migration stream is refused", async () => {
  const error = await assertRejects(() => readMigrationStream(bytes("spapr_iommu")), IommuError, "no migration stream");
  assertEquals(error.code, "bad-input");
  await using input = await openInput(recording("hotplug-1g-4k.log.gz"));
  await assertRejects(() => readMigrationStream(input), IommuError, "no migration stream");
  using disposed = new MigrationStream();
  disposed[Symbol.dispose]();
  assertThrows(() => disposed.tables, IommuError, "disposed");
});
