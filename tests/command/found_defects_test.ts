// What a sceptical reader of the contract found broken once; each with the smallest input that shows it.
import { assert, assertEquals, assertMatch } from "@std/assert";
import { recording } from "./paths.ts";
import { bytes, giommu, inflatedBytes } from "./run_giommu.ts";

// deno-lint-ignore no-explicit-any -- the shape is the command's contract
type Json = any;

async function json(args: readonly string[], log: readonly string[], code: number): Promise<Json> {
  const ended = await giommu([...args, "--json"], bytes(log.join("\n") + "\n"));
  assertEquals([ended.code, ended.stderr], [code, ""], ended.stdout.slice(0, 600));
  return JSON.parse(ended.stdout);
}

Deno.test("A line that shows a window for the first time, and fills it, maps it once", async () => {
  const log = [
    "spapr_iommu_pci_put liobn=0x80000000 ioba=0x1000 tce=0x10003 ret=0",
    "spapr_iommu_pci_put liobn=0x80000001 ioba=0x800000000000000 tce=0x50003 ret=0",
    "spapr_iommu_pci_put liobn=0x80000000 ioba=0x2000 tce=0x11003 ret=0",
  ];
  const args = ["replay", "-", "--at", "1", "--window", "0x80000001=1G/64K@0x800000000000000"];
  const { verify, error } = await json(args, log, 0);
  assertEquals([verify.guestPages, verify.stale, error], [3, 0, undefined]);
});

Deno.test("The run ends at the unplug of its own bridge's container, not of another's", async () => {
  const log = [
    "spapr_iommu_new_table liobn=0x80000000 table=0x1 fd=-1",
    "spapr_iommu_new_table liobn=0x80000100 table=0x2 fd=-1",
    "spapr_iommu_pci_put liobn=0x80000000 ioba=0x1000 tce=0x10003 ret=0",
    "vfio_listener_region_add_iommu region_add [iommu] tce-iommu-80000000 0x0 - 0x3fffffff",
    "spapr_iommu_new_table liobn=0x80000000 table=0x3 fd=-1",
    "vfio_iommu_map_notify iommu MAP @ 0x1000 - 0x1fff",
    "spapr_iommu_pci_put liobn=0x80000000 ioba=0x9000 tce=0x11003 ret=0",
    "vfio_listener_region_add_iommu region_add [iommu] tce-iommu-80000100 0x0 - 0x3fffffff",
    "spapr_iommu_new_table liobn=0x80000100 table=0x4 fd=-1",
    "spapr_iommu_pci_put liobn=0x80000100 ioba=0x6000 tce=0x12003 ret=0",
    "vfio_listener_region_del_iommu region_del [iommu] tce-iommu-80000000",
    "spapr_iommu_pci_put liobn=0x80000000 ioba=0xa000 tce=0x13003 ret=0",
    "vfio_listener_region_del_iommu region_del [iommu] tce-iommu-80000100",
  ];
  const { verify } = await json(["replay", "-"], log, 0);
  assertEquals(verify.guestPages, 2);
});

Deno.test("A damaged section of a stream is said, not left out of the comparison", async () => {
  const whole = await inflatedBytes(recording("migration-ddw-off.mig.gz"));
  const at = new TextDecoder("latin1").decode(whole).indexOf("\x0bspapr_iommu");
  assert(at > 0);
  const path = await Deno.makeTempFile();
  try {
    for (const offset of [12 + 4, 12 + 8]) { // the version; the LIOBN, which must equal the instance
      const damaged = whole.slice();
      damaged[at + offset + 3] = 0x55;
      await Deno.writeFile(path, damaged);
      const ended = await giommu(["check", recording("migration-ddw-off.log.gz"), "--state", path]);
      assert(ended.code === 1 || ended.code === 2, ended.stdout);
      assertMatch(ended.stdout + ended.stderr, /damaged|not in the stream/);
    }
  } finally {
    await Deno.remove(path);
  }
});

Deno.test("A table that the log has mapped and the stream lacks is different, and named", async () => {
  const args = [recording("migration-ddw-off.log.gz"), "--state", recording("migration-ddw-on.mig.gz")];
  const ended = await giommu(["check", ...args]);
  assertEquals(ended.code, 1);
  assertMatch(ended.stdout, /0x71000003 .*not in the stream/);
});

