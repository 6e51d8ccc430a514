// `giommu check`: every answer that QEMU logged, and QEMU's own tables in migration streams, against the rebuilt ones.
import { assert, assertEquals, assertMatch } from "@std/assert";
import { recording } from "./paths.ts";
import { bytes, giommu, inflated } from "./run_giommu.ts";

// deno-lint-ignore no-explicit-any -- the shape is the command's contract, which these tests spell out
type Json = any;

async function checked(args: readonly string[], code = 0): Promise<Json> {
  const ended = await giommu(["check", ...args, "--json"]);
  assertEquals([ended.code, ended.stderr], [code, ""], ended.stdout.slice(0, 400));
  return JSON.parse(ended.stdout);
}

/** The first put line of the log whose page an xlate line later asks for. */
function provenPut(text: string): { line: string; tce: bigint } {
  for (const [, liobn, ioba, tce] of text.matchAll(/iommu_(?:pci_)?put liobn=(\w+) ioba=(\w+) tce=(\w+) ret=0/g)) {
    if (liobn === undefined || ioba === undefined || tce === undefined || (Number(BigInt(tce) & 3n)) === 0) continue;
    const line = `liobn=${liobn} ioba=${ioba} tce=${tce} ret=0`;
    const after = text.slice(text.indexOf(line));
    const page = `0x${(BigInt(tce) & ~0xfffn).toString(16)}`;
    const asked = after.indexOf(`xlate liobn=${liobn} ${ioba} -> ${page} `);
    const again = after.indexOf(`liobn=${liobn} ioba=${ioba} `, line.length);
    if (asked >= 0 && (again < 0 || asked < again)) return { line, tce: BigInt(tce) };
  }
  throw new Error("no put line is proven by an xlate line");
}

for (const name of ["boot-multitce-off", "boot-ddw-off", "boot-ddw-on", "hotplug-1g-4k", "hotplug-linux"]) {
  Deno.test(`${name}: no logged translation disagrees with the tables`, async () => {
    const { translations } = await checked([recording(`${name}.log.gz`)]);
    assertEquals(translations.disagreed, 0);
    assert(translations.agreed > 0);
  });

  Deno.test(`${name}: one flipped bit in one TCE line is found and named`, async () => {
    const text = await inflated(recording(`${name}.log.gz`));
    const { line, tce } = provenPut(text);
    const flipped = line.replace(`tce=0x${tce.toString(16)}`, `tce=0x${(tce ^ 0x4000n).toString(16)}`);
    assert(flipped !== line);
    const ended = await giommu(["check", "-", "--json"], bytes(text.replace(line, flipped)));
    assertEquals(ended.code, 1, ended.stderr);
    const [first] = JSON.parse(ended.stdout).disagreements;
    assertEquals(BigInt(first.logged.target) ^ BigInt(first.rebuilt.target), 0x4000n);
    const at = text.split("\n")[first.line - 1];
    assertMatch(at ?? "", /spapr_iommu_xlate/);
  });
}

Deno.test("A log in which every change is one H_PUT_TCE tells everything: nothing is left to be learned", async () => {
  const { translations, tables } = await checked([recording("boot-multitce-off.log.gz")]);
  assertEquals(translations.learned, 0);
  for (const { unknown } of tables) assertEquals(unknown, 0);
});

for (const name of ["migration-ddw-off", "migration-ddw-on"]) {
  Deno.test(`${name}: QEMU's own tables equal the rebuilt ones wherever the log tells them`, async () => {
    const { state } = await checked([recording(`${name}.log.gz`), "--state", recording(`${name}.mig.gz`)]);
    assert(state.length >= 3);
    for (const { entries, agreed, differing, unknown } of state) {
      assertEquals([differing, agreed + unknown], [0, entries]);
    }
  });
}

Deno.test("A stream of another guest differs: exit 1", async () => {
  const ended = await giommu([
    "check",
    recording("migration-ddw-off.log.gz"),
    "--state",
    recording("migration-ddw-on.mig.gz"),
    "--json",
  ]);
  assertEquals(ended.code, 1, ended.stderr);
});

Deno.test("--window tells geometry that a log does not", async () => {
  const log = "spapr_iommu_pci_put liobn=0x80000000 ioba=0x40000000 tce=0x103003 ret=0\n" +
    "spapr_iommu_xlate liobn=0x80000000 0x40000000 -> 0x103000 perm=3 mask=0xfff\n";
  const told = await giommu(["check", "-", "--json", "--window", "0x80000000=2G"], bytes(log));
  assertEquals([told.code, JSON.parse(told.stdout).translations.agreed], [0, 1], told.stderr);
  const untold = await giommu(["check", "-"], bytes(log));
  assertMatch(untold.stdout, /--window/);
});
