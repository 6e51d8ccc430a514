// `giommu hotplug` as a person runs it, without hardware; tests/vm has the same with a real device.
import { assert, assertEquals, assertMatch } from "@std/assert";
import { fromFileUrl, recording } from "./paths.ts";
import { bytes, type Ended, giommu, inflated } from "./run_giommu.ts";

// deno-lint-ignore no-explicit-any -- the shape is the command's contract, which these tests spell out
type Json = any;

const LOG = recording("hotplug-1g-4k.log.gz");
const SILENT = recording("hotplug-1g-4k-noxlate.log.gz");
const NOTHING = { hostMaps: 0, hostUnmaps: 0, nanoseconds: 0 };

async function plugged(args: readonly string[], code = 0, input?: Uint8Array): Promise<Json> {
  const ended = await giommu(["hotplug", ...args, "--json"], input);
  assertEquals([ended.code, ended.stderr], [code, ""], ended.stdout.slice(0, 2000));
  return JSON.parse(ended.stdout);
}

function assertOneLine(ended: Ended, said: RegExp): void {
  assertEquals([ended.code, ended.stdout], [2, ""], ended.stderr);
  assertMatch(ended.stderr, /^giommu: [^\n]+\n$/);
  assertMatch(ended.stderr, said);
}

for (
  const [file, pages, extents, kinds] of [
    ["hotplug-1g-4k", 593, 530, ["read-only", "changed-in-place", "neighbour", "unmapped"]],
    ["hotplug-1g-4k-noxlate", 82, 19, ["read-only", "changed-in-place", "neighbour", "unmapped"]],
    ["hotplug-linux", 415, 263, ["new", "unmapped"]],
    ["hotplug-two-windows", 83, 20, ["read-only", "changed-in-place", "neighbour", "unmapped"]],
  ] as const
) {
  Deno.test(`${file}: what is planned is done, guest and host agree, and the device's DMA goes as the table says`, async () => {
    const report = await plugged([recording(`${file}.log.gz`), "--host", "sim", "--verify-dma"]);
    const { plan, commit, verify, dma, error } = report;
    assertEquals([plan.pages, plan.extents, plan.hostMaps, plan.problems], [pages, extents, extents, []]);
    assertEquals([commit.hostMaps, commit.hostUnmaps], [plan.hostMaps, 0]);
    assertEquals([verify.missing, verify.stale, verify.differing, error], [0, 0, 0, undefined]);
    assertEquals(verify.guestPages, verify.hostPages);
    assertEquals([dma.agreed, dma.missed, dma.differences], [dma.checked, [], []]);
    assert(dma.refused > 0);
    for (const kind of ["first", "last", "read-write", "empty", ...kinds]) assert(dma.kinds[kind].checked > 0, kind);
  });
}

Deno.test("hotplug counts as replay does: the two are one run onto different hosts", async () => {
  const replayed: Json = JSON.parse((await giommu(["replay", LOG, "--json"])).stdout);
  const report = await plugged([LOG, "--host", "sim"]);
  for (const part of ["input", "tables", "after", "verify", "qemu", "translations", "reads", "hotplugs"]) {
    assertEquals(report[part], replayed[part], part);
  }
  assertEquals(report.plan.bytes, 593 * 0x1000);
  assertEquals(report.dma, null);
});

Deno.test("On the rules of type1 every page is a map of its own, and none is without its translation", async () => {
  const { plan, host, after, dma } = await plugged([LOG, "--host", "sim:type1", "--verify-dma"]);
  assertEquals([plan.hostMaps, host.split, host.maxMappings, after.holes], [593, "none", 65535, 0]);
  assertEquals(dma.agreed, dma.checked);
});

Deno.test("To share mappings where they cannot be split has to be asked for twice, and its holes are counted", async () => {
  const shared = [LOG, "--host", "sim:type1", "--coalesce", "full"];
  assertOneLine(await giommu(["hotplug", ...shared]), /type1 cannot unmap a part of a mapping.*--allow-dma-holes/);
  const { plan, after, host } = await plugged([...shared, "--allow-dma-holes"]);
  assertEquals([plan.hostMaps, after.holes], [530, 1]);
  assertMatch(host.coalesce, /^full, on type1, which cannot split$/);
});

