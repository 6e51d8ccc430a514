import { ArrayGuestMemory } from "@giommu/memory-api";
import { SimulatedHost, VfioContainer } from "@giommu/vfio-sync";
import { Hcall, SpaprPhb, TceTable } from "@giommu/spapr-tce";
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { bytes } from "./testdata/recordings.ts";
import { QemuLogWriter } from "./log_writer.ts";
import { logSpace } from "./logged_space.ts";
import { logTable } from "./logged_table.ts";
import { RebuiltMachine } from "./rebuilt_machine.ts";

const ENTRIES = 0x4_0000;
const LIST = 0x1000n;

/** Where calls begin: at the beginning and at the end of the table, and beyond it. */
const page = fc.oneof(fc.integer({ min: 0, max: 12 }), fc.integer({ min: ENTRIES - 12, max: ENTRIES + 1 }));
const tce = fc.oneof(
  fc.constant(0n),
  fc.tuple(fc.bigInt(1n, 8n), fc.bigInt(0n, 0xfffn)).map(([target, low]) => target << 12n | low),
);
const step = fc.oneof(
  fc.record({ call: fc.constant("put" as const), page, tce }),
  fc.record({ call: fc.constant("get" as const), page }),
  fc.record({ call: fc.constant("stuff" as const), page, tce, count: fc.bigInt(0n, 16n) }),
  fc.record({ call: fc.constant("indirect" as const), page, list: fc.array(tce, { maxLength: 16 }) }),
  fc.record({ call: fc.constant("translate" as const), page }),
);

Deno.test("a table that is rebuilt from its log is the table, as far as a log tells", () => {
  fc.assert(fc.property(fc.array(step, { maxLength: 40 }), fc.array(page), (steps, looks) => {
    let log = "";
    const memory = new ArrayGuestMemory(new Uint8Array(0x4000));
    using table = new TceTable({ liobn: 0x8000_0000, entries: ENTRIES });
    table.putTce(0x3000n, 0x7003n);
    const logged = logTable(table, new QemuLogWriter({ write: (line) => log += line }));
    for (const one of steps) {
      const ioba = BigInt(one.page) * 0x1000n + 0x123n;
      if (one.call === "put") logged.putTce(ioba, one.tce);
      else if (one.call === "get") logged.getTce(ioba);
      else if (one.call === "stuff") logged.stuffTce(ioba, one.tce, one.count);
      else if (one.call === "translate") logged.translate(ioba);
      else {
        const list = new DataView(new ArrayBuffer(8 * one.list.length));
        one.list.forEach((tce, at) => list.setBigUint64(8 * at, tce));
        memory.write(LIST, new Uint8Array(list.buffer));
        logged.putTceIndirect(ioba, LIST, BigInt(one.list.length), memory);
      }
    }
    for (const look of looks) logged.translate(BigInt(look) * 0x1000n);
    using machine = new RebuiltMachine();
    assertEquals(machine.feed(bytes(log), { last: true }), "end");
    assertEquals([machine.counts.unparsed, machine.problemCount], [0, 0], log);
    assertEquals([machine.translations.disagreed, machine.reads.disagreed], [0, 0], log);
    using rebuilt = machine.table(0x8000_0000);
    assert(rebuilt);
    const unknown = new Set<number>();
    for (const { first, pages } of machine.unknownRuns(0x8000_0000)) {
      for (let index = first; index < first + pages; index++) unknown.add(index);
    }
    for (let index = 0; index < 32; index++) {
      for (const at of [index, ENTRIES - 1 - index]) {
        if (unknown.has(at)) assertEquals(rebuilt.entry(at), 0n);
        else {
          const [ours, theirs] = [rebuilt.entry(at), table.entry(at)];
          // What a translation taught lacks the bits that mean nothing.
          assert(ours === theirs || ours === (theirs & ~0xffcn), `entry ${at}: ${ours} and ${theirs}\n${log}`);
        }
      }
    }
  }));
});

