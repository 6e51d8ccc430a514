import { memory } from "@giommu/core/wasm/log";
import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { bytes, recorded } from "./testdata/recordings.ts";
import { QEMU_EVENT_FIELDS } from "./event_fields.ts";
import { QemuLogReader, readQemuLog } from "./log_reader.ts";
import { QemuLogWriter } from "./log_writer.ts";
import type { QemuEvent, QemuEventName, QemuRecord } from "./record.ts";

function read(log: Uint8Array, pieces: readonly number[] = []): QemuRecord[] {
  using reader = new QemuLogReader();
  const records: QemuRecord[] = [];
  let from = 0;
  for (const to of pieces) {
    records.push(...reader.feed(log.subarray(from, to)));
    from = to;
  }
  records.push(...reader.feed(log.subarray(from), true));
  return records;
}

const NAMES = Object.keys(QEMU_EVENT_FIELDS) as QemuEventName[];

/** Fields that cannot be as large as their type: PAPR's lists, permissions, shifts. */
const SMALL: Record<string, number> = { perm: 3, iobaN: 511, pageShift: 63 };
/** LIOBNs are 64 bits wide only where a guest gives them. */
const WIDE = /_(put|get|indirect|stuff)$/;

function eventOf(name: QemuEventName): fc.Arbitrary<QemuEvent> {
  const fields: Record<string, fc.Arbitrary<unknown>> = {};
  for (const [field, kind] of Object.entries(QEMU_EVENT_FIELDS[name])) {
    const narrow = field === "addr" || field === "liobn" && !WIDE.test(name);
    if (kind === "text") {
      fields[field] = name === "vfio_iommu_map_notify"
        ? fc.constantFrom("MAP", "UNMAP")
        : fc.stringMatching(/^[a-z0-9@" .-]{1,30}$/);
    } else if (kind === "hex") fields[field] = fc.bigInt(0n, narrow ? 0xffff_ffffn : 0xffff_ffff_ffff_ffffn);
    else if (kind === "flag") fields[field] = fc.boolean();
    else if (field === "ret" || /fd$/i.test(field) || field === "ioas") fields[field] = fc.integer({ min: -(2 ** 31) });
    else fields[field] = fc.integer({ min: 0, max: SMALL[field] ?? 0x7fff_ffff });
  }
  const stamp = fc.oneof(
    fc.constant({}),
    fc.record({ time: fc.bigInt(0n, 10n ** 18n - 1n), thread: fc.integer({ min: 0, max: 0x7fff_ffff }) }),
  );
  return fc.tuple(fc.record(fields), stamp).map(([fields, stamp]) =>
    ({ event: name, ...fields, ...stamp }) as QemuEvent
  );
}

const EVENTS = fc.array(fc.constantFrom(...NAMES).chain(eventOf), { minLength: 1, maxLength: 12 });

Deno.test("whatever a QemuLogWriter writes, a QemuLogReader reads, in pieces of any size", () => {
  fc.assert(fc.property(EVENTS, fc.array(fc.nat()), (events, cuts) => {
    let log = "";
    const writer = new QemuLogWriter({ write: (line) => log += line });
    for (const event of events) writer.write(event);
    const data = bytes(log);
    const pieces = cuts.map((cut) => cut % data.length).sort((a, b) => a - b);
    assertEquals(read(data, pieces), events.map((event, at) => ({ ...event, line: at + 1 }) as QemuRecord));
  }));
});

Deno.test("every kind of event can be written and read", () => {
  for (const name of NAMES) {
    const [event] = fc.sample(eventOf(name), { numRuns: 1, seed: 7 });
    assert(event);
    let log = "";
    new QemuLogWriter({ write: (line) => log += line }).write(event);
    assertEquals(read(bytes(log)).map((record) => record.event), [name], log);
  }
});

Deno.test("a QemuLogWriter refuses what no line of QEMU's can say", () => {
  const writer = new QemuLogWriter({ write: () => {} });
  const put = { event: "spapr_iommu_put", liobn: 1n, ioba: 0n, tce: 0n, ret: 0 } as const;
  assertThrows(() => writer.write({ ...put, tce: 1n << 64n }), RangeError, "tce");
  assertThrows(() => writer.write({ ...put, ioba: -1n }), RangeError, "ioba");
  assertThrows(() => writer.write({ ...put, ret: 0.5 }), RangeError, "ret");
  assertThrows(() => writer.write({ ...put, time: -1n }), RangeError, "time");
  const region = "a\nb";
  assertThrows(() => writer.write({ event: "vfio_listener_region_del_iommu", region }), RangeError, "line end");
  // deno-lint-ignore no-explicit-any
  assertThrows(() => writer.write({ event: "spapr_iommu_nothing" } as any), TypeError, "there is none");
  // deno-lint-ignore no-explicit-any
  assertThrows(() => writer.write({ event: "spapr_iommu_put" } as any), TypeError, "liobn");
});

Deno.test("foreign, damaged and cut lines are counted as what they are", () => {
  using reader = new QemuLogReader();
  const log = bytes(
    "qemu-system-ppc64: warning: hello\r\n" +
      "spapr_iommu_pci_put liobn=0x80000000 ioba=0x1000 tce=0x440e003 ret=0\r\n" +
      "spapr_iommu_pci_put liobn=0x80000000 ioba=0x1000 tce=0x440e003 ret=zero\n" +
      "vfio_pci_read_config  (0000:00:04.0, @0x3d, len=0x1) 0x1\n" +
      "7@1.000002:spapr_iommu_pci_put liobn=0x80000000 ioba=0x10",
  );
  assertEquals([...reader.feed(log, true)].map(({ line }) => line), [2]);
  assertEquals(reader.counts, { lines: 5, events: 1, unparsed: 2, bytes: log.length });
});

Deno.test("events that are only counted are as many as those that are read", async () => {
  const log = bytes(await recorded("hotplug-linux.log.gz"));
  using reader = new QemuLogReader();
  const events = [...reader.feed(log, true)].length;
  using counter = new QemuLogReader();
  counter.skip(log.subarray(0, 1000));
  counter.skip(log.subarray(1000), true);
  assertEquals(counter.counts, reader.counts);
  assertEquals(counter.counts.events, events);
});

Deno.test("noise is read without an error", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 2000 }), (noise) => {
    read(noise);
  }));
});

