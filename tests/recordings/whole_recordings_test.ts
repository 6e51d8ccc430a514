// Whole recordings, too large to be bundled. Set GIOMMU_RECORDINGS to a folder that has them, in subfolders traces/,
// hotplug/ and migration/; without it there is nothing to run here, and tests/command runs the bundled, trimmed ones.
import { assertEquals } from "@std/assert";
import { giommu } from "../command/run_giommu.ts";

// deno-lint-ignore no-explicit-any -- the shape is the command's contract
type Json = any;

const folder = Deno.env.get("GIOMMU_RECORDINGS");

/** What an independent reader counted: agreed and learned translations. */
const CHECKED: Readonly<Record<string, readonly [agreed: number, learned: number]>> = {
  "traces/pseries-nvme-e1000e-multitce-off.log.gz": [34_160, 0],
  "traces/pseries-nvme-e1000e-ddw-off.log.gz": [14_377, 19_794],
  "traces/pseries-nvme-e1000e-ddw-on.log.gz": [14_307, 9_425],
};

/** Pages and extents at a hotplug, pages that QEMU replayed, pages whose targets the log does not tell. */
const REPLAYED: readonly (readonly [file: string, at: string, counts: readonly [number, number, number, number]])[] = [
  ["hotplug/pseries-1g-4k.qemu.trace.gz", "hotplug", [593, 530, 593, 0]],
  ["hotplug/pseries-1g-4k.qemu.trace.gz", "hotplug:2", [593, 530, 593, 0]],
  ["hotplug/pseries-linux.qemu.trace.gz", "hotplug", [415, 263, 415, 0]],
  ["hotplug/pseries-1g-4k-noxlate.qemu.trace.gz", "hotplug", [82, 19, 593, 511]],
  ["hotplug/pseries-1g-4k-noxlate.qemu.trace.gz", "hotplug:2", [82, 19, 593, 511]],
  ["hotplug/pseries-limit-64.qemu.trace.gz", "hotplug", [83, 20, 1105, 1022]],
  ["hotplug/pseries-limit-64.qemu.trace.gz", "hotplug:2", [83, 20, 1105, 1022]],
];

async function run(args: readonly string[]): Promise<Json> {
  const { code, stdout, stderr } = await giommu([...args, "--json"]);
  assertEquals([code, stderr], [0, ""], stdout.slice(0, 400));
  return JSON.parse(stdout);
}

if (folder !== undefined) {
  for (const [file, [agreed, learned]] of Object.entries(CHECKED)) {
    Deno.test(`whole recording ${file}: every translation agrees or teaches`, async () => {
      const { translations } = await run(["check", `${folder}/${file}`]);
      assertEquals(translations, { agreed, disagreed: 0, learned });
    });
  }

  for (const [file, at, [pages, extents, replayed, unknown]] of REPLAYED) {
    Deno.test(`whole recording ${file} at ${at}: what QEMU replayed, and in step to the end`, async () => {
      const report = await run(["replay", `${folder}/${file}`, "--at", at]);
      const { qemu, verify } = report;
      assertEquals([report.hotplug.pages, report.hotplug.extents, qemu.replayed, qemu.unknown], [
        pages,
        extents,
        replayed,
        unknown,
      ]);
      assertEquals([qemu.agreed, qemu.missing, qemu.extra], [pages, 0, 0]);
      assertEquals([verify.missing, verify.stale, verify.differing], [0, 0, 0]);
    });
  }

  for (const name of ["ddw-off", "ddw-on"]) {
    Deno.test(`whole recording migration/${name}: QEMU's tables equal the rebuilt ones`, async () => {
      const path = `${folder}/migration/${name}`;
      const { state } = await run(["check", `${path}.log.gz`, "--state", `${path}.mig.gz`]);
      for (const { entries, agreed, differing, unknown } of state) {
        assertEquals([differing, agreed + unknown], [0, entries]);
      }
    });
  }
}