Deno.test("a call that the host refuses leaves only entries of that call unknown", () => {
  let log = "";
  using table = new TceTable({ liobn: 0x8000_0000, entries: ENTRIES, entryLimit: 2 });
  const logged = logTable(table, new QemuLogWriter({ write: (line) => log += line }));
  logged.putTce(0x1000n, 0x7003n);
  assertEquals(logged.stuffTce(0x4000n, 0x8003n, 4n).ret, Hcall.NOT_ENOUGH_RESOURCES);
  assertEquals(logged.putTce(0x9000n, 0x9003n).ret, Hcall.SUCCESS);
  using machine = new RebuiltMachine();
  machine.feed(bytes(log), { last: true });
  assertEquals(machine.tables[0]?.mapped, 2);
  for (const { first, pages } of machine.unknownRuns(0x8000_0000)) assert(first >= 4 && first + pages <= 8);
});

Deno.test("windows that are not QEMU's default are described, and tables of VIO devices logged as such", () => {
  let log = "";
  const writer = new QemuLogWriter({ write: (line) => log += line });
  using phb = new SpaprPhb({ index: 2, dmaWindow: { busOffset: 0x1000_0000n, size: 0x100_0000n, pageShift: 16 } });
  phb.addWindow({ busOffset: 1n << 59n, size: 1n << 30n, pageShift: 24 });
  for (const table of phb.windows) logTable(table, writer).putTce(table.busOffset, 0x100_0003n);
  using vio = new TceTable({ liobn: 0x7100_0003, entries: 0x1_0000 });
  const logged = logTable(vio, writer);
  logged.stuffTce(0n, 0x3003n, 2n);
  logged.getTce(0x1000n);
  using machine = new RebuiltMachine();
  machine.feed(bytes(log), { last: true });
  const geometry = machine.tables.map(({ liobn, busOffset, pageShift, entries, mapped }) => [
    liobn,
    busOffset,
    pageShift,
    entries,
    mapped,
  ]);
  assertEquals(geometry, [
    [0x7100_0003, 0n, 12, 0x1_0000, 2],
    [0x8000_0200, 0x1000_0000n, 16, 0x100, 1],
    [0x8000_0201, 1n << 59n, 24, 64, 1],
  ]);
  assertEquals([machine.reads.agreed, machine.problemCount], [1, 0]);
  assert(log.includes("spapr_iommu_stuff") && log.includes("spapr_iommu_get"));
});

Deno.test("the log of a hotplug in TypeScript shows the same replay as QEMU's", () => {
  let log = "";
  const writer = new QemuLogWriter({ write: (line) => log += line, now: () => 1_000_000n });
  using phb = new SpaprPhb({ index: 0 });
  const table = phb.defaultWindow;
  assert(table);
  const logged = logTable(table, writer);
  logged.stuffTce(0x1000n, 0x7003n, 4n);
  logged.putTce(0x3fff_f000n, 0x8001n);
  {
    using _qemu = logSpace(phb.space, writer);
    logged.putTce(0x3fff_f000n, 0x9001n);
    logged.stuffTce(0x1000n, 0n, 2n);
    phb.addWindow({ busOffset: 1n << 59n, size: 1n << 30n, pageShift: 24 });
  }
  using machine = new RebuiltMachine();
  assertEquals(machine.feed(bytes(log), { last: true }), "hotplug");
  assertEquals(machine.hotplugs[0]?.comparison, { replayed: 5, agreed: 5, missing: 0, extra: 0, unknown: 0 });
  using bridge = machine.bridge(0);
  const host = new SimulatedHost();
  using container = new VfioContainer({ host });
  assertEquals(container.attach(bridge.space).pages, 5n);
  assertEquals(machine.resume(), "unplug");
  assertEquals(host.translate(0x3fff_f000n)?.gpa, 0x9000n);
  assertEquals([...host.mappings()].length, 3);
});