Deno.test("lines of 30 MB pass in constant memory", async () => {
  const piece = new Uint8Array(1 << 20).fill(0x78);
  function* log(): Generator<Uint8Array<ArrayBuffer>> {
    yield bytes("spapr_iommu_put ");
    for (let i = 0; i < 30; i++) yield piece;
    yield bytes("\n");
    for (let i = 0; i < 30; i++) yield piece;
    yield bytes("\nspapr_iommu_ddw_remove liobn=0x80000001\n");
  }
  const pieces = log();
  const stream = new ReadableStream<Uint8Array<ArrayBuffer>>({
    pull(controller) {
      const { value, done } = pieces.next();
      if (done) controller.close();
      else controller.enqueue(value);
    },
  });
  const before = memory().buffer.byteLength;
  using reader = new QemuLogReader();
  const lines: number[] = [];
  for await (const { line } of readQemuLog(stream, reader)) lines.push(line);
  assertEquals([lines, reader.counts.unparsed], [[3], 1]);
  assert(memory().buffer.byteLength - before <= 4 << 20, `${memory().buffer.byteLength - before} bytes more`);
});

Deno.test("a reader that was disposed says so", () => {
  const reader = new QemuLogReader();
  reader[Symbol.dispose]();
  reader[Symbol.dispose]();
  assertThrows(() => [...reader.feed(bytes("x"))], Error, "disposed");
});
