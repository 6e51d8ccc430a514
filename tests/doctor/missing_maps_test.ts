// Logs of healthy runs, damaged so that the host lacks what the guest has mapped.
import { assert, assertEquals, assertMatch } from "@std/assert";
import {
  assertFound,
  at,
  examine,
  first,
  healthyRuns,
  hostMap,
  hostUnmap,
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

/** Takes away what the kernel did for a page in the first round. */
function withoutHost(run: Run, iova: number): Run {
  const begin = run.kernel.findIndex((line) => line.includes("size=8192"));
  const next = run.kernel.findIndex((line, at) => at > begin && line.includes("size=8192"));
  const end = next < 0 ? run.kernel.length : next;
  return {
    ...run,
    kernel: run.kernel.filter((line, at) =>
      at <= begin + 2 || at >= end || !line.includes(`iova=${long(iova)} - ${long(iova + 0x1000)}`)
    ),
  };
}

/** Cuts the logs where the first replay has ended. */
function replayOnly(run: Run): Run {
  const end = run.log.findIndex((line) => line.includes("vfio_pci_write_config"));
  return { ...run, log: run.log.slice(0, end) };
}

const ERRNOS = [[12, "-12 (Cannot allocate memory)"], [14, "-14 (Bad address)"], [
  28,
  "-28 (No space left on device)",
]] as const;

for (const run of RUNS) {
  Deno.test(`a map of the replay of ${run.name} that the kernel did not do is missing, and the hotplug incomplete`, async () => {
    const page = first(untouched(run));
    const sick = withoutHost(run, page.iova);
    const found = await assertFound(run, sick, "mapping-missing", page.iova, page.at + 1);
    assertEquals([found.errno, found.proof, found.replayed, found.call], [null, "kernel", 1, null]);
    assertEquals(found.targets.now, BigInt(page.tce));
    const plugged = run.log.findIndex((line) => line.includes("region_add [iommu]")) + 1;
    const hotplug = await assertFound(run, sick, "hotplug-incomplete", page.iova, plugged);
    assertEquals(hotplug.pages, 1);
  });

  for (const [errno, text] of ERRNOS) {
    Deno.test(`a map of the replay of ${run.name} that fails with ${errno} is missing by what QEMU printed`, async () => {
      const page = first(untouched(run));
      const sick = { ...withoutHost(run, page.iova), stderr: [refusal(page.iova, text), ...run.stderr] };
      for (const kernel of [true, false]) {
        const found = await assertFound(run, sick, "mapping-missing", page.iova, page.at + 1, { kernel });
        assertEquals([found.errno, found.proof], [errno, kernel ? "kernel" : "stderr"]);
        assertEquals(found.evidence.find(({ source }) => source === "stderr")?.line, 1);
        assertEquals(at(await examine(sick, { kernel }), "hotplug-incomplete", page.iova).length, 1);
      }
      // Nobody can know it without both.
      const { findings } = await examine(sick, { kernel: false, stderr: false });
      assertEquals(findings.filter(({ severity }) => severity === "error"), []);
    });
  }

  Deno.test(`a live map of ${run.name} that fails is missing until it is unmapped, and its call is named`, async () => {
    const { run: mapped, line, time } = insert(run, quietPlace(run), [told(FREE), put(FREE, 0x70_0003)]);
    const { run: sick } = insert(mapped, line, [told(FREE, false), put(FREE, 0)]);
    const printed = { ...sick, stderr: [...sick.stderr, refusal(FREE, "-12 (Cannot allocate memory)")] };
    for (const given of [{}, { kernel: false }]) {
      const found = await assertFound(run, printed, "mapping-missing", FREE, line, given);
      assertEquals([found.errno, found.call?.line, found.ended, found.last], [12, line + 1, true, line + 2]);
      assertMatch(found.cause, /H_PUT_TCE liobn=0x80000000 ioba=0x23456000 tce=0x700003 returned 0/);
    }
    // The kernel's lines for it mend that.
    const done = insertKernel(
      insertKernel(sick, time + 5, hostMap(FREE, 0x7_7000_0000)),
      timeOf(sick.log[line + 1] ?? "") + 5,
      hostUnmap(FREE),
    );
    await assertFound(done, sick, "mapping-missing", FREE, line);
  });

  Deno.test(`an entry of ${run.name} of which QEMU tells nobody is missing`, async () => {
    const { run: sick, line } = insert(run, quietPlace(run), [put(FREE, 0x70_0003)]);
    for (const given of [{}, { kernel: false, stderr: false }]) {
      const found = await assertFound(run, sick, "mapping-missing", FREE, line, given);
      assertEquals([found.proof, found.call?.line, found.title.includes("told nobody")], ["log", line, true]);
    }
  });

  Deno.test(`a page of the replay of ${run.name} that QEMU leaves out is missing`, async () => {
    const page = first(untouched(run));
    const sick = { ...run, log: run.log.toSpliced(page.at, 1) };
    const { findings } = await examine(sick, { kernel: false, stderr: false });
    const [found] = findings.filter(({ id }) => id === "mapping-missing");
    assertEquals([found?.iova.start, found?.pages, found?.targets.now], [BigInt(page.iova), 1, BigInt(page.tce)]);
    assertEquals(at(await examine(run, { kernel: false, stderr: false }), "mapping-missing", page.iova), []);
    assertEquals(findings.filter(({ id }) => id === "hotplug-incomplete").length, 1);
  });

  Deno.test(`a host of ${run.name} that is full refuses the rest of the replay: one limit, not hundreds of pages`, async () => {
    const healthy = replayOnly(run);
    const maps = operations(healthy);
    const full = maps.slice(100);
    const sick = { ...healthy, stderr: full.map(({ iova }) => refusal(iova, "-28 (No space left on device)")) };
    const lacking = first(full);
    const found = await assertFound(healthy, sick, "mapping-limit", lacking.iova, lacking.at + 1, { kernel: false });
    assertEquals([found.pages, found.count, found.errno], [full.length, full.length, 28]);
    assertMatch(found.title, /holds 100 mappings/);
    const { findings } = await examine(sick, { kernel: false });
    assertEquals(findings.filter(({ severity }) => severity === "error").map(({ id }) => id), [
      "mapping-limit",
      "mapping-missing",
      "hotplug-incomplete",
    ]);
  });

  Deno.test(`pages of ${run.name} that are smaller than the host's are told apart from a window out of reach`, async () => {
    const healthy = replayOnly(run);
    const maps = operations(healthy);
    const sick = { ...healthy, stderr: maps.map(({ iova }) => refusal(iova, "-22 (Invalid argument)")) };
    const one = first(maps);
    const found = await assertFound(healthy, sick, "page-too-fine", one.iova, one.at + 1, { kernel: false });
    assertEquals([found.pages, found.pageSize, found.errno], [maps.length, 4096n, 22]);
    // QEMU tells the host's page size where a section does not fit it.
    const { run: told } = insert(sick, first(maps).at - 2, [
      'vfio_known_safe_misalignment Region "tpm-crb-cmd" iova=0xfed40080 offset_within_region=0x0 qemu_real_host_page_size=0x10000',
    ]);
    assertEquals(at(await examine(told, { kernel: false }), "page-too-fine", one.iova).length, 1);
  });

  Deno.test(`a window of ${run.name} where the host translates nothing is one finding`, async () => {
    const start = 0x800_0000_0000_0000n;
    const pages = [0n, 1n, 2n, 3n].map((page) => start + page * 0x10000n);
    const { run: sick, line } = insert(run, quietPlace(run), [
      "spapr_iommu_new_table liobn=0x80000001 table=0x7fc94001c6f0 fd=-1",
      "spapr_iommu_ddw_create buid=0x800000020000000 addr=0x0, page size=0x10000, requested=0x40000000, " +
      `start addr=${short(start)}, liobn=0x80000001`,
      `vfio_listener_region_add_iommu region_add [iommu] tce-iommu-80000001 ${short(start)} - ${
        short(start + 0x3fff_ffffn)
      }`,
      ...pages.flatMap((iova) => [
        `vfio_iommu_map_notify iommu MAP @ ${short(iova)} - ${short(iova + 0xffffn)}`,
        `spapr_iommu_pci_put liobn=0x80000001 ioba=${short(iova)} tce=0x700003 ret=0`,
      ]),
    ]);
    const printed = {
      ...sick,
      stderr: [...run.stderr, ...pages.map((iova) => refusal(iova, "-22 (Invalid argument)", 0x10000))],
    };
    for (const kernel of [true, false]) {
      const found = await assertFound(run, printed, "window-outside-host", start, line + 3, { kernel });
      assertEquals([found.pages, found.window, found.errno], [4, 0x8000_0001n, 22]);
    }
    // The kernel's log alone shows that nothing was mapped.
    await assertFound(run, sick, "window-outside-host", start, line + 3, { stderr: false });
  });

  Deno.test(`a host of ${run.name} that is nearly full is a warning`, async () => {
    const lines: string[] = [];
    // 0.9 of the 65,535 mappings that the driver allows.
    for (let page = 0; page < 59_000; page++) {
      const iova = 0x1000_0000 + 0x1000 * page;
      lines.push(told(iova), put(iova, 0x1000_0003));
    }
    const place = quietPlace(run);
    const sick = { ...run, log: run.log.slice(0, place + 1).concat(lines) };
    const healthy = { ...run, log: run.log.slice(0, place + 1) };
    const { findings } = await examine(sick, { kernel: false });
    const [found] = findings.filter(({ id }) => id === "mapping-limit-near");
    assert(found !== undefined && found.severity === "warning" && found.first > place);
    assertEquals(at(await examine(healthy, { kernel: false }), "mapping-limit-near", found.iova.start), []);
  });
}
