// `giommu replay` as a person runs it, on recordings of real guests.
import { assert, assertEquals, assertMatch } from "@std/assert";
import { recording } from "./paths.ts";
import { giommu, inflated } from "./run_giommu.ts";

// deno-lint-ignore no-explicit-any -- the shape is the command's contract, which these tests spell out
type Json = any;

async function replayed(args: readonly string[], code = 0): Promise<Json> {
  const ended = await giommu(["replay", ...args, "--json"]);
  assertEquals([ended.code, ended.stderr], [code, ""], ended.stdout.slice(0, 400));
  return JSON.parse(ended.stdout);
}

const IN_STEP = { missing: 0, stale: 0, differing: 0 };

Deno.test("The bare-metal guest: 593 pages in 530 extents, as QEMU replayed them, and nothing lost to the end", async () => {
  const report = await replayed([recording("hotplug-1g-4k.log.gz")]);
  assertEquals([report.hotplug.line, report.hotplug.liobns], [86, ["0x80000000"]]);
  assertEquals([report.hotplug.pages, report.hotplug.extents, report.hotplug.hostMaps], [593, 530, 530]);
  assertEquals([report.hotplug.maps.none, report.hotplug.maps.full], [593, 530]);
  assertEquals(report.qemu, { replayed: 593, agreed: 593, missing: 0, extra: 0, unknown: 0 });
  assertEquals({ ...report.verify, differences: undefined }, {
    guestPages: 593,
    hostPages: 593,
    ...IN_STEP,
    notRam: 0,
    differences: undefined,
  });
  assertEquals(report.error, undefined);
});

Deno.test("The entry that the guest changed in place is the new page on the host: the one that QEMU loses", async () => {
  const dump = await Deno.makeTempFile({ suffix: ".json" });
  try {
    const ended = await giommu(
      ["replay", recording("hotplug-1g-4k.log.gz"), "--dump", dump],
      undefined,
      ["--allow-read", `--allow-write=${dump}`],
    );
    assertEquals(ended.code, 0, ended.stderr);
    const first = JSON.parse(await Deno.readTextFile(dump))[0];
    assertEquals(first, { iova: "0x0", last: "0xfff", gpa: "0x400000", perm: "rw" });
  } finally {
    await Deno.remove(dump);
  }
});

Deno.test("The dump is CSV where the file is called so, and only these two", async () => {
  const dump = await Deno.makeTempFile({ suffix: ".csv" });
  try {
    const rights = ["--allow-read", `--allow-write=${dump}`];
    const log = recording("hotplug-1g-4k-noxlate.log.gz");
    assertEquals((await giommu(["replay", log, "--dump", dump], undefined, rights)).code, 0);
    const [head, first] = (await Deno.readTextFile(dump)).split("\n");
    assertEquals([head, first], ["iova,last,gpa,perm", "0x0,0xfff,0x400000,rw"]);
  } finally {
    await Deno.remove(dump);
  }
  const refused = await giommu(["replay", recording("hotplug-1g-4k-noxlate.log.gz"), "--dump", "x.txt"]);
  assertEquals(refused.code, 2);
  assertMatch(refused.stderr, /^giommu: --dump: .*\.csv or \.json/);
});

Deno.test("Linux: 415 pages in 263 extents, live traffic to the end", async () => {
  const report = await replayed([recording("hotplug-linux.log.gz")]);
  assertEquals([report.hotplug.pages, report.hotplug.extents], [415, 263]);
  assertEquals([report.qemu.replayed, report.qemu.agreed], [415, 415]);
  assert(report.after.hostMaps > 100 && report.after.hostUnmaps > 0);
  assertEquals({ ...report.verify, ...IN_STEP }, report.verify);
});

Deno.test("Without translations in the log, what it does not tell is unknown and no reason to fail", async () => {
  const report = await replayed([recording("hotplug-1g-4k-noxlate.log.gz")]);
  assertEquals([report.hotplug.pages, report.hotplug.unknownPages], [82, 511]);
  assertEquals(report.qemu, { replayed: 593, agreed: 82, missing: 0, extra: 0, unknown: 511 });
  assertEquals(report.tables, [{
    liobn: "0x80000000",
    pageShift: 12,
    busOffset: "0x0",
    entries: 262144,
    mapped: 82,
    unknown: 511,
  }]);
});

Deno.test("The second hotplug of a log, with and without translations", async () => {
  const told = await replayed([recording("hotplug-1g-4k.log.gz"), "--at", "hotplug:2"]);
  assertEquals([told.hotplug.pages, told.hotplug.extents, told.qemu.agreed], [593, 530, 593]);
  const silent = await replayed([recording("hotplug-1g-4k-noxlate.log.gz"), "--at", "hotplug:2"]);
  assertEquals([silent.hotplug.line, silent.hotplug.pages, silent.hotplug.unknownPages], [1872, 82, 511]);
  assertEquals(silent.qemu, { replayed: 593, agreed: 82, missing: 0, extra: 0, unknown: 511 });
  assertEquals(silent.hotplugs.map(({ line }: { line: number }) => line), [86, 1872]);
});

Deno.test("A bus with two windows is hotplugged as one", async () => {
  const report = await replayed([recording("hotplug-two-windows.log.gz")]);
  assertEquals(report.hotplug.liobns, ["0x80000000", "0x80000001"]);
  assertEquals([report.hotplug.pages, report.hotplug.unknownPages, report.qemu.replayed], [83, 1022, 1105]);
  const one = await replayed([recording("hotplug-two-windows.log.gz"), "--liobn", "0x80000001"]);
  assertEquals([one.hotplug.liobns, one.hotplug.pages], [["0x80000001"], 1]);
});

