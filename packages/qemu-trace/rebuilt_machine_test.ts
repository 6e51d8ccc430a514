import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import fc from "fast-check";
import { bytes, deflated, recorded, recording } from "./testdata/recordings.ts";
import { openInput } from "./input.ts";
import { RebuiltMachine } from "./rebuilt_machine.ts";

/** Reads a recording to its end. */
async function whole(name: string): Promise<RebuiltMachine> {
  const machine = new RebuiltMachine();
  await using input = await openInput(recording(name));
  while (await machine.read(input) !== "end");
  return machine;
}

/** A machine that has read all of a text. */
function machineOf(text: string): RebuiltMachine {
  const machine = new RebuiltMachine();
  let stop = machine.feed(bytes(text), true);
  while (stop !== "end") stop = machine.resume();
  return machine;
}

const RECORDINGS = [
  { name: "boot-multitce-off.log.gz", agreed: 4145, learned: 0, mapped: [0, 34, 112], unknown: [0, 0, 0] },
  { name: "boot-ddw-off.log.gz", agreed: 3094, learned: 48, mapped: [0, 14, 15], unknown: [0, 20, 97] },
  { name: "boot-ddw-on.log.gz", agreed: 2778, learned: 12, mapped: [0, 14, 0, 4], unknown: [0, 21, 0, 60] },
  { name: "migration-ddw-off.log.gz", agreed: 70, learned: 338, mapped: [0, 11, 260], unknown: [0, 87, 43] },
  { name: "migration-ddw-on.log.gz", agreed: 1470, learned: 4, mapped: [0, 0, 5], unknown: [0, 0, 27] },
  { name: "hotplug-1g-4k.log.gz", agreed: 228, learned: 1086, mapped: [593], unknown: [260_959] },
  { name: "hotplug-linux.log.gz", agreed: 482, learned: 403, mapped: [383], unknown: [0] },
];

for (const { name, agreed, learned, mapped, unknown } of RECORDINGS) {
  Deno.test(`QEMU's translations in ${name} agree with the tables rebuilt from the calls before them`, async () => {
    using machine = await whole(name);
    assertEquals(machine.translations, { agreed, disagreed: 0, learned });
    assertEquals(machine.tables.map((table) => table.mapped), mapped);
    assertEquals(machine.tables.map((table) => table.unknown), unknown);
    assertEquals([machine.problemCount, machine.disagreements, machine.counts.unparsed], [0, [], 0]);
  });
}

const HOTPLUGS = [
  { name: "hotplug-1g-4k.log.gz", comparisons: [[593, 593, 0], [593, 593, 0]], lines: [86, 2529] },
  { name: "hotplug-1g-4k-noxlate.log.gz", comparisons: [[593, 82, 511], [593, 82, 511]], lines: [86, 1872] },
  { name: "hotplug-linux.log.gz", comparisons: [[415, 415, 0]], lines: [948] },
  { name: "hotplug-two-windows.log.gz", comparisons: [[1105, 83, 1022]], lines: [89] },
];

for (const { name, comparisons, lines } of HOTPLUGS) {
  Deno.test(`what QEMU replayed in ${name} is what the tables hold`, async () => {
    using machine = await whole(name);
    assertEquals(machine.hotplugs.map(({ line }) => line), lines);
    for (const [at, [replayed, agreed, unknown]] of comparisons.entries()) {
      assertEquals<unknown>(machine.hotplugs[at]?.comparison, { replayed, agreed, missing: 0, extra: 0, unknown });
    }
  });
}

Deno.test("one flipped bit of a TCE is named by the line that contradicts it", async () => {
  const text = await recorded("boot-multitce-off.log.gz");
  const lines = text.split("\n");
  const at = lines.findIndex((line) => /pci_put .*tce=0x[0-9a-f]*3 ret=0/.test(line));
  const line = lines[at];
  assert(line);
  const flipped = line.replace(
    /tce=0x([0-9a-f]+)/,
    (_, tce) => `tce=0x${(BigInt(`0x${tce}`) ^ 0x10_0000n).toString(16)}`,
  );
  lines[at] = flipped;
  using machine = machineOf(lines.join("\n"));
  const [first] = machine.disagreements;
  assert(first);
  assert(machine.translations.disagreed > 0 && first.line > at);
  assertEquals([first.liobn, first.by], [0x8000_0000, "xlate"]);
  assertEquals(first.rebuilt.target ^ first.logged.target, 0x10_0000n);
});

