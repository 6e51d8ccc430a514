import { SimulatedHost, VfioContainer } from "@giommu/vfio-sync";
import { assert, assertEquals } from "@std/assert";
import { openInput } from "./input.ts";
import { RebuiltMachine } from "./rebuilt_machine.ts";
import type { MappedRange } from "./table_change.ts";
import { bytes, recording } from "./testdata/recordings.ts";

/** The mapped pages of a machine as its followers know them: page by page, so that runs do not matter. */
class Pages {
  readonly #machine: RebuiltMachine;
  readonly tables = new Map<number, Map<bigint, string>>();
  changes = 0;
  replacements = 0;

  constructor(machine: RebuiltMachine) {
    this.#machine = machine;
  }

  changed(liobn: number, unmaps: Iterable<MappedRange>, maps: Iterable<MappedRange>): void {
    this.changes++;
    const table = this.tables.get(liobn);
    assert(table);
    for (const [page, what] of pagesOf(unmaps)) {
      assertEquals(table.get(page), what, "what vanishes was told before");
      table.delete(page);
    }
    for (const [page, what] of pagesOf(maps)) {
      assert(!table.has(page), "what appears was not there");
      table.set(page, what);
    }
  }

  replaced(): void {
    this.replacements++;
    this.tables.clear();
    for (const [liobn, pages] of mapped(this.#machine)) this.tables.set(liobn, pages);
  }
}

function* pagesOf(ranges: Iterable<MappedRange>): Generator<[bigint, string]> {
  for (const { iova, pages, target, perm } of ranges) {
    const size = (iova.last - iova.start + 1n) / BigInt(pages);
    for (let i = 0n; i < BigInt(pages); i++) yield [iova.start + i * size, `${target + i * size} ${perm}`];
  }
}

function mapped(machine: RebuiltMachine): Map<number, Map<bigint, string>> {
  return new Map(machine.tables.map(({ liobn }) => [liobn, new Map(pagesOf(machine.mappedRuns(liobn)))]));
}

for (
  const name of ["hotplug-1g-4k", "hotplug-linux", "hotplug-two-windows", "boot-multitce-off", "boot-ddw-on"]
) {
  Deno.test(`whoever follows ${name} from its beginning knows every page at its end`, async () => {
    await using input = await openInput(recording(`${name}.log.gz`));
    using machine = new RebuiltMachine();
    const pages = new Pages(machine);
    using _following = machine.follow({
      changed: ({ liobn, unmaps, maps }) => pages.changed(liobn, unmaps(), maps()),
      replaced: () => pages.replaced(),
    });
    while (await machine.read(input) !== "end");
    assert(pages.changes > 50 && pages.replacements > 0);
    assertEquals(pages.tables, mapped(machine));
  });
}

const NEW = "spapr_iommu_new_table liobn=0x80000000 table=(nil) fd=-1\n";
const put = (ioba: number, tce: number): string =>
  `spapr_iommu_pci_put liobn=0x80000000 ioba=0x${ioba.toString(16)} tce=0x${tce.toString(16)} ret=0\n`;

Deno.test("a follower hears of the line that changed something, and of nothing once it has left", () => {
  using machine = new RebuiltMachine();
  const lines: string[] = [];
  const following = machine.follow({
    changed: ({ line }) => lines.push(`changed ${line}`),
    replaced: (line) => lines.push(`replaced ${line}`),
  });
  // The first line of a table that nobody made shows the table, and what it stores is shown with it.
  machine.feed(bytes(put(0x1000, 0x8003) + put(0x1000, 0x8003) + "foreign\n" + put(0x1000, 0x9003)));
  assertEquals(lines, ["replaced 1", "changed 4"]);
  following[Symbol.dispose]();
  machine.feed(bytes(put(0x1000, 0)), true);
  assertEquals(lines.length, 2);
});

Deno.test("beside a container, a follower does not hear of a change that the host refused", () => {
  using machine = new RebuiltMachine();
  machine.feed(bytes(NEW + put(0x1000, 0x8003)));
  using bridge = machine.bridge(0);
  const host = new SimulatedHost({ maxMappings: 1 });
  using container = new VfioContainer({ host });
  container.attach(bridge.space);
  const told: string[] = [];
  using _following = machine.follow({
    changed: ({ line, maps }) => told.push(`${line}: ${[...maps()].length}`),
    replaced: (line) => told.push(`${line}: ${machine.tables[0]?.mapped} mapped`),
  });
  assertEquals(machine.feed(bytes(put(0x5000, 0x1_0003) + put(0x1000, 0)), true), "refused");
  assertEquals(machine.resume(), "end");
  assertEquals(told, ["3: 1 mapped", "4: 0"]);
});