Deno.test("On a host of type1, auto is one map per page, and full is named with its holes", async () => {
  const auto = await replayed([recording("hotplug-1g-4k.log.gz"), "--host", "type1"]);
  assertEquals([auto.hotplug.hostMaps, auto.after.holes], [593, 0]);
  const full = await giommu(["replay", recording("hotplug-1g-4k.log.gz"), "--host", "type1", "--coalesce", "full"]);
  assertEquals(full.code, 0);
  assertMatch(full.stdout, /530 host maps .*full, on type1, which cannot split/);
  assertMatch(full.stdout, /1 hole\b/);
});

for (
  const [name, args, code] of [
    ["A host with too few mappings", ["--max-mappings", "64", "--host", "type1"], "mapping-limit"],
    ["A host with larger pages", ["--host-page", "64K"], "page-too-fine"],
    ["A host that translates too little", ["--iova-range", "0x0-0xffffff"], "iova-out-of-range"],
  ] as const
) {
  Deno.test(`${name} refuses the hotplug: exit 1, code, range, and nothing mapped`, async () => {
    const report = await replayed([recording("hotplug-1g-4k.log.gz"), ...args], 1);
    assertEquals([report.error.code, report.hotplug.attached, report.hotplug.hostMaps], [code, false, 0]);
    assertMatch(report.error.range.start, /^0x[0-9a-f]+$/);
    assert(report.error.message.length > 20 && report.error.remedy.length > 10);
    assertEquals(report.verify.hostPages, 0);
  });
}

Deno.test("A live change that the host refuses ends the run at its line, both sides in step", async () => {
  const report = await replayed([recording("hotplug-1g-4k-noxlate.log.gz"), "--max-mappings", "25"], 1);
  assertEquals([report.error.code, report.error.line, report.hotplug.attached], ["mapping-limit", 720, true]);
  assertEquals([report.verify.guestPages, report.verify.hostPages], [88, 88]);
});

Deno.test("Targets beyond the guest's RAM are not mapped, and not expected of the host", async () => {
  const report = await replayed([recording("hotplug-1g-4k-noxlate.log.gz"), "--ram", "1M"]);
  assertEquals(report.verify.hostPages, 0);
  assertEquals({ ...report.verify, ...IN_STEP }, report.verify);
});

Deno.test("--at takes a line, a time, a share, the end", async () => {
  const log = recording("hotplug-1g-4k-noxlate.log.gz");
  assertEquals((await replayed([log, "--at", "65"])).hotplug.pages, 64);
  assertEquals((await replayed([log, "--at", "1795217470.443333"])).hotplug.pages, 64);
  assertEquals((await replayed([log, "--at", "end"])).hotplug.line, 3553);
  const half = await replayed([log, "--at", "50%"]);
  assert(half.hotplug.line > 1500 && half.hotplug.line < 2100, `line ${half.hotplug.line}`);
});

Deno.test("--at names a place that is not there: exit 2, one line, and what there is", async () => {
  const log = recording("hotplug-1g-4k-noxlate.log.gz");
  for (const [at, said] of [["hotplug:3", /only 2/], ["4000", /only 3553 lines/], ["soon", /not a line/]] as const) {
    const ended = await giommu(["replay", log, "--at", at]);
    assertEquals([ended.code, ended.stdout], [2, ""]);
    assertMatch(ended.stderr, said);
    assertEquals(ended.stderr.trimEnd().split("\n").length, 1);
  }
});

Deno.test("Where nothing is mapped the report says so, and names the line of the peak", async () => {
  const ended = await giommu(["replay", recording("boot-ddw-off.log.gz"), "--at", "3"]);
  assertEquals(ended.code, 0, ended.stderr);
  assertMatch(ended.stdout, /nothing mapped there/);
});

Deno.test("A migration stream is replayed as it stands, and type1 cannot hold the 64-bit window", async () => {
  const off = await replayed([recording("migration-ddw-off.mig.gz")]);
  assertEquals([off.hotplug.pages, off.input.lines, off.qemu], [303, 0, null]);
  const on = await replayed([recording("migration-ddw-on.mig.gz"), "--host", "type1"], 1);
  assertEquals([on.error.code, on.error.range.start], ["iova-out-of-range", "0x800000000000000"]);
  assertMatch(on.error.remedy, /dma64_win_addr/);
});

Deno.test("The report fits 80 columns where it can, has a picture of each window, and no colour in a pipe", async () => {
  const { stdout } = await giommu(["replay", recording("hotplug-1g-4k.log.gz")]);
  assert(!stdout.includes("\x1b"), "a pipe wants no colours");
  assertMatch(stdout, /▁.*·.*▁\n/);
  assertMatch(stdout, /1\. line 86, 0x80000000 {2}<- replayed here/);
  for (const line of stdout.split("\n")) assert(line.length <= 100, line);
});

Deno.test("One flipped bit in one TCE line is found: replay and check exit with 1 and name line and address", async () => {
  const text = await inflated(recording("hotplug-1g-4k.log.gz"));
  const broken = text.replace("ioba=0x3000 tce=0x103003", "ioba=0x3000 tce=0x113003");
  assert(broken !== text);
  for (const command of ["replay", "check"]) {
    const ended = await giommu([command, "-"], new TextEncoder().encode(broken));
    assertEquals(ended.code, 1, ended.stderr);
    assertMatch(ended.stdout, /line \d+: 0x80000000 at 0x3000: the log says 0x103000 rw, .* 0x113000 rw/);
  }
});
