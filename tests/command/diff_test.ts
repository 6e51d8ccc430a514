// `giommu diff`: two states of one guest, of two guests, and of a log and QEMU's own tables.
import { assert, assertEquals, assertMatch } from "@std/assert";
import { recording } from "./paths.ts";
import { bytes, giommu, inflated, inflatedBytes } from "./run_giommu.ts";

// deno-lint-ignore no-explicit-any -- the shape is the command's contract, which these tests spell out
type Json = any;

async function compared(args: readonly string[], code: number, input?: Uint8Array): Promise<Json> {
  const ended = await giommu(["diff", ...args, "--json"], input);
  assertEquals([ended.code, ended.stderr], [code, ""], ended.stdout.slice(0, 400));
  return JSON.parse(ended.stdout);
}

Deno.test("The entry that the guest changed in place is what differs between the hotplug and the lines after it", async () => {
  const log = recording("hotplug-1g-4k.log.gz");
  const { a, b, tables, ranges, differences } = await compared([log, "--at-a", "hotplug", "--at-b", "1381"], 1);
  assertEquals([a.line, b.line, tables[0].agreed, tables[0].changed, tables[0].onlyB], [86, 1381, 592, 1, 8]);
  assertEquals(ranges, 2);
  assertEquals(differences, [
    {
      liobn: "0x80000000",
      kind: "changed",
      iova: { start: "0x0", last: "0xfff" },
      pages: 1,
      a: { target: "0x100000", perm: 3 },
      b: { target: "0x400000", perm: 3 },
    },
    {
      liobn: "0x80000000",
      kind: "only-b",
      iova: { start: "0x5000000", last: "0x5007fff" },
      pages: 8,
      a: null,
      b: { target: "0x4000000", perm: 3 },
    },
  ]);
});

Deno.test("The same, the other way round and as people read it", async () => {
  const log = recording("hotplug-1g-4k.log.gz");
  const ended = await giommu(["diff", log, log, "--at-a", "1381", "--at-b", "hotplug"]);
  assertEquals([ended.code, ended.stderr], [1, ""]);
  assertMatch(
    ended.stdout,
    /^A +hotplug-1g-4k\.log\.gz: .*, at line 1,381\nB +hotplug-1g-4k\.log\.gz: .*, at line 86\n/,
  );
  assertMatch(ended.stdout, /0x0\.\.0xfff \(1 page\) changed: 0x400000 rw in A, 0x100000 rw in B\n/);
  assertMatch(ended.stdout, /0x5000000\.\.0x5007fff \(8 pages\) only in A: 0x4000000 rw\n/);
  assertMatch(ended.stdout, /Result +9 pages in 2 ranges differ/);
});

for (const name of ["migration-ddw-off", "migration-ddw-on"]) {
  Deno.test(`${name}: the log's end and QEMU's own tables are one state, from either side`, async () => {
    const [log, stream] = [recording(`${name}.log.gz`), recording(`${name}.mig.gz`)];
    const { a, b, tables, ranges } = await compared([log, stream], 0);
    assertEquals([ranges, b.line, a.tables.length > 0], [0, null, true]);
    for (const { agreed, onlyA, onlyB, changed } of tables) {
      assertEquals([onlyA, onlyB, changed, agreed >= 0], [0, 0, 0, true]);
    }
    const turned = await compared([stream, log], 0);
    assertEquals(turned.tables.map(({ agreed }: Json) => agreed), tables.map(({ agreed }: Json) => agreed));
    assert(tables.some(({ agreed }: Json) => agreed > 0));
  });

  Deno.test(`${name}: one flipped bit in the stream is found, at its address`, async () => {
    const stream = await inflatedBytes(recording(`${name}.mig.gz`));
    // An entry is 8 bytes, big endian: here a page below 4 GiB, both permissions, and nothing else.
    const view = new DataView(stream.buffer);
    let at = 0;
    while ((view.getBigUint64(at) & ~0xffff_f000n) !== 3n || view.getBigUint64(at) < 0x10_0000n) at++;
    view.setBigUint64(at, view.getBigUint64(at) ^ 0x100_0000n);
    const { differences } = await compared([recording(`${name}.mig.gz`), "-"], 1, stream);
    assertEquals(differences.length, 1);
    assertEquals(BigInt(differences[0].a.target) ^ BigInt(differences[0].b.target), 0x100_0000n);
  });
}