Deno.test("--plan maps nothing: no attach, no live change, the same plan", async () => {
  const { plan, hotplug, commit, after, verify, dma } = await plugged([LOG, "--host", "sim", "--plan"]);
  assertEquals([plan.pages, plan.hostMaps, plan.bytes, plan.problems], [593, 530, 593 * 0x1000, []]);
  assertEquals([hotplug.attached, hotplug.line, commit, dma], [false, 86, NOTHING, null]);
  assertEquals(after, { events: 0, hostMaps: 0, hostUnmaps: 0, holes: 0 });
  assertEquals([verify.guestPages, verify.hostPages], [0, 0]);
});

for (
  const [name, args, code] of [
    ["too few mappings", ["--max-mappings", "64", "--host", "sim:type1"], "mapping-limit"],
    ["larger pages", ["--host-page", "64K", "--host", "sim"], "page-too-fine"],
    ["too few addresses", ["--iova-range", "0x0-0xffffff", "--host", "sim"], "iova-out-of-range"],
  ] as const
) {
  for (const only of [[], ["--plan"], ["--verify-dma"]]) {
    Deno.test(`A host with ${name} refuses the plan${only.length ? ` (${only})` : ""}: exit 1, why, what helps, nothing mapped`, async () => {
      const { plan, commit, error, hotplug, verify, dma } = await plugged([LOG, ...args, ...only], 1);
      assertEquals([error.code, plan.problems[0]], [code, error]);
      assertMatch(error.range.start, /^0x[0-9a-f]+$/);
      assert(error.message.length > 20 && error.remedy.length > 10);
      assertEquals([hotplug.attached, commit, verify.hostPages, dma], [false, NOTHING, 0, null]);
    });
  }
}

Deno.test("sPAPR's default 64-bit window is refused on 48 bits before the first map, and says which option helps", async () => {
  const stream = recording("migration-ddw-on.mig.gz");
  const { error, commit } = await plugged([stream, "--host", "sim:type1", "--plan"], 1);
  assertEquals([error.code, error.range.start, commit], ["iova-out-of-range", "0x800000000000000", NOTHING]);
  assertMatch(error.remedy, /dma64_win_addr/);
  const whole = await plugged([stream, "--host", "sim", "--verify-dma"]);
  assertEquals([whole.error, whole.dma.agreed], [undefined, whole.dma.checked]);
});

Deno.test("A live change that the host refuses ends the run at its line, both sides in step, and so is the DMA", async () => {
  const args = [SILENT, "--host", "sim", "--max-mappings", "25", "--verify-dma"];
  const { error, hotplug, verify, dma } = await plugged(args, 1);
  assertEquals([error.code, error.line, hotplug.attached], ["mapping-limit", 720, true]);
  assertEquals([verify.guestPages, verify.hostPages, verify.differing], [88, 88, 0]);
  assertEquals([dma.agreed, dma.missed], [dma.checked, []]);
});

Deno.test("What points to no RAM is a problem that refuses nothing, and DMA through it does not arrive", async () => {
  const { plan, verify, dma, error } = await plugged([LOG, "--host", "sim", "--ram", "30M", "--verify-dma"]);
  assertEquals([plan.problems[0].code, error], ["not-ram", undefined]);
  assert(plan.bytes < 593 * 0x1000 && verify.notRam > 0);
  assert(dma.kinds["not-ram"].checked > 0);
  assertEquals([dma.agreed, dma.missed], [dma.checked, []]);
});

const PUT = "spapr_iommu_pci_put liobn=0x80000000 ret=0";