Deno.test("the peak is named where a table is empty at the end", () => {
  const put = (page: number, tce: number): string =>
    `spapr_iommu_pci_put liobn=0x80000100 ioba=0x${page}000 tce=0x${tce} ret=0\n`;
  using machine = machineOf(
    "spapr_iommu_new_table liobn=0x80000100 table=(nil) fd=-1\n" + put(1, 3) + put(2, 3) + put(1, 0) + put(2, 0),
  );
  assertEquals(machine.peaks, [{ index: 1, inUse: 0, peak: 2, line: 3 }]);
});

const LOG = "1@1.000000:spapr_iommu_new_table liobn=0x80000000 table=(nil) fd=-1\n" +
  "1@2.000000:spapr_iommu_pci_put liobn=0x80000000 ioba=0x1000 tce=0x440e003 ret=0\n" +
  "1@3.000000:spapr_iommu_pci_put liobn=0x80000000 ioba=0x2000 tce=0x440f003 ret=0\n";

Deno.test("reading stops where it is told to, by line, byte and time, and goes on from there", () => {
  for (const point of [{ line: 2 }, { time: 2_000_000n }, { time: 2_999_999n }, { offset: 200 }]) {
    using machine = new RebuiltMachine();
    machine.stopAt(point);
    assertEquals(machine.feed(bytes(LOG), true), "limit");
    assertEquals([machine.counts.lines, machine.tables[0]?.mapped], [2, 1]);
    assertEquals(machine.resume(), "limit");
    machine.stopAt({});
    assertEquals([machine.resume(), machine.resume()], ["end", "end"]);
    assertEquals([machine.counts.lines, machine.tables[0]?.mapped, machine.timed], [3, 2, true]);
  }
});

Deno.test("bytes may come in pieces of any size, also in huge ones", async () => {
  const text = await recorded("hotplug-linux.log.gz");
  using expected = machineOf(text);
  const data = bytes(text.repeat(12));
  assert(data.length > 3 << 20);
  using huge = new RebuiltMachine();
  for (let stop = huge.feed(data, true); stop !== "end";) stop = huge.resume();
  assertEquals(huge.counts.lines, 12 * expected.counts.lines);
  using pieces = new RebuiltMachine();
  const log = bytes(text);
  for (let at = 0; at < log.length; at += 997) {
    let stop = pieces.feed(log.subarray(at, at + 997), at + 997 >= log.length);
    while (stop !== "input" && stop !== "end") stop = pieces.resume();
  }
  assertEquals([pieces.counts, pieces.tables], [expected.counts, expected.tables]);
});

Deno.test("the runs of a table are those that are mapped and those that are unknown", () => {
  using machine = machineOf(
    LOG + "spapr_iommu_pci_indirect liobn=0x80000000 ioba=0x8000 tcelist=0x0 iobaN=0x3 tceN=0x9003 ret=0\n",
  );
  assertEquals([...machine.mappedRuns(0x8000_0000)], [
    { first: 1, pages: 2, iova: { start: 0x1000n, last: 0x2fffn }, target: 0x440_e000n, perm: 3 },
    { first: 11, pages: 1, iova: { start: 0xb000n, last: 0xbfffn }, target: 0x9000n, perm: 3 },
  ]);
  assertEquals([...machine.unknownRuns(0x8000_0000)], [{ first: 8, pages: 3 }]);
  assertEquals([[...machine.mappedRuns(1)], [...machine.unknownRuns(1)]], [[], []]);
  using table = machine.table(0x8000_0000);
  assertEquals([table?.entry(1), table?.mapped, machine.table(1)], [0x440_e003n, 3, undefined]);
});

