// Damaged input: a clear message or a count, never a stack trace, a hang, or memory that grows with the input.
import { assert, assertEquals, assertMatch } from "@std/assert";
import { recording } from "./paths.ts";
import { bytes, deflated, type Ended, giommu, inflated, inflatedBytes } from "./run_giommu.ts";

function assertClear(ended: Ended, codes: readonly number[], what: string): void {
  assert(codes.includes(ended.code), `${what}: exit ${ended.code}: ${ended.stderr}`);
  assert(!/\n\s+at /.test(ended.stderr + ended.stdout), `${what}: a stack trace`);
  if (ended.code === 2) {
    assertMatch(ended.stderr, /^giommu: [^\n]+\n$/, what);
    assertEquals(ended.stdout, "", what);
  }
}

Deno.test("A truncated .gz is bad input, and the message says how far it could be read", async () => {
  const whole = await Deno.readFile(recording("hotplug-1g-4k-noxlate.log.gz"));
  for (const length of [1, 2, 10, 100, 20_000, whole.length - 1]) {
    const ended = await giommu(["check", "-"], whole.subarray(0, length));
    assertClear(ended, [2], `${length} bytes`);
  }
  const ended = await giommu(["replay", "-"], whole.subarray(0, 20_000));
  assertMatch(ended.stderr, /cut or damaged; [1-9]\d* bytes could be inflated/);
});

Deno.test("A .gz with a damaged middle is bad input", async () => {
  const whole = await Deno.readFile(recording("hotplug-1g-4k-noxlate.log.gz"));
  whole.fill(0x55, 10_000, 10_100);
  assertClear(await giommu(["check", "-"], whole), [2], "damaged middle");
});

Deno.test("A log cut in mid-line counts the cut line or leaves it out, and goes on", async () => {
  const text = await inflated(recording("hotplug-1g-4k-noxlate.log.gz"));
  for (const at of [200, 5_000, 12_345, 70_001, text.length - 7]) {
    assertClear(await giommu(["replay", "-"], bytes(text.slice(0, at))), [0], `cut at ${at}`);
  }
});

Deno.test("Binary noise is bad input by itself and foreign between lines", async () => {
  const noise = crypto.getRandomValues(new Uint8Array(60_000));
  noise[0] = 0x20; // not by chance the magic of a .gz
  assertClear(await giommu(["check", "-"], noise), [2], "noise");
  const text = bytes(await inflated(recording("hotplug-1g-4k-noxlate.log.gz")));
  const mixed = new Uint8Array(text.length + noise.length + 1);
  mixed.set(noise);
  mixed[noise.length] = 0x0a;
  mixed.set(text, noise.length + 1);
  const ended = await giommu(["replay", "-", "--json"], mixed);
  assertClear(ended, [0], "noise before");
  assertEquals(JSON.parse(ended.stdout).hotplug.pages, 82);
});

Deno.test("An empty input is bad input, for both commands and as a .gz", async () => {
  for (const command of ["replay", "check"]) {
    assertClear(await giommu([command, "-"], new Uint8Array()), [2], "empty");
    assertClear(await giommu([command, "-"], await deflated("")), [2], "empty .gz");
  }
});

Deno.test("Fields out of range are counted as lines that do not parse", async () => {
  const lines = [
    "spapr_iommu_pci_put liobn=0x80000000 ioba=0x10000000000000000 tce=0x3 ret=0",
    "spapr_iommu_pci_put liobn=0x80000000 ioba=0x0 tce=xyz ret=0",
    "spapr_iommu_pci_stuff liobn=0x80000000 ioba=0x0 tcevalue=0x0 npages=99999999999999999999 ret=0",
    "spapr_iommu_pci_put liobn=0x80000000 ioba=0x0",
    "spapr_iommu_pci_put liobn=0x80000000 ioba=0x1000 tce=0x103003 ret=0",
    "something foreign",
    "",
  ];
  const ended = await giommu(["check", "-", "--json"], bytes(lines.join("\n")));
  assertClear(ended, [0], "fields");
  const { input, tables } = JSON.parse(ended.stdout);
  assertEquals([input.lines, input.events, input.unparsed], [6, 1, 4]);
  assertEquals(tables[0].mapped, 1);
});