/** A log in which a device is plugged in after `before`, and the guest goes on with `after`: [address, entry] each. */
function logOf(before: readonly [string, string][], after: readonly [string, string][]): string[] {
  const put = ([ioba, tce]: readonly [string, string]) => PUT.replace("ret", `ioba=${ioba} tce=${tce} ret`);
  return ["spapr_iommu_new_table liobn=0x80000000 table=0x1 fd=-1", ...before.map(put), ...after.map(put), ""];
}

Deno.test("Every kind of page is looked at: by place, by permission, by what the guest did last", async () => {
  const before = [["0x1000", "0x10003"], ["0x2000", "0x11003"], ["0x3000", "0x12003"], ["0x5000", "0x20001"], [
    "0x7000",
    "0x30002",
  ], ["0x9000", "0x7000000003"]] as const;
  const after = [["0x2000", "0x40003"], ["0x3000", "0x0"], ["0xb000", "0x50003"]] as const;
  const log = bytes(logOf([...before] as [string, string][], [...after] as [string, string][]).join("\n"));
  const { dma } = await plugged(
    ["-", "--host", "sim", "--at", String(before.length + 1), "--ram", "1G", "--verify-dma"],
    0,
    log,
  );
  const counts = Object.fromEntries(Object.entries<Json>(dma.kinds).map(([kind, { pages }]) => [kind, pages]));
  assertEquals({ ...counts, empty: undefined }, {
    "first": 1,
    "last": 1,
    "read-write": 3, // 0x1000, 0x2000, 0xb000
    "read-only": 1,
    "write-only": 1,
    "new": 1,
    "changed-in-place": 1,
    "neighbour": 2, // 0x1000 beside both changes of 0x2000, and 0x2000 beside 0x3000, which went
    "unmapped": 1,
    "not-ram": 1,
    "empty": undefined,
  });
  for (const [kind, { checked }] of Object.entries<Json>(dma.kinds)) assert(checked > 0, kind);
  assertEquals([dma.agreed, dma.missed], [dma.checked, []]);
});

Deno.test("A log that contradicts itself is no success, however well the host follows", async () => {
  const text = await inflated(LOG);
  const broken = text.replace("ioba=0x3000 tce=0x103003", "ioba=0x3000 tce=0x113003");
  assert(broken !== text);
  const { translations } = await plugged(["-", "--host", "sim"], 1, bytes(broken));
  assertEquals(translations.disagreed > 0, true);
});

Deno.test("People see plan, attach, live changes, comparison and DMA, a line each, and no colour in a pipe", async () => {
  const { code, stdout } = await giommu(["hotplug", LOG, "--host", "sim", "--verify-dma"]);
  assertEquals(code, 0);
  assert(!stdout.includes("\x1b"));
  for (
    const part of [
      /^Host {6}auto = full, on sim; IOVA 0x0\.\.0xffffffffffffffff$/m,
      /^Plan {6}593 pages in 530 extents: 530 host maps, 2,372 KiB pinned$/m,
      /^Attached {2}530 host maps in /m,
      /^Then {6}1,060 log events: 10 host maps, 3 host unmaps$/m,
      /^Verified .*nothing missing, stale or different$/m,
      /^DMA {7}(\d+) accesses of the device: \1 as the table says, \d+ of them refused as they must be$/m,
      /changed-in-place 1 of 1/,
    ]
  ) assertMatch(stdout, part);
  const refused = await giommu(["hotplug", LOG, "--host", "sim:type1", "--max-mappings", "64"]);
  assertMatch(refused.stdout, /^Refused .*room for 64 mappings.*\n +code mapping-limit.*\n +what helps: /m);
});

