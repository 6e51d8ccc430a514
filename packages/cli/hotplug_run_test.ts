import { assertEquals } from "@std/assert";
import { statusOf } from "./hotplug_run.ts";
import type { ReplayReport } from "./report.ts";

const HEALTHY: ReplayReport = {
  input: { bytes: 1, lines: 1, events: 1, unparsed: 0 },
  tables: [],
  hotplug: {
    attached: true,
    line: 1,
    liobns: [],
    pages: 1,
    extents: 1,
    unknownPages: 5,
    hostMaps: 1,
    maps: { none: 1, call: 1, full: 1 },
    nanoseconds: 1,
  },
  after: { events: 1, hostMaps: 0, hostUnmaps: 0, holes: 0 },
  verify: { guestPages: 1, hostPages: 1, missing: 0, stale: 0, differing: 0, notRam: 0, differences: [] },
  qemu: { replayed: 6, agreed: 1, missing: 0, extra: 0, unknown: 5 },
  translations: { agreed: 1, disagreed: 0, learned: 1 },
  reads: { agreed: 1, disagreed: 0, learned: 0 },
  problems: { count: 0, first: [] },
  disagreements: [],
  hotplugs: [],
};

Deno.test("The exit status is 0 where all agrees, also with pages that nobody told", () => {
  assertEquals(statusOf(HEALTHY), 0);
  assertEquals(statusOf({ ...HEALTHY, qemu: null }), 0);
});

Deno.test("The exit status is 1 for each single thing that differs or was refused", () => {
  const { verify, qemu, translations } = HEALTHY;
  for (const field of ["missing", "stale", "differing"]) {
    assertEquals(statusOf({ ...HEALTHY, verify: { ...verify, [field]: 1 } }), 1, field);
  }
  for (const field of ["missing", "extra"]) {
    assertEquals(statusOf({ ...HEALTHY, qemu: { ...qemu!, [field]: 1 } }), 1, field);
  }
  assertEquals(statusOf({ ...HEALTHY, translations: { ...translations, disagreed: 1 } }), 1);
  assertEquals(statusOf({ ...HEALTHY, reads: { ...HEALTHY.reads, disagreed: 1 } }), 1);
  assertEquals(statusOf({ ...HEALTHY, error: { code: "mapping-limit", range: null, message: "no" } }), 1);
});

Deno.test("A log that ends within QEMU's replay is no difference: the rest may have come later", () => {
  const cut = { ...HEALTHY, after: { ...HEALTHY.after, events: 0 }, qemu: { ...HEALTHY.qemu!, extra: 3 } };
  assertEquals(statusOf(cut), 0);
});