Deno.test("Guest values at their extremes neither stop the command nor make it allocate", async () => {
  const all = "0xffffffffffffffff";
  const log = [
    "spapr_iommu_new_table liobn=0x80000000 table=0x1 fd=-1",
    `spapr_iommu_pci_put liobn=${all} ioba=${all} tce=${all} ret=0`,
    `spapr_iommu_pci_put liobn=0x80000000 ioba=${all} tce=${all} ret=0`,
    `spapr_iommu_pci_stuff liobn=0x80000000 ioba=${all} tcevalue=${all} npages=9223372036854775807 ret=0`,
    `spapr_iommu_pci_stuff liobn=0x80000000 ioba=0x0 tcevalue=${all} npages=-9223372036854775808 ret=0`,
    `spapr_iommu_pci_indirect liobn=0x80000000 ioba=${all} tcelist=0x0 iobaN=${all} tceN=${all} ret=0`,
    `spapr_iommu_ddw_create buid=${all} addr=0x0, page size=0x0, requested=${all}, start addr=${all}, liobn=0x80000001`,
    `vfio_iommu_map_notify iommu MAP @ ${all} - 0x0`,
    "vfio_listener_region_add_iommu region_add [iommu] tce-iommu-80000000 0x0 - 0x3fffffff",
    `vfio_iommu_map_notify iommu MAP @ 0x0 - ${all}`,
    "spapr_iommu_pci_put liobn=0x80000000 ioba=0x3ffff000 tce=0xffffffffffffffff ret=0",
    "vfio_listener_region_del_iommu region_del [iommu] tce-iommu-80000000",
    "",
  ].join("\n");
  for (const command of ["replay", "check"]) {
    assertClear(await giommu([command, "-"], bytes(log)), [0, 1], command);
  }
});

Deno.test("Lines of 30 MB, ours and foreign, are passed over", async () => {
  const long = "x".repeat(30_000_000);
  const put = "spapr_iommu_pci_put liobn=0x80000000 ioba=0x1000 tce=0x103003 ret=0";
  const ended = await giommu(["check", "-", "--json"], bytes(`${long}\n${put}${long}\n${put}\n`));
  assertClear(ended, [0], "long lines");
  const { input, tables } = JSON.parse(ended.stdout);
  assertEquals([input.lines, input.events, tables[0].mapped], [3, 1, 1]);
});

Deno.test("A stream cut anywhere is bad input, or whole as far as its tables go", async () => {
  const mig = await inflatedBytes(recording("migration-ddw-on.mig.gz"));
  for (const share of [0.000001, 0.1, 0.3, 0.5, 0.7, 0.9]) {
    const length = Math.max(5, Math.floor(mig.length * share));
    assertClear(await giommu(["replay", "-"], mig.subarray(0, length)), [0, 2], `${length} bytes`);
  }
});

Deno.test("What cannot be opened or written says so", async () => {
  assertClear(await giommu(["check", "/nonexistent/log"]), [2], "no such file");
  assertClear(await giommu(["check", recording("")]), [2], "a folder");
  assertClear(await giommu(["check", recording("hotplug-1g-4k.log.gz")], undefined, []), [2], "no permission");
  const log = recording("hotplug-1g-4k-noxlate.log.gz");
  assertClear(await giommu(["check", log, "--state", log]), [2], "no stream");
});

Deno.test("Arguments that make no sense end in one line that says what would", async () => {
  const log = recording("hotplug-1g-4k-noxlate.log.gz");
  for (
    const args of [
      ["replay"],
      ["replay", log, log],
      ["replay", log, "--phb", "7"],
      ["replay", log, "--phb", "x"],
      ["replay", log, "--liobn", "0x80000001"],
      ["replay", log, "--host", "xen"],
      ["replay", log, "--coalesce"],
      ["replay", log, "--host-page", "3K"],
      ["replay", log, "--iova-range", "9-1"],
      ["replay", log, "--max-mappings", "-1"],
      ["replay", log, "--window", "0x80000000"],
      ["replay", log, "--at", "1", "--at", "2"],
      ["replay", "--frobnicate", log],
      ["check", log, "--at", "5"],
      ["check", "-", "--state", "-"],
      ["conjure", log],
    ]
  ) {
    assertClear(await giommu(args), [2], args.join(" "));
  }
});

Deno.test("--help tells the options of the command and of each subcommand, and exits with 0", async () => {
  for (const args of [["--help"], ["replay", "--help"], ["check", "--help"]]) {
    const { code, stdout, stderr } = await giommu(args, undefined, []);
    assertEquals([code, stderr], [0, ""]);
    assertMatch(stdout, /Usage: giommu/);
    assertMatch(stdout, /Exit status/);
  }
});

Deno.test("A reader that goes away early is no error", async () => {
  const main = new URL("../../packages/cli/main.ts", import.meta.url).pathname;
  const shell = new Deno.Command("sh", {
    args: [
      "-c",
      `"$0" run --no-prompt --quiet --allow-read "$1" replay "$2" --json | head -c 10 >/dev/null`,
      Deno.execPath(),
      main,
      recording("hotplug-1g-4k.log.gz"),
    ],
  });
  const { code, stderr } = await shell.output();
  assertEquals([code, new TextDecoder().decode(stderr)], [0, ""]);
});
