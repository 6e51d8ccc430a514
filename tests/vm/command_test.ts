/** `giommu hotplug` on real hosts, as people run it: in a process of its own, with only the permissions that it needs. */

import { assert, assertEquals } from "@std/assert";
import { BACKENDS, DEVICE, iommufdTest, vmTest } from "./vm.ts";

const MAIN = new URL("../../packages/cli/main.ts", import.meta.url).pathname;
const LOG = new URL("../data/logs/hotplug-1g-4k.log.gz", import.meta.url).pathname;
const PERMISSIONS = ["--allow-read", "--allow-ffi", "--allow-env=GIOMMU_HOST_LIBRARY"];

async function hotplug(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-prompt", "--quiet", "--no-check", ...PERMISSIONS, MAIN, "hotplug", LOG, ...args],
    stdin: "null",
  }).output();
  return { code, stdout: new TextDecoder().decode(stdout), stderr: new TextDecoder().decode(stderr) };
}

/** The group of the first device. */
function groupNumber(): string {
  return Deno.readLinkSync(`/sys/bus/pci/devices/${DEVICE}/iommu_group`).split("/").at(-1) ?? "";
}

vmTest(
  "giommu hotplug plugs the recorded guest's device into a group, and its DMA goes as the table says",
  async () => {
    const { code, stdout, stderr } = await hotplug("--host", `vfio:${groupNumber()}`, "--verify-dma", "--json");
    assertEquals([code, stderr], [0, ""], stdout);
    const { plan, commit, verify, dma, error } = JSON.parse(stdout);
    assertEquals([plan.pages, plan.hostMaps, plan.problems, commit.hostMaps], [593, 593, [], 593]);
    assertEquals([verify.missing, verify.stale, verify.differing, error], [0, 0, 0, undefined]);
    assertEquals([dma.agreed, dma.missed, dma.wrong], [dma.checked, [], []]);
    for (const kind of ["first", "last", "changed", "unmapped", "neighbour"]) assert(dma.kinds[kind] > 0, kind);
  },
);

vmTest("giommu hotplug --plan asks the real host for its limits and maps nothing", async () => {
  const { code, stdout } = await hotplug("--host", `vfio:${groupNumber()}`, "--plan");
  assertEquals(code, 0, stdout);
  assert(/Plan +593 pages in 530 extents: 593 host maps, .* pinned \(auto = none, on type1, split none\)/.test(stdout));
});

vmTest("giommu hotplug onto a host that is not there says so on one line", async () => {
  const { code, stderr } = await hotplug("--host", "vfio:4711");
  assertEquals(code, 2);
  assert(/^giommu: Cannot use IOMMU group 4711: .*ENOENT.*\n$/.test(stderr), stderr);
});

iommufdTest("giommu hotplug coalesces, and takes the device by its name too", async () => {
  for (const device of [DEVICE, "vfio0"]) {
    const { code, stdout } = await hotplug("--host", `iommufd:${device}`, "--verify-dma", "--json");
    const { commit, verify, dma } = JSON.parse(stdout);
    assertEquals([code, commit.hostMaps, verify.missing, dma.agreed, dma.missed], [0, 530, 0, dma.checked, []], stdout);
  }
  assertEquals(BACKENDS.length, 3);
});