Deno.test("--at is of the log where the other side is a stream, which has one moment only", async () => {
  const [log, stream] = [recording("migration-ddw-off.log.gz"), recording("migration-ddw-off.mig.gz")];
  const { a, b } = await compared([log, stream, "--at", "3000"], 1);
  assertEquals([a.line, b.line], [3000, null]);
  assertEquals((await giommu(["diff", log, stream, "--at-b", "3000"])).code, 2);
});

Deno.test("Two guests differ: exit 1, and a table that only one has is said so", async () => {
  const args = [recording("migration-ddw-off.log.gz"), recording("migration-ddw-on.mig.gz")];
  const { tables } = await compared(args, 1);
  assertEquals(tables.map((table: Json) => [table.liobn, table.in]), [
    ["0x71000002", "both"],
    ["0x71000003", "a"],
    ["0x80000000", "both"],
    ["0x80000001", "b"],
  ]);
  const window = tables.at(-1);
  assertEquals([window.pageShift, window.busOffset, window.onlyB], [24, "0x800000000000000", 32]);
});

Deno.test("Nothing that one of the two does not tell is different", async () => {
  const log = recording("hotplug-1g-4k-noxlate.log.gz");
  // The same guest, once with the translations and once without: they tell 511 pages that the other does not.
  const { tables } = await compared([log, recording("hotplug-1g-4k.log.gz"), "--at", "hotplug"], 0);
  assertEquals([tables[0].agreed, tables[0].unknown], [82, 511]);
});

Deno.test("A log by line, time, share and standard input is the same state", async () => {
  const path = recording("hotplug-two-windows.log.gz");
  const text = await inflated(path);
  const lines = text.split("\n");
  const time = /@([0-9.]+):/.exec(lines[1199] ?? "")?.[1] ?? "";
  assertEquals((await compared([path, "-", "--at-a", time, "--at-b", "1200"], 0, bytes(text))).b.line, 1200);
  const half = bytes(text).subarray(0, Math.floor(bytes(text).length / 2));
  assertEquals((await compared(["-", path, "--at-b", "50%"], 0, half)).ranges, 0);
});

Deno.test("A window that was made anew with other pages differs by its geometry", async () => {
  const make = (page: string) =>
    "spapr_iommu_ddw_create buid=0x800000020000000 addr=0x0, " +
    `page size=${page}, requested=0x10000000, start addr=0x800000000000000, liobn=0x80000001\n`;
  const log = make("0x10000") + "spapr_iommu_ddw_remove liobn=0x80000001\n" + make("0x1000000");
  const path = await Deno.makeTempFile();
  try {
    await Deno.writeTextFile(path, log);
    const { tables, ranges } = await compared([path, "--at-a", "1", "--at-b", "3"], 1);
    assertEquals([ranges, tables[0].pageShift, tables[0].geometryB.pageShift], [0, 16, 24]);
    const { stdout } = await giommu(["diff", path, "--at-a", "1", "--at-b", "3"]);
    assertMatch(stdout, /in B it is 256 MiB of 16 MiB pages at 0x800000000000000/);
  } finally {
    await Deno.remove(path);
  }
});

Deno.test("Damaged and senseless input: one line, exit 2", async () => {
  const log = recording("hotplug-1g-4k.log.gz");
  const whole = await Deno.readFile(log);
  const cases: [string[], Uint8Array?][] = [
    [[log, "-"], whole.subarray(0, 20_000)],
    [["-", log], new Uint8Array()],
    [["-", log], bytes("nothing of ours\n")],
    [[log]],
    [[log, "--at-a", "5", "--at-b", "5"]],
    [["-", "-"]],
    [[log, log, log]],
    [[log, log, "--at", "1", "--at-a", "2", "--at-b", "3"]],
    [[log, log, "--at-b", "99999999"]],
    [[log, "/nonexistent"]],
    [[recording("hotplug-vtd.log.gz"), recording("hotplug-vtd.log.gz"), "--at-a", "50"]],
    [[log, recording("migration-ddw-on.mig.gz"), "--at-b", "7"]],
    [[]],
  ];
  for (const [args, input] of cases) {
    const ended = await giommu(["diff", ...args], input);
    assertEquals([ended.code, ended.stdout], [2, ""], args.join(" "));
    assertMatch(ended.stderr, /^giommu: [^\n]+\n$/, args.join(" "));
  }
});
