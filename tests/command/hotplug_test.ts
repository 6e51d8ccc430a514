// `giommu hotplug` without hardware; tests/vm has the same with a real device.
import { assert, assertEquals } from "@std/assert";
import { recording } from "./paths.ts";
import { giommu } from "./run_giommu.ts";

const LOG = recording("hotplug-1g-4k.log.gz");

Deno.test("hotplug plans, attaches, follows and verifies on a simulated host", async () => {
  const { code, stdout, stderr } = await giommu(["hotplug", LOG, "--json"]);
  assertEquals([code, stderr], [0, ""]);
  const { plan, commit, after, verify, dma, error } = JSON.parse(stdout);
  assertEquals([plan.pages, plan.extents, plan.hostMaps, plan.bytes], [593, 530, 530, 593 * 4096]);
  assertEquals([commit.hostMaps, commit.hostUnmaps, verify.guestPages, verify.hostPages], [530, 0, 593, 593]);
  assertEquals([verify.missing, verify.stale, verify.differing, dma, error], [0, 0, 0, null, undefined]);
  assert(after.hostMaps > 0 && after.hostUnmaps > 0);
});

Deno.test("hotplug --plan does nothing but the plan", async () => {
  const { code, stdout } = await giommu(["hotplug", LOG, "--plan", "--coalesce", "none", "--json"]);
  const { plan, commit, after, verify } = JSON.parse(stdout);
  assertEquals([code, plan.hostMaps, commit, after, verify], [0, 593, null, null, null]);
});

Deno.test("hotplug shows what the guest maps outside of its RAM as problems, and nothing is wrong with that", async () => {
  const { code, stdout } = await giommu(["hotplug", LOG, "--ram", "16M", "--json"]);
  const { plan, verify } = JSON.parse(stdout);
  assertEquals([code, plan.problems.length > 0, plan.problems[0].code], [0, true, "not-ram"]);
  assert(plan.bytes < 593 * 4096);
  assertEquals(verify.guestPages, verify.hostPages);
});

Deno.test("hotplug tells people the same", async () => {
  const { code, stdout } = await giommu(["hotplug", LOG]);
  assertEquals(code, 0);
  for (
    const part of [
      "Plan      593 pages in 530 extents",
      "Attached  530 host maps",
      "nothing missing, stale or different",
    ]
  ) {
    assert(stdout.includes(part), stdout);
  }
});

Deno.test("hotplug without leave to load the library says which permission is missing", async () => {
  for (const host of ["vfio:3", "iommufd:0000:00:04.0"]) {
    const { code, stderr } = await giommu(["hotplug", LOG, "--host", host]);
    assertEquals(code, 2);
    assert(/^giommu: Cannot use VFIO: .*\n$/.test(stderr), stderr);
    if (Deno.build.os === "linux") assert(stderr.includes("--allow-ffi"), stderr);
  }
});

for (
  const [wrong, said] of [
    [["--host", "qemu"], "is none of vfio:GROUP"],
    [["--host", "vfio:many"], "--host vfio"],
    [["--verify-dma"], "needs a real device"],
    [["--device", "00:04.0"], "goes with --host vfio:GROUP"],
    [["--dump", "x.csv"], "unknown option"],
  ] as const
) {
  Deno.test(`hotplug refuses ${wrong.join(" ")}`, async () => {
    const { code, stdout, stderr } = await giommu(["hotplug", LOG, ...wrong]);
    assertEquals([code, stdout, stderr.split("\n").length], [2, "", 2]);
    assert(stderr.includes(said), stderr);
  });
}
