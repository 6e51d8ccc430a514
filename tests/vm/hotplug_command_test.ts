/** `giommu hotplug` on real hosts, as people run it: in a process of its own, with only the permissions that it needs. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { fromFileUrl } from "../command/paths.ts";
import { KernelLog, pagesAfter } from "./kernel_log.ts";
import { DEVICE, iommufdTest, vmTest } from "./vm.ts";

const MAIN = fromFileUrl("../../packages/cli/main.ts");
const LIBRARY = fromFileUrl("../../target/release/libgiommu_host.so");
const LOGS = fromFileUrl("../data/logs/");
const LOG = "hotplug-1g-4k.log.gz";
/** A page that some host's driver tries out below this address, before anything of a guest is mapped. */
const TRIED_OUT = 0x10_0000n;

/** The hosts of this kernel, by `--host`, each with how many maps 593 pages in 530 runs are, and how many split. */
const VFIO = { maps: 593, coalesce: "auto = none, on type1" };
const IOMMUFD = { maps: 530, coalesce: "auto = full, on iommufd" };

function command(args: readonly string[]): Deno.Command {
  const permissions = ["--allow-read", `--allow-ffi=${LIBRARY}`, "--allow-env=GIOMMU_HOST_LIBRARY"];
  return new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-prompt", "--quiet", "--no-check", ...permissions, MAIN, "hotplug", ...args],
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  });
}

/** Runs it on a bundled recording. */
async function hotplug(file: string, ...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const { code, stdout, stderr } = await command([`${LOGS}${file}`, ...args]).output();
  return { code, stdout: new TextDecoder().decode(stdout), stderr: new TextDecoder().decode(stderr) };
}

/** The host of the first device's group. */
function vfio(): string {
  const group = Deno.readLinkSync(`/sys/bus/pci/devices/${DEVICE}/iommu_group`).split("/").at(-1);
  return `vfio:${group}`;
}

/** Which pages were ever mapped, but for those that a driver tries out. */
function everMapped(events: ReturnType<KernelLog["take"]>): bigint[] {
  return pagesAfter(events.filter(({ call }) => call === "map")).filter((page) => page << 12n >= TRIED_OUT);
}

/** The recorded guest's hotplug from beginning to end, with the device's own DMA as witness. */
async function assertPlugged(host: string, { maps, coalesce }: typeof VFIO): Promise<void> {
  using log = new KernelLog();
  const { code, stdout, stderr } = await hotplug(LOG, "--host", host, "--verify-dma", "--json");
  const events = log.take();
  assertEquals([code, stderr], [0, ""], stdout);
  const { plan, commit, after, verify, dma, error, ...rest } = JSON.parse(stdout);
  assertEquals([plan.pages, plan.extents, plan.hostMaps, plan.bytes], [593, 530, maps, 593 * 0x1000]);
  assertEquals([commit.hostMaps, commit.hostUnmaps, error], [maps, 0, undefined]);
  assertMatch(rest.host.coalesce, new RegExp(`^${coalesce}`));
  assertEquals([verify.guestPages, verify.hostPages], [593, 593]);
  assertEquals([verify.missing, verify.stale, verify.differing, after.holes], [0, 0, 0, 0]);
  assertEquals([dma.agreed, dma.missed, dma.differences], [dma.checked, [], []]);
  // 0x0 is the entry that changed in place: the one that QEMU lost, with its device reading the old page.
  assertEquals(dma.kinds["changed-in-place"], { pages: 1, checked: 1 });
  for (const kind of ["first", "last", "read-only", "neighbour", "unmapped", "empty"]) {
    assert(dma.kinds[kind].checked > 0, kind);
  }
  assert(dma.refused >= 4, "nothing was refused that must be");
  assert(everMapped(events).length >= 512, "the kernel mapped less than the guest has");
  assertEquals(pagesAfter(events), [], "something is left");
}