Deno.test("The peak that is named is that of the whole log", async () => {
  const log = [
    "spapr_iommu_new_table liobn=0x80000000 table=0x1 fd=-1",
    "spapr_iommu_pci_get liobn=0x80000000 ioba=0x0 ret=0 tce=0x0",
    "spapr_iommu_pci_put liobn=0x80000000 ioba=0x1000 tce=0x10003 ret=0",
  ];
  const { stdout } = await giommu(["replay", "-", "--at", "2"], bytes(log.join("\n")));
  assertMatch(stdout, /its peak is 1 page at line 3/);
});

Deno.test("A guest's read that disagrees is named, by check and by replay, and both exit with 1", async () => {
  const log = [
    "spapr_iommu_new_table liobn=0x80000000 table=0x7f fd=-1",
    "spapr_iommu_pci_put liobn=0x80000000 ioba=0x1000 tce=0x10003 ret=0",
    "spapr_iommu_pci_get liobn=0x80000000 ioba=0x1000 ret=0 tce=0x99003",
  ];
  for (const command of ["check", "replay"]) {
    const { reads, disagreements } = await json([command, "-"], log, 1);
    assertEquals([reads.disagreed, disagreements[0].line, disagreements[0].by], [1, 3, "get"]);
    const { stdout } = await giommu([command, "-"], bytes(`${log.join("\n")}\n`));
    assertMatch(stdout, /line 3: 0x80000000 at 0x1000: the log says 0x99/);
  }
});

Deno.test("Pages beyond --ram are counted and told; no RAM at all is refused", async () => {
  const log = recording("hotplug-1g-4k.log.gz");
  const { stdout } = await giommu(["replay", log, "--ram", "32M"]);
  assertMatch(stdout, /16 pages more that the guest points to what is no RAM/);
  assertEquals((await giommu(["replay", log, "--ram", "0"])).code, 2);
});

Deno.test("QEMU's replay is compared only with the tables that it was onto", async () => {
  const log = recording("hotplug-two-windows.log.gz");
  const ended = await giommu(["replay", log, "--liobn", "0x80000001", "--json"]);
  const { qemu, hotplug } = JSON.parse(ended.stdout);
  assertEquals([qemu, hotplug.unknownPages, hotplug.pages], [null, 0, 1]);
});

Deno.test("A log that was recorded without notifications has no replay of QEMU's to compare", async () => {
  const log = [
    "spapr_iommu_new_table liobn=0x80000000 table=0x1 fd=-1",
    "spapr_iommu_pci_put liobn=0x80000000 ioba=0x1000 tce=0x10003 ret=0",
    "vfio_listener_region_add_iommu region_add [iommu] tce-iommu-80000000 0x0 - 0x3fffffff",
    "spapr_iommu_new_table liobn=0x80000000 table=0x3 fd=-1",
    "spapr_iommu_pci_put liobn=0x80000000 ioba=0x2000 tce=0x11003 ret=0",
  ];
  const { qemu, verify } = await json(["replay", "-"], log, 0);
  assertEquals([qemu, verify.guestPages], [null, 2]);
});

Deno.test("Lines that do not fit a table's geometry are counted in the JSON, too", async () => {
  const log = ["spapr_iommu_pci_put liobn=0x80000000 ioba=0x400000 tce=0x10003 ret=0"];
  const { problems } = await json(["replay", "-", "--window", "0x80000000=8K"], log, 0);
  assertEquals([problems.count, problems.first[0].line], [1, 1]);
});

Deno.test("A file may be called 007, and the input is not overwritten by its own dump", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const log = `${folder}/007`;
    await Deno.copyFile(recording("hotplug-1g-4k-noxlate.log.gz"), log);
    const main = new URL("../../packages/cli/main.ts", import.meta.url).pathname;
    const { code } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "--no-prompt", "--quiet", "--allow-read", main, "check", "007"],
      cwd: folder,
      stdout: "null",
      stderr: "null",
    }).output();
    assertEquals(code, 0);

    const csv = `${folder}/in.csv`;
    await Deno.rename(log, csv);
    const before = await Deno.readFile(csv);
    const ended = await giommu(["replay", csv, "--dump", csv], undefined, ["--allow-read", "--allow-write"]);
    assertEquals(ended.code, 2);
    assertEquals(await Deno.readFile(csv), before);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
