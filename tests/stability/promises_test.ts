// What docs/stability.md promises of formats: codes, snapshots and JSON of a release mean the same in every later one.
import { IOMMU_ERROR_CODES } from "@giommu/core";
import { SpaprMachine } from "@giommu/spapr-tce";
import { assert, assertEquals } from "@std/assert";
import { recording } from "../command/paths.ts";
import { giommu } from "../command/run_giommu.ts";

/** The codes of 0.1.0. Only what follows them may grow. */
const CODES = [
  "disposed",
  "duplicate-liobn",
  "mapping-limit",
  "iova-out-of-range",
  "page-too-fine",
  "overlap",
  "not-ram",
  "mapping-lost",
  "unmap-failed",
  "rollback-failed",
  "backend-unavailable",
  "snapshot-version",
  "core-trapped",
  "entry-limit",
  "notifier-refused",
  "host-refused",
  "dma-holes-not-allowed",
  "container-failed",
  "replay-aborted",
  "already-attached",
  "bad-input",
  "change-in-progress",
  "replay-in-progress",
  "snapshot-mismatch",
  "not-attached",
  "not-started",
  "no-window",
];

Deno.test("error codes keep their places, and new ones are appended", () => {
  assertEquals(IOMMU_ERROR_CODES.slice(0, CODES.length), CODES);
});

/** A machine with a bridge of 1 MiB, a window that its guest created, a VIO device and three entries, as 0.1.0 saved it. */
const SNAPSHOT =
  "R0lPTU1VDQoBAAAApAAAAAAAAAABAAAAAAAAAAEAECEBAAAAAAAAAAAAAAAAAAAQAAAAAAAAAAAAAAAACAMAAAAAAAAAAAwAAQAA" +
  "AgAAAAMIA1AAAAAAAAADYAAAAAAAAAEAAAAEAQIAAAAAAAAACBAAQAAAAAAAAAAAAAABAAAAAQAAcQAAAQAAAAAAAAEAAAACBAFwAAAAAAAAAAAAAJTlYaQ=";

Deno.test("a snapshot of 0.1.0 is restored", () => {
  const bytes = Uint8Array.from(atob(SNAPSHOT), (digit) => digit.charCodeAt(0));
  using machine = SpaprMachine.fromSnapshot(bytes, { ram: 0x1_0000n });
  const phb = machine.phb(0);
  assertEquals([phb.options.dmaWinSize, phb.windows.map(({ busOffset }) => busOffset)], [0x10_0000n, [0n, 1n << 59n]]);
  assertEquals([phb.defaultWindow.entry(3), phb.defaultWindow.entry(4)], [0x5003n, 0x6003n]);
  assertEquals([machine.vio(0x7100_0001).table.entry(2), machine.stored], [0x7001n, 3]);
});

/** Fields that programs read, by command: paths into the object, `[]` for each of a list. */
const FIELDS = {
  replay: [
    ...["input.bytes", "input.lines", "input.events", "input.unparsed", "tables[].liobn", "tables[].pageShift"],
    ...["tables[].busOffset", "tables[].entries", "tables[].mapped", "tables[].unknown", "hotplug.attached"],
    ...[
      "hotplug.line",
      "hotplug.liobns[]",
      "hotplug.pages",
      "hotplug.extents",
      "hotplug.hostMaps",
      "hotplug.unknownPages",
    ],
    ...["hotplug.maps.none", "hotplug.maps.call", "hotplug.maps.full", "after.events", "after.hostMaps"],
    ...["after.hostUnmaps", "after.holes", "verify.guestPages", "verify.hostPages", "verify.missing", "verify.stale"],
    ...["verify.differing", "verify.notRam", "verify.differences", "qemu.replayed", "qemu.agreed", "qemu.missing"],
    ...["qemu.extra", "translations.agreed", "translations.disagreed", "translations.learned", "problems.count"],
    ...["problems.first", "disagreements"],
  ],
  check: [
    ...["input.bytes", "tables[].liobn", "tables[].mapped", "translations.agreed", "reads.agreed", "problems.count"],
    "disagreements",
  ],
} as const;

/** What lies at a path; `undefined` where nothing does. */
function at(value: unknown, path: string): unknown {
  let found: unknown = value;
  for (const step of path.split(".")) {
    const [name = "", list] = step.split("[");
    if (typeof found !== "object" || found === null) return undefined;
    found = (found as Record<string, unknown>)[name];
    if (list !== undefined) found = Array.isArray(found) ? found[0] : undefined;
  }
  return found;
}

for (const [command, paths] of Object.entries(FIELDS)) {
  Deno.test(`giommu ${command} --json has the fields of 0.1.0`, async () => {
    const { code, stdout } = await giommu([command, recording("hotplug-1g-4k.log.gz"), "--json"]);
    assertEquals(code, 0);
    const report: unknown = JSON.parse(stdout);
    for (const path of paths) assert(at(report, path) !== undefined, path);
    assertEquals([at(report, "tables[].liobn"), at(report, "tables[].entries")], ["0x80000000", 262144]);
  });
}
