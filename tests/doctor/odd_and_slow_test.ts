// Logs of healthy runs, damaged in ways that are odd, or that only cost time.
import { assert, assertEquals } from "@std/assert";
import {
  assertFound,
  at,
  examine,
  first,
  healthyRuns,
  hostTime,
  insert,
  insertKernel,
  long,
  operations,
  put,
  quietPlace,
  refusal,
  type Run,
  short,
  timeOf,
  told,
  untouched,
} from "./runs.ts";

const RUNS = await healthyRuns();
const FREE = 0x2345_6000;

function fault(iova: number): string {
  return `io_page_fault: IOMMU:dmar 0000:00:04.0 iova=${long(iova)} flags=0x0000`;
}

/** The line of the kernel's log that holds a text, from 1. */
function kernelLine(run: Run, text: string): number {
  return run.kernel.findIndex((line) => line.includes(text)) + 1;
}

for (const run of RUNS) {
  const time = timeOf(run.log[quietPlace(run)] ?? "") + 300;

  Deno.test(`a device of ${run.name} that is refused a mapped page is an error, an unmapped one a warning`, async () => {
    const page = first(untouched(run));
    for (const [iova, id] of [[page.iova + 0x10, "dma-fault"], [FREE, "dma-fault-unmapped"]] as const) {
      // Faults are logged by whoever runs when the interrupt comes.
      const sick = insertKernel(run, time, fault(iova), 9);
      const found = await assertFound(run, sick, id, iova, kernelLine(sick, fault(iova)));
      assertEquals([found.source, found.severity], ["kernel", id === "dma-fault" ? "error" : "warning"]);
    }
  });

  Deno.test(`a map of ${run.name} that is refused where the log does not tell the entry is a warning`, async () => {
    const pages = untouched(run);
    const pair = pages.find(({ iova }, at) => pages[at + 1]?.iova === iova + 0x1000);
    assert(pair !== undefined);
    const { run: sick, line } = insert(run, quietPlace(run), [
      told(pair.iova),
      told(pair.iova + 0x1000),
      `spapr_iommu_pci_indirect liobn=0x80000000 ioba=${
        short(pair.iova)
      } tcelist=0x20000 iobaN=0x1 tceN=0x700003 ret=0`,
    ]);
    for (const kernel of [true, false]) {
      const found = await assertFound(run, sick, "change-unproved", pair.iova, line, { kernel });
      assertEquals([found.severity, found.pages, found.call?.name], ["warning", 1, "H_PUT_TCE_INDIRECT"]);
      // The last entry of the list is in the log.
      await assertFound(run, sick, "stale-mapping", pair.iova + 0x1000, line + 1, { kernel });
    }
  });

  Deno.test(`an entry of ${run.name} that points to no memory is a warning`, async () => {
    const { run: mapped, line, time } = insert(run, quietPlace(run), [told(FREE), put(FREE, 0x7000_0003)]);
    const micros = time + 10;
    const when = `${new Date(Math.floor(micros / 1000)).toISOString().slice(0, -1)}${
      `${micros % 1000}`.padStart(3, "0")
    }Z`;
    const sick = { ...mapped, stderr: [`${when} qemu-system-ppc64: iommu map to non memory area 70000000`] };
    for (const kernel of [true, false]) {
      const found = await assertFound({ ...run, stderr: [] }, sick, "target-not-memory", FREE, line, { kernel });
      assertEquals([found.severity, found.targets.now], ["warning", 0x7000_0003n]);
    }
  });

  Deno.test(`a failure that the log of ${run.name} does not explain is told of by its own line`, async () => {
    const unmap = `vfio_container_dma_unmap(0x5, ${short(FREE)}, 0x1000) = -22 (Invalid argument)`;
    const sick = { ...run, stderr: [...run.stderr, unmap] };
    const found = await assertFound(run, sick, "failure-unmatched", FREE, run.stderr.length + 1);
    assertEquals([found.source, found.severity], ["stderr", "warning"]);
    const map = { ...run, stderr: [...run.stderr, refusal(FREE, "-12 (Cannot allocate memory)")] };
    const missing = await assertFound(run, map, "mapping-missing", FREE, run.stderr.length + 1);
    assertEquals([missing.source, missing.severity], ["stderr", "error"]);
  });

  Deno.test(`a write-only entry of ${run.name} that QEMU widens is a warning`, async () => {
    const page = first(untouched(run).filter(({ tce }) => (tce & 3) === 3));
    const target = `${short(page.iova)} -> ${short(page.tce & ~3)} perm=`;
    const entry = `ioba=${short(page.iova)} tce=${short(page.tce)} `;
    const sick = {
      ...run,
      log: run.log.map((line) =>
        line.replace(`${target}3`, `${target}2`).replace(entry, `ioba=${short(page.iova)} tce=${short(page.tce ^ 1)} `)
      ),
    };
    for (const kernel of [true, false]) {
      const found = await assertFound(run, sick, "permission-widened", page.iova, page.at + 1, { kernel });
      assertEquals([found.severity, found.targets.now], ["warning", BigInt(page.tce ^ 1)]);
    }
  });

  Deno.test(`an unmap of what ${run.name} has not mapped costs a call`, async () => {
    const { run: sick, line } = insert(run, quietPlace(run), [told(FREE, false), put(FREE, 0)]);
    const before = (await examine(run)).findings.find(({ id }) => id === "unmap-without-effect")?.count ?? 0;
    for (const given of [{}, { kernel: false }]) {
      const { findings } = await examine(sick, given);
      const found = findings.find(({ id }) => id === "unmap-without-effect");
      assertEquals([found?.count, found?.severity], [before + 1, "cost"]);
      assert(found !== undefined && found.rounds.some(({ first, last }) => first <= line && line <= last));
      assertEquals(at(await examine(run, given), "unmap-without-effect", FREE), []);
    }
  });

  Deno.test(`pages of ${run.name} that one call maps and that adjoin could be fewer calls`, async () => {
    const list = [0, 1, 2, 3].map((page) => FREE + 0x1000 * page);
    const { run: sick, line } = insert(run, quietPlace(run), [
      ...list.map((iova) => told(iova)),
      `spapr_iommu_pci_stuff liobn=0x80000000 ioba=${short(FREE + 0x4000)} tcevalue=0x700003 npages=4 ret=0`,
    ]);
    // H_STUFF_TCE writes one page everywhere: nothing adjoins.
    assertEquals(at(await examine(sick, { kernel: false }), "maps-adjoin", FREE), []);
    const begun = run.log.findIndex((text) => text.includes("vfio_pci_write_config"));
    const replay = operations(run).findLast(({ at }) => at < begun)?.at ?? 0;
    const plugged = run.log.findIndex((text) => text.includes("region_add [iommu]"));
    const { run: adjoining } = insert(run, plugged - 1, list.map((iova, page) => put(iova, 0x70_0003 + 0x1000 * page)));
    const { run: replayed, line: first4 } = insert(adjoining, replay + 4, list.map((iova) => told(iova)));
    assertEquals(at(await examine(run, { kernel: false }), "maps-adjoin", FREE), []);
    const [found] = at(await examine(replayed, { kernel: false }), "maps-adjoin", FREE);
    const saved = (await examine(run, { kernel: false })).findings.find(({ id }) => id === "maps-adjoin")?.saved ?? 0;
    assertEquals([found?.saved, found?.severity], [saved + 3, "cost"]);
    assert(found !== undefined && found.first <= first4 + 1 && found.last >= first4 + 3 && line > 0);
  });

  Deno.test(`a replay of ${run.name} costs what its log says, and nothing is said where that has no times`, async () => {
    const untimed = { ...run, log: run.log.map((line) => line.replace(/^\d+@[0-9.]+:/, "")) };
    const plugged = run.log.findIndex((line) => line.includes("region_add [iommu]")) + 1;
    const found = await assertFound(untimed, run, "replay-of-empty-window", 0, plugged, { kernel: false });
    assertEquals(found.severity, "cost");
    const { timeline, unknown, healthy } = await examine(untimed, { kernel: false });
    assertEquals([timeline.hotplugs[0]?.time, healthy], [null, true]);
    assert(unknown.notes.some(({ id }) => id === "no-timestamps"));
  });

  Deno.test(`the kernel's log of ${run.name} is matched by order where QEMU's has no times`, async () => {
    const untimed = { ...run, log: run.log.map((line) => line.replace(/^\d+@[0-9.]+:/, "")) };
    const { healthy, timeline } = await examine(untimed);
    assertEquals([healthy, timeline.kernel?.unexplained, timeline.kernel?.offset], [true, 0, null]);
  });

  Deno.test(`a kernel's log of ${run.name} with other processes and lost events raises no false alarm`, async () => {
    const shift = (line: string) =>
      line.replace(/qemu-system-ppc-\d+/, "qemu-system-x86-9001").replace("[000]", "[001]");
    const noisy = {
      ...run,
      kernel: run.kernel.flatMap((line) => hostTime(line) === undefined ? [line] : [shift(line), line]),
    };
    const { findings, timeline } = await examine(noisy);
    assertEquals(findings.filter(({ severity }) => severity === "error"), []);
    assertEquals(timeline.kernel?.unexplained, 0);
    const page = first(untouched(run));
    const gone = run.kernel.filter((line) => !line.includes(`iova=${long(page.iova)} - `));
    const lost = { ...run, kernel: ["CPU:0 [LOST 4 EVENTS]", ...gone] };
    const known = await examine(lost);
    assertEquals([known.healthy, known.timeline.kernel?.lost], [true, 4]);
    assert(known.unknown.notes.some(({ id }) => id === "kernel-events-lost"));
  });
}

Deno.test("the kernel's log of another run proves nothing", async () => {
  const [linux, bare] = RUNS;
  assert(linux !== undefined && bare !== undefined);
  const none = { ...linux, kernel: bare.kernel.map((line) => line.replace(/qemu-system-ppc-\d+/, "other-9001")) };
  const { healthy, timeline, unknown } = await examine(none);
  assertEquals([healthy, timeline.kernel?.matched], [true, false]);
  assert(unknown.notes.some(({ id }) => id === "kernel-log-of-another"));
});