Deno.test("a geometry that is given counts where the log tells none", () => {
  const put = "spapr_iommu_pci_put liobn=0x80000000 ioba=0x840000000 tce=0x440e003 ret=0\n";
  using unaware = machineOf(LOG + put);
  assertEquals([unaware.problemCount, unaware.problems[0]?.kind, unaware.problems[0]?.line], [1, "outside-window", 4]);
  using machine = new RebuiltMachine({
    windows: [{ liobn: 0x8000_0000, size: 0x1_0000_0000n, busOffset: 0x8_0000_0000n, pageShift: 16 }],
  });
  machine.feed(bytes(LOG.split("\n")[0] + "\n" + put), true);
  assertEquals(machine.problemCount, 0);
  assertEquals(machine.tables[0], {
    liobn: 0x8000_0000,
    serial: 1,
    busOffset: 0x8_0000_0000n,
    pageShift: 16,
    entries: 0x1_0000,
    mapped: 1,
    unknown: 0,
    inUse: 1,
    geometry: "given",
  });
  for (
    const window of [
      { liobn: 0x8000_0000, size: 0xfffn },
      { liobn: 0x8000_0000, size: 0x2000n, busOffset: 0xffff_ffff_ffff_f000n },
      { liobn: 0x8000_0000, size: 1n << 63n },
      { liobn: -1, size: 0x1000n },
      { liobn: 1, size: 0x1000n, pageShift: 64 },
    ]
  ) {
    assertThrows(() => new RebuiltMachine({ windows: [window] }), RangeError);
  }
});

Deno.test("a log that is cut in mid-line is read as far as it goes", async () => {
  const text = (await recorded("hotplug-1g-4k.log.gz")).slice(0, 60_000);
  for (let length = text.length - 300; length < text.length; length++) {
    using machine = machineOf(text.slice(0, length));
    assertEquals([machine.translations.disagreed, machine.problemCount], [0, 0]);
    assert(machine.counts.unparsed <= 1);
  }
});

Deno.test("a recording that is damaged anywhere is read to its end, and the counts stay sound", async () => {
  const logs = await Promise.all(
    ["hotplug-linux", "boot-ddw-on", "hotplug-two-windows"].map(async (name) =>
      bytes(await recorded(`${name}.log.gz`))
    ),
  );
  const damage = fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 60 });
  fc.assert(
    fc.property(fc.constantFrom(...logs), damage, fc.nat(), (log, damage, cut) => {
      const copy = log.slice(0, 1 + cut % log.length);
      for (const [at, byte] of damage) copy[at % copy.length] = byte;
      using machine = new RebuiltMachine();
      using bridge = machine.bridge(0);
      let stop = machine.feed(copy, true);
      while (stop !== "end") stop = machine.resume();
      const { lines, events, unparsed, bytes } = machine.counts;
      assert(events + unparsed <= lines && bytes === copy.length);
      for (const { mapped, unknown, inUse, entries } of machine.tables) {
        assert(mapped + unknown <= entries && mapped <= inUse && inUse <= entries);
      }
      for (const table of bridge.windows) {
        assertEquals(table.mapped, machine.tables.find(({ liobn }) => liobn === table.liobn)?.mapped);
      }
    }),
    { numRuns: 60 },
  );
});

Deno.test("an input that cannot be read on ends in an error, and the machine is as it was", async () => {
  const damaged = (await deflated(bytes(LOG.repeat(5000)))).slice(0, -20);
  using machine = new RebuiltMachine();
  await assertRejects(
    async () => {
      await using input = await openInput(damaged);
      await machine.read(input);
    },
    Error,
    "gzip data is cut",
  );
  assert(machine.counts.lines > 0 && machine.tables.length === 1);
});

Deno.test("a machine is fed in order and disposed of once", () => {
  const machine = new RebuiltMachine();
  machine.stopAt({ line: 1 });
  // So much that some of it has to wait.
  assertEquals(machine.feed(bytes(LOG.repeat(10_000)), true), "limit");
  assertThrows(() => machine.feed(bytes(LOG)), TypeError, "not all read");
  machine[Symbol.dispose]();
  machine[Symbol.dispose]();
  assertThrows(() => machine.counts, Error, "disposed");
  assertThrows(() => machine.resume(), Error, "disposed");
  assertThrows(() => new RebuiltMachine().stopAt({ line: -1 }), RangeError);
});