Deno.test("Damaged input is one line and exit 2, as for the other commands", async () => {
  const whole = await Deno.readFile(SILENT);
  for (const cut of [new Uint8Array(), whole.subarray(0, 10), whole.subarray(0, 20_000)]) {
    assertOneLine(await giommu(["hotplug", "-", "--host", "sim"], cut), /./);
  }
  const noise = new Uint8Array(50_000).map((_, at) => at * 7919 % 251);
  assertOneLine(await giommu(["hotplug", "-", "--host", "sim"], noise), /none of QEMU's IOMMU events|no table/);
  assertOneLine(await giommu(["hotplug", recording("hotplug-vtd.log.gz"), "--host", "sim"]), /no table of a PCI host/);
  assertOneLine(await giommu(["hotplug", "/nonexistent/log", "--host", "sim"]), /nonexistent/);
});

Deno.test("Arguments that make no sense end in one line that says what would", async () => {
  for (
    const [args, said] of [
      [[LOG], /--host is missing; give vfio:GROUP, iommufd:DEVICE or sim/],
      [[LOG, "--host", "qemu"], /none of vfio:GROUP, iommufd:DEVICE, sim/],
      [[LOG, "--host", "vfio"], /none of vfio:GROUP/],
      [[LOG, "--host", "vfio:many"], /not a whole number/],
      [[LOG, "--host", "sim:xen"], /none of type1, iommufd, spapr/],
      [[LOG, "--host", "sim", "--device", "00:04.0"], /--device: a simulated host/],
      [[LOG, "--host", "iommufd:00:04.0", "--device", "00:05.0"], /names it already/],
      [[LOG, "--host", "vfio:3", "--max-mappings", "5"], /--max-mappings: a real host says so itself/],
      [[LOG, "--host", "vfio:3", "--iova-range", "0-9"], /--iova-range: a real host/],
      [[LOG, "--host", "sim", "--plan", "--verify-dma"], /nothing to verify/],
      [[LOG, "--host", "sim", "--ram", "0"], /--ram/],
      [[LOG, "--host", "sim", "--at", "hotplug:9"], /only 2/],
      [[LOG, "--host", "sim", "--phb", "7"], /no bridge 7/],
      [[LOG, "--host", "sim", "--dump", "x.csv"], /unknown option/],
      [["--host", "sim"], /no input given/],
    ] as const
  ) {
    assertOneLine(await giommu(["hotplug", ...args]), said);
  }
});

Deno.test("What a real host lacks is one line: the permission, the library, a device's address", async () => {
  for (const host of ["vfio:3", "iommufd:0000:00:04.0", "iommufd:vfio0"]) {
    const ended = await giommu(["hotplug", LOG, "--host", host]);
    assertOneLine(ended, /^giommu: Cannot use VFIO: /);
    if (Deno.build.os === "linux") assertMatch(ended.stderr, /--allow-ffi=/);
  }
  const nowhere = ["--allow-read", "--allow-ffi", "--allow-env"];
  const env = { GIOMMU_HOST_LIBRARY: "/nowhere/libgiommu_host.so" };
  const ended = await giommu(["hotplug", LOG, "--host", "vfio:3"], undefined, nowhere, env);
  assertOneLine(ended, Deno.build.os === "linux" ? /deno task build:host/ : /Linux/);
});

Deno.test("Ctrl-C takes the device out again, and says so", async () => {
  const text = await inflated(SILENT);
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "--no-prompt",
      "--quiet",
      "--allow-read",
      fromFileUrl("../../packages/cli/main.ts"),
      ...["hotplug", "-", "--host", "sim", "--at", "100"],
    ],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  // What was written is read when the pipe, which holds 64 KiB on Linux, has taken all of a part much larger.
  await writer.write(bytes(text.repeat(4).slice(0, 1 << 20)));
  child.kill("SIGINT");
  const { code, stdout, stderr } = await child.output();
  await writer.close().catch(() => {});
  assertEquals([code, stdout.length], [130, 0]);
  assertEquals(new TextDecoder().decode(stderr), "giommu: interrupted; the device is detached\n");
});

Deno.test("--help tells hosts, permissions and what is checked, and needs no permission", async () => {
  const { code, stdout, stderr } = await giommu(["hotplug", "--help"], undefined, []);
  assertEquals([code, stderr], [0, ""]);
  for (const part of [/Usage: giommu hotplug/, /vfio:GROUP/, /--verify-dma/, /--allow-ffi/, /Exit status/]) {
    assertMatch(stdout, part);
  }
});
