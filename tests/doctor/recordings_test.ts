// What the doctor says of real runs.
import { diagnose, type Diagnosis, type Finding, type FindingId } from "@giommu/doctor";
import { assert, assertEquals, assertMatch } from "@std/assert";
import { data } from "./runs.ts";

const ONE_G = {
  log: data("logs/hotplug-1g-4k.log.gz"),
  kernel: data("doctor/hotplug-1g-4k.kernel.gz"),
  stderr: data("doctor/hotplug-1g-4k.stderr"),
};
const LINUX = {
  log: data("logs/hotplug-linux.log.gz"),
  kernel: data("doctor/hotplug-linux.kernel.gz"),
  stderr: data("doctor/hotplug-linux.stderr"),
};
const LIMIT = {
  log: data("doctor/limit-64.log.gz"),
  kernel: data("doctor/limit-64.kernel.gz"),
  stderr: data("doctor/limit-64.stderr.gz"),
};

function only({ findings }: Diagnosis, id: FindingId): Finding {
  const list = findings.filter((one) => one.id === id);
  assertEquals(list.length, 1, `one ${id}`);
  return list[0] as Finding;
}

function ids({ findings }: Diagnosis): string[] {
  return findings.map(({ id, severity }) => `${severity} ${id}`);
}

/** Every event of the kernel has one explanation. */
function assertExplained({ timeline: { kernel } }: Diagnosis): void {
  assert(kernel !== null);
  const { events, maps, unmaps, driverTests, exit, prior, faults, foreign, unexplained } = kernel;
  assertEquals(unexplained, 0);
  assertEquals(maps + unmaps + driverTests + exit + prior + faults + foreign, events);
}

Deno.test("The change in place that QEMU lost is found, in both rounds, with its pages, its call and its error number", async () => {
  const diagnosis = await diagnose(ONE_G);
  assertEquals(ids(diagnosis), [
    "error stale-mapping",
    "cost maps-adjoin",
    "cost unmap-without-effect",
    "cost replay-of-empty-window",
  ]);
  const stale = only(diagnosis, "stale-mapping");
  assertEquals(stale.iova, { start: 0n, last: 0xfffn });
  assertEquals([stale.targets.before, stale.targets.now, stale.targets.host], [0x10_0003n, 0x40_0003n, 0x1_0710_0000n]);
  assertEquals([stale.errno, stale.proof, stale.pages, stale.count], [17, "kernel", 1, 2]);
  assertEquals(stale.rounds.map(({ hotplug, count }) => [hotplug, count]), [[1, 1], [2, 1]]);
  assertEquals([stale.call?.name, stale.call?.tce, stale.call?.ret], ["H_PUT_TCE", 0x40_0003n, 0]);
  assertEquals(stale.evidence.filter(({ source }) => source === "stderr").map(({ line }) => line), [5]);
  const unmaps = only(diagnosis, "unmap-without-effect");
  assertEquals([unmaps.pages, unmaps.count, unmaps.iova.start], [8, 16, 0x500_8000n]);
  const adjoin = only(diagnosis, "maps-adjoin");
  assertEquals([adjoin.pages, adjoin.saved, adjoin.iova], [64, 126, { start: 0n, last: 0x3_ffffn }]);
  assertExplained(diagnosis);
  const { kernel, stderr } = diagnosis.timeline;
  assertEquals([kernel?.driverTests, kernel?.maps, kernel?.foreign], [6, 2226, 0]);
  assertEquals([stderr?.failures, stderr?.matched], [2, 2]);
  // QEMU's clock is the wall clock, the kernel's the seconds since boot.
  assertMatch(String(kernel?.offset), /^17952174315737/);
});

Deno.test("The same is found without the kernel's log, and without both others", async () => {
  const told = await diagnose({ log: ONE_G.log, stderr: ONE_G.stderr });
  const derived = await diagnose({ log: ONE_G.log });
  for (const [diagnosis, proof] of [[told, "stderr"], [derived, "derived"]] as const) {
    const stale = only(diagnosis, "stale-mapping");
    assertEquals([stale.proof, stale.targets.before, stale.targets.now], [proof, 0x10_0003n, 0x40_0003n]);
    assertEquals(stale.targets.host, undefined);
    assert(diagnosis.unknown.notes.some(({ id }) => id === "no-kernel-log"));
  }
  assertEquals(told.unknown.notes.some(({ id }) => id === "no-stderr"), false);
  assertEquals(derived.unknown.notes.some(({ id }) => id === "no-stderr"), true);
});

