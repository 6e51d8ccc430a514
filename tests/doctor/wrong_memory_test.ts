// Logs of healthy runs, damaged in the ways that let a device reach wrong memory.
import { assert, assertEquals } from "@std/assert";
import {
  assertFound,
  examine,
  first,
  healthyRuns,
  hostMap,
  hostUnmap,
  insert,
  insertKernel,
  operations,
  put,
  quietPlace,
  refusal,
  type Run,
  timeOf,
  told,
  untouched,
} from "./runs.ts";

const RUNS = await healthyRuns();
const FREE = 0x2345_6000;

/** Changes a page in place: QEMU's lines; the kernel does nothing. */
function changeInPlace(run: Run, change: (tce: number) => number) {
  const page = first(untouched(run));
  const { run: sick, line, time } = insert(run, quietPlace(run), [
    told(page.iova),
    put(page.iova, change(page.tce)),
  ]);
  return { sick, line, time, page };
}

for (const run of RUNS) {
  Deno.test(`an entry of ${run.name} that is changed in place is stale, with and without other logs`, async () => {
    const { sick, line, page } = changeInPlace(run, (tce) => tce + 0x70_0000);
    const printed = { ...sick, stderr: [...sick.stderr, refusal(page.iova, "-17 (File exists)")] };
    const cases = [
      [sick, { kernel: true, stderr: true }, "kernel"],
      [sick, { kernel: true, stderr: false }, "kernel"],
      [printed, { kernel: false, stderr: true }, "stderr"],
      [sick, { kernel: false, stderr: false }, "derived"],
    ] as const;
    for (const [damaged, given, proof] of cases) {
      const found = await assertFound(run, damaged, "stale-mapping", page.iova, line, given);
      assertEquals([found.proof, found.errno, found.call?.line, found.call?.name], [proof, 17, line + 1, "H_PUT_TCE"]);
      assertEquals([found.targets.before, found.targets.now], [BigInt(page.tce), BigInt(page.tce + 0x70_0000)]);
      assertEquals(found.iova, { start: BigInt(page.iova), last: BigInt(page.iova + 0xfff) });
      assertEquals(found.targets.host !== undefined, given.kernel);
    }
  });

  Deno.test(`a permission of ${run.name} that is changed in place is lost`, async () => {
    const { sick, line, page } = changeInPlace(run, (tce) => tce ^ 2);
    for (const kernel of [true, false]) {
      const found = await assertFound(run, sick, "wrong-permission", page.iova, line, { kernel });
      assertEquals([found.targets.before, found.targets.now], [BigInt(page.tce), BigInt(page.tce ^ 2)]);
    }
  });

  Deno.test(`the same entry of ${run.name} written once more is no finding`, async () => {
    const { sick, line, page } = changeInPlace(run, (tce) => tce);
    await assertFound(sick, changeInPlace(run, (tce) => tce + 0x1000).sick, "stale-mapping", page.iova, line);
    for (const kernel of [true, false]) {
      const { healthy, unknown } = await examine(sick, { kernel });
      assertEquals([healthy, unknown.repeated], [true, 1]);
    }
  });

  Deno.test(`a page of ${run.name} at two places of the host is a wrong target`, async () => {
    const page = first(untouched(run));
    const { run: mapped, line, time } = insert(run, quietPlace(run), [told(FREE), put(FREE, page.tce)]);
    const sick = insertKernel(mapped, time + 5, hostMap(FREE, 0x7_7000_0000));
    const found = await assertFound(run, sick, "wrong-target", FREE, line);
    assertEquals([found.targets.otherIova, found.targets.host], [BigInt(page.iova), 0x7_7000_0000n]);
    // At the same place it is right.
    const right = insertKernel(mapped, time + 5, hostMap(FREE, Number(found.targets.otherHost)));
    await assertFound(right, sick, "wrong-target", FREE, line);
  });

  Deno.test(`an unmap of ${run.name} that the kernel did not do leaves the page behind`, async () => {
    const page = first(untouched(run));
    const place = quietPlace(run);
    const { run: asked, line, time } = insert(run, place, [told(page.iova, false), put(page.iova, 0)]);
    const found = await assertFound(run, asked, "mapping-left-behind", page.iova, line);
    assertEquals([found.call?.line, found.proof], [line + 1, "kernel"]);
    // Had the kernel done it then, and not when all is unmapped, nothing would be wrong.
    const done = insertKernel(
      { ...asked, kernel: asked.kernel.toSpliced(lastOfRound(run, page.iova), 1) },
      time + 5,
      hostUnmap(page.iova),
    );
    await assertFound(done, asked, "mapping-left-behind", page.iova, line);
    // Without the kernel's log it shows where QEMU prints it.
    const printed = {
      ...asked,
      stderr: [
        ...asked.stderr,
        `vfio_container_dma_unmap(0x5, 0x${page.iova.toString(16)}, 0x1000) = -22 (Invalid argument)`,
      ],
    };
    const known = await assertFound(run, printed, "mapping-left-behind", page.iova, line, { kernel: false });
    assertEquals([known.errno, known.proof], [22, "stderr"]);
  });

  Deno.test(`an unmap of ${run.name} of which QEMU does not tell leaves the page behind`, async () => {
    const unmap = first(
      operations(run).filter(({ at, map }) =>
        !map && /pci_(put|stuff)/.test(run.log[at + 1] ?? "") && untouchedBefore(run, at)
      ),
    );
    const sick = { ...run, log: run.log.toSpliced(unmap.at, 1) };
    const found = await assertFound(run, sick, "mapping-left-behind", unmap.iova, unmap.at + 1, { kernel: false });
    assertEquals([found.proof, found.call?.line], ["log", unmap.at + 1]);
  });

  Deno.test(`what the kernel maps for ${run.name} by itself is unexplained`, async () => {
    const time = timeOf(run.log[quietPlace(run)] ?? "") + 300;
    const sick = insertKernel(run, time, hostMap(FREE, 0x7_7000_0000));
    const line = sick.kernel.findIndex((text) => text.includes(hostMap(FREE, 0x7_7000_0000))) + 1;
    const found = await assertFound(run, sick, "mapping-unexplained", FREE, line);
    assertEquals([found.source, found.targets.host], ["kernel", 0x7_7000_0000n]);
    // Another process may map there as it likes.
    const other = insertKernel(run, time, hostMap(FREE, 0x7_7000_0000), 4711);
    await assertFound(other, sick, "mapping-unexplained", FREE, line);
  });
}

/** Where the kernel unmaps a page at the end of the first round. */
function lastOfRound(run: Run, iova: number): number {
  const begin = run.kernel.findIndex((line) => line.includes("size=8192"));
  const second = run.kernel.findIndex((line, at) => at > begin && line.includes("size=8192"));
  const end = second < 0 ? run.kernel.length : second;
  const at = run.kernel.slice(0, end).findLastIndex((line) => line.includes(hostUnmap(iova)));
  assert(at > begin + 3);
  return at;
}

/** Whether what an unmap is about is mapped by the log before it. */
function untouchedBefore(run: Run, at: number): boolean {
  const own = operations(run).find((one) => one.at === at);
  const before = operations(run).filter((one) => one.at < at && one.iova === own?.iova);
  return before.at(-1)?.map === true;
}