/** Nothing of the guest is ever mapped. */
async function assertNothingMapped(host: string, { maps }: typeof VFIO): Promise<void> {
  using log = new KernelLog();
  const planned = await hotplug(LOG, "--host", host, "--plan", "--json");
  assertEquals([planned.code, JSON.parse(planned.stdout).plan.hostMaps], [0, maps], planned.stderr);
  const refused = await hotplug("migration-ddw-on.mig.gz", "--host", host, "--json");
  const { error, commit } = JSON.parse(refused.stdout);
  assertEquals([refused.code, error.code, error.range.start], [1, "iova-out-of-range", "0x800000000000000"]);
  assertEquals(commit.hostMaps, 0);
  assertMatch(error.remedy, /dma64_win_addr/);
  const events = log.take();
  assertEquals([everMapped(events), pagesAfter(events)], [[], []]);
}

/** Ctrl-C while the device does DMA: nothing is left, and the device can be used again. */
async function assertInterrupted(host: string): Promise<void> {
  using log = new KernelLog();
  const child = command([`${LOGS}${LOG}`, "--host", host, "--verify-dma"]).spawn();
  const deadline = performance.now() + 120_000;
  while (everMapped(log.look()).length < 512) {
    assert(performance.now() < deadline, "the guest's pages are not mapped");
    await new Promise((done) => setTimeout(done, 200));
  }
  // What the log says after the hotplug takes it less than that, and the DMA at the end more.
  await new Promise((done) => setTimeout(done, 1000));
  child.kill("SIGINT");
  const { code, stderr, stdout } = await child.output();
  assertEquals([code, stdout.length], [130, 0]);
  assertEquals(new TextDecoder().decode(stderr), "giommu: interrupted; the device is detached\n");
  assertEquals(pagesAfter(log.take()), []);
  assertEquals((await hotplug(LOG, "--host", host, "--plan")).code, 0);
}

vmTest("type1: the recorded guest's device arrives where the table says now, and nowhere else", async () => {
  await assertPlugged(vfio(), VFIO);
});

vmTest("type1: a plan maps nothing, and neither does a refused attach", async () => {
  await assertNothingMapped(vfio(), VFIO);
});

vmTest(
  "type1: shared mappings have to be allowed their holes, which are counted, and the DMA is right after them",
  async () => {
    const shared = ["--host", vfio(), "--coalesce", "full"];
    const refused = await hotplug(LOG, ...shared);
    assertEquals([refused.code, refused.stdout], [2, ""]);
    assertMatch(refused.stderr, /^giommu: --coalesce full: type1 cannot unmap a part.*--allow-dma-holes/);
    const { code, stdout } = await hotplug(LOG, ...shared, "--allow-dma-holes", "--verify-dma", "--json");
    const { commit, after, dma } = JSON.parse(stdout);
    assertEquals([code, commit.hostMaps, after.holes, dma.agreed, dma.missed], [0, 530, 1, dma.checked, []], stdout);
  },
);

vmTest("type1: Ctrl-C detaches the device, and leaves nothing", async () => {
  await assertInterrupted(vfio());
});

vmTest("what is missing on a system with VFIO is one line: no such group, no such device", async () => {
  for (
    const [args, said] of [
      [["--host", "vfio:4711"], /Cannot use IOMMU group 4711: .*ENOENT/],
      [["--host", vfio(), "--device", "0000:00:1e.7"], /0000:00:1e\.7/],
      [["--host", vfio(), "--device", "banana"], /no PCI address/],
      [["--host", "iommufd:0000:00:1e.7"], /Cannot (?:open iommufd|use device)/],
    ] as const
  ) {
    const { code, stdout, stderr } = await hotplug(LOG, ...args);
    assertEquals([code, stdout], [2, ""]);
    assertMatch(stderr, /^giommu: [^\n]+\n$/);
    assertMatch(stderr, said);
  }
});

iommufdTest("the recorded guest's device arrives where the table says now, and nowhere else", async () => {
  await assertPlugged(`iommufd:${DEVICE}`, IOMMUFD);
});

iommufdTest("a plan maps nothing, and neither does a refused attach; the device by its file's name", async () => {
  const [name] = [...Deno.readDirSync(`/sys/bus/pci/devices/${DEVICE}/vfio-dev`)];
  await assertNothingMapped(`iommufd:${name?.name}`, IOMMUFD);
});

iommufdTest("Ctrl-C detaches the device, and leaves nothing", async () => {
  await assertInterrupted(`iommufd:${DEVICE}`);
});