Deno.test("A Linux guest at work is healthy, and every event of the kernel is explained", async () => {
  for (const logs of [LINUX, { log: LINUX.log, kernel: LINUX.kernel }, { log: LINUX.log }]) {
    const diagnosis = await diagnose(logs);
    assertEquals(diagnosis.healthy, true);
    assertEquals(ids(diagnosis), ["cost maps-adjoin", "cost replay-of-empty-window"]);
    if ("kernel" in logs) assertExplained(diagnosis);
  }
});

Deno.test("A full host is told in a handful of findings: the limit, the pages of each window, what the hotplug did not say", async () => {
  const whole = await diagnose(LIMIT);
  const without = await diagnose({ log: LIMIT.log, stderr: LIMIT.stderr });
  for (const diagnosis of [whole, without]) {
    assertEquals(ids(diagnosis).filter((id) => id.startsWith("error")), [
      "error stale-mapping",
      "error mapping-limit",
      "error mapping-missing",
      "error mapping-missing",
      "error hotplug-incomplete",
    ]);
    const limit = only(diagnosis, "mapping-limit");
    assertMatch(limit.title, /holds 64 mappings, as many as it may: 3,122 maps refused \(-28 ENOSPC\)/);
    assertEquals([limit.first, limit.iova.start], [155, 0x100_0000n]);
    const [small, large] = diagnosis.findings.filter(({ id }) => id === "mapping-missing");
    assertEquals([small?.window, small?.pages, small?.pageSize, small?.first], [0x8000_0000n, 1049, 4096n, 155]);
    assertEquals([large?.window, large?.pages, large?.pageSize, large?.first], [0x8000_0001n, 512, 65536n, 686]);
    assertEquals(large?.iova, { start: 0x10_0000_0000n, last: 0x10_01ff_ffffn });
    assertEquals(small?.call?.ret, 0);
    assertEquals(diagnosis.timeline.hotplugs.map(({ told, refused }) => [told, refused]), [[1105, 1041], [1105, 1041]]);
    assertEquals([diagnosis.timeline.stderr?.failures, diagnosis.timeline.stderr?.matched], [3124, 3124]);
  }
  assertExplained(whole);
  // Without what QEMU printed the kernel's log tells as much, but for the reason.
  const silent = await diagnose({ log: LIMIT.log, kernel: LIMIT.kernel });
  assertEquals(ids(silent).filter((id) => id.startsWith("error")), [
    "error stale-mapping",
    "error mapping-missing",
    "error mapping-missing",
    "error hotplug-incomplete",
  ]);
});

Deno.test("A log of an x86 guest is read: its walks tell the entries, its sections are followed", async () => {
  const diagnosis = await diagnose({ log: data("doctor/hotplug-vtd.log.gz") });
  assertEquals(diagnosis.healthy, true);
  assertEquals(ids(diagnosis), ["cost unmap-without-effect"]);
  assertEquals(diagnosis.timeline.hotplugs.map(({ windows }) => windows), [["vtd-04.0-dmar", "vtd-04.0-dmar"]]);
  assert(diagnosis.unknown.targets <= 1);
  // An entry that is changed in place is lost there, too.
  const { history } = await diagnose({ log: data("doctor/hotplug-vtd.log.gz") }, { iova: 0x1000n });
  assert((history?.moments ?? []).some((moment) => moment.what === "guest" && moment.entry === 0xce_1003n));
});

Deno.test("The history of an address tells guest, QEMU and host in their order", async () => {
  const { history } = await diagnose(ONE_G, { iova: 0x123n });
  const told = history?.moments.slice(0, 9).map((moment) => moment.what);
  assertEquals(told, [
    "guest",
    "attached",
    "told",
    "host-mapped",
    "told",
    "host-refused",
    "guest",
    "detached",
    "told",
  ]);
});

const folder = Deno.env.get("GIOMMU_RECORDINGS");
if (folder !== undefined) {
  for (const [name, errors] of [["pseries-1g-4k", 1], ["pseries-linux", 0], ["pseries-limit-64", 5]] as const) {
    Deno.test(`whole recording ${name}: as many errors as it has, and every event of the kernel explained`, async () => {
      const stderr = `${folder}/hotplug/${name}.run.log${name === "pseries-limit-64" ? ".gz" : ""}`;
      const [log, kernel] = [`${folder}/hotplug/${name}.qemu.trace.gz`, `${folder}/hotplug/${name}.kernel.trace.gz`];
      const diagnosis = await diagnose({ log, kernel, stderr });
      assertEquals(diagnosis.findings.filter(({ severity }) => severity === "error").length, errors);
      assertExplained(diagnosis);
    });
  }
}
