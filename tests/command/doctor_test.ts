// `giommu doctor`: what it prints, for people and for programs, and what it does with bad input.
import { assert, assertEquals, assertMatch } from "@std/assert";
import { fromFileUrl, recording } from "./paths.ts";
import { bytes, giommu, inflated } from "./run_giommu.ts";

const KERNEL = fromFileUrl("../data/doctor/hotplug-1g-4k.kernel.gz");
const STDERR = fromFileUrl("../data/doctor/hotplug-1g-4k.stderr");
const SICK = [recording("hotplug-1g-4k.log.gz"), "--kernel", KERNEL, "--stderr", STDERR];
const HEALTHY = [
  recording("hotplug-linux.log.gz"),
  "--kernel",
  fromFileUrl("../data/doctor/hotplug-linux.kernel.gz"),
  "--stderr",
  fromFileUrl("../data/doctor/hotplug-linux.stderr"),
];

Deno.test("The report of a healthy run fits a screen of 80 columns and 24 lines", async () => {
  const { code, stdout, stderr } = await giommu(["doctor", ...HEALTHY]);
  assertEquals([code, stderr], [0, ""]);
  const lines = stdout.trimEnd().split("\n");
  assert(lines.length <= 24, `${lines.length} lines`);
  for (const line of lines) assert(line.length <= 80, line);
  assertMatch(stdout, /^Verdict +healthy: no error, 0 warnings, 2 costs$/m);
  assertMatch(stdout, /all explained/);
});

Deno.test("The report of a sick run tells where, since when, by whom, why and what to do, without colour in a pipe", async () => {
  const { code, stdout, stderr } = await giommu(["doctor", ...SICK]);
  assertEquals([code, stderr, stdout.includes("\x1b")], [1, "", false]);
  for (const line of stdout.split("\n")) assert(line.length <= 80, line);
  assertMatch(stdout, /^error +stale-mapping: the host still has the old page/m);
  assertMatch(stdout, /where +0x0\.\.0xfff/);
  assertMatch(stdout, /guest before 0x100000 rw, guest now 0x400000 rw/);
  assertMatch(stdout, /H_PUT_TCE liobn=0x80000000 ioba=0x0 tce=0x400003 returned 0/);
  for (const label of ["since", "cause", "why", "do", "seen", "proof"]) {
    assertMatch(stdout, new RegExp(`^  ${label} `, "m"));
  }
});

Deno.test("JSON is one versioned object with what the contract names", async () => {
  const { code, stdout, stderr } = await giommu(["doctor", ...SICK, "--json"]);
  assertEquals([code, stderr], [1, ""]);
  const { version, findings, timeline, unknown } = JSON.parse(stdout);
  assertEquals(version, 1);
  for (const finding of findings) {
    assertEquals(
      typeof finding.id + typeof finding.cause + typeof finding.why + typeof finding.remedy,
      "string".repeat(4),
    );
    assert(["error", "warning", "cost"].includes(finding.severity));
    assert(Number.isInteger(finding.first) && Number.isInteger(finding.last) && finding.first <= finding.last);
    assertMatch(finding.iova.start + finding.iova.last, /^0x[0-9a-f]+0x[0-9a-f]+$/);
    assert(Number.isInteger(finding.pages) && finding.pages > 0);
  }
  assertEquals([timeline.kernel.unexplained, timeline.hotplugs.length, unknown.notes.length], [0, 2, 1]);
});

Deno.test("--iova tells the history of one address", async () => {
  const { stdout } = await giommu(["doctor", ...SICK, "--iova", "0x0"]);
  assertMatch(stdout, /^Address +0x0: \d+ moments$/m);
  assertMatch(stdout, /^ {2}host +line [\d,]+ \(kernel \d+\): mapped to 0x107100000$/m);
  assertMatch(stdout, /^ {2}host +line [\d,]+ \(stderr 5\): refused to map \(errno -17\)$/m);
});

Deno.test("--at looks no further than it says", async () => {
  const at = async (where: string) => {
    const { code, stdout, stderr } = await giommu([
      "doctor",
      recording("hotplug-1g-4k.log.gz"),
      "--at",
      where,
      "--json",
    ]);
    return { code, stderr, report: stdout === "" ? undefined : JSON.parse(stdout) };
  };
  // The change in place comes after the replay of the first hotplug, and again after that of the second.
  assertEquals((await at("hotplug")).code, 0);
  const second = await at("hotplug:2");
  assertEquals([second.code, second.report.findings[0].count], [1, 1]);
  assertEquals((await at("line 5")).code, 2);
  const line = await at("100");
  assertEquals([line.code, line.report.timeline.log.lines], [0, 100]);
  assertEquals((await at("0.5%")).code, 0);
  assertMatch((await at("999999")).stderr, /has only 4867 lines/);
  assertMatch((await at("hotplug:3")).stderr, /has only 2 of them/);
});

Deno.test("Bad input is one line and exit 2: a stream, noise, nothing, a missing or cut log", async () => {
  const whole = await Deno.readFile(recording("hotplug-1g-4k.log.gz"));
  const log = recording("hotplug-1g-4k.log.gz");
  const cases: [string[], Uint8Array<ArrayBuffer> | undefined][] = [
    [[recording("migration-ddw-off.mig.gz")], undefined],
    [["-"], new Uint8Array()],
    [["-"], bytes("no log at all\n".repeat(1000))],
    [["-"], whole.subarray(0, 20_000)],
    [["no-such-file"], undefined],
    [[log, "--kernel", "no-such-file"], undefined],
    [[log, "--kernel", "-"], (await Deno.readFile(KERNEL)).subarray(0, 10_000)],
    [["-", "--kernel", "-"], whole],
    [[log, "--iova", "here"], undefined],
    [[log, "--host", "sim"], undefined],
    [[], undefined],
  ];
  for (const [args, input] of cases) {
    const { code, stdout, stderr } = await giommu(["doctor", ...args], input);
    assertEquals([code, stdout], [2, ""], args.join(" "));
    assertMatch(stderr, /^giommu: [^\n]+\n$/);
  }
});

Deno.test("Damaged lines are counted and passed over, in every log", async () => {
  const log = await inflated(recording("hotplug-linux.log.gz"));
  const cut = log.slice(0, log.length - 9).replace("ret=0\n", "ret=\n");
  const { code, stdout } = await giommu(["doctor", "-", "--json"], bytes(cut));
  const { timeline, unknown } = JSON.parse(stdout);
  assertEquals([code <= 1, timeline.log.unparsed >= 1], [true, true]);
  assert(unknown.notes.some(({ id }: { id: string }) => id === "unparsed"));
});

Deno.test("A log without a device has nothing to compare, and says so", async () => {
  const { code, stdout } = await giommu(["doctor", recording("boot-ddw-on.log.gz")]);
  assertEquals(code, 0);
  assertMatch(stdout, /nothing to compare: no device in this log/);
});
