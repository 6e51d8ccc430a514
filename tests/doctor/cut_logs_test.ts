// Logs that begin late, end early or lack lines of other logs: what is not known is not an error.
import { assert, assertEquals } from "@std/assert";
import { type Diagnosis, Severity } from "@giommu/doctor";
import { examine, healthyRuns, type Run } from "./runs.ts";

const RUNS = await healthyRuns();

function errors({ findings }: Diagnosis): string[] {
  return findings.filter(({ severity }) => severity === Severity.ERROR).map((one) =>
    `${one.id} ${one.first}: ${one.title}`
  );
}

/** Places spread over a list, the same in every run. */
function places(length: number, count: number): number[] {
  return Array.from({ length: count }, (_, at) => Math.floor(((at * 0.618033988749895) % 1) * length));
}

async function assertNoErrors(run: Run, what: string): Promise<void> {
  for (const given of [{}, { kernel: false }, { stderr: false }, { kernel: false, stderr: false }]) {
    assertEquals(errors(await examine(run, given)), [], `${run.name}, ${what}, with ${JSON.stringify(given)}`);
  }
}

for (const run of RUNS) {
  Deno.test(`a log of ${run.name} that ends early raises no false alarm`, async () => {
    for (const at of places(run.log.length, 60)) {
      await assertNoErrors({ ...run, log: run.log.slice(0, at) }, `cut at ${at}`);
    }
  });

  Deno.test(`a log of ${run.name} that begins late raises no false alarm`, async () => {
    for (const at of places(run.log.length, 60)) await assertNoErrors({ ...run, log: run.log.slice(at) }, `from ${at}`);
  });

  Deno.test(`a kernel's log of ${run.name} that begins late or ends early raises no false alarm`, async () => {
    for (const at of places(run.kernel.length, 40)) {
      await assertNoErrors({ ...run, kernel: run.kernel.slice(0, at) }, `kernel's cut at ${at}`);
      await assertNoErrors({ ...run, kernel: run.kernel.slice(at) }, `kernel's from ${at}`);
    }
  });

  Deno.test(`a log of ${run.name} without times raises no false alarm where it is cut`, async () => {
    const log = run.log.map((line) => line.replace(/^\d+@[0-9.]+:/, ""));
    for (const at of places(log.length, 20)) {
      await assertNoErrors({ ...run, log: log.slice(0, at) }, `untimed, cut at ${at}`);
    }
    const { timeline } = await examine({ ...run, log });
    assert(timeline.kernel !== null && timeline.kernel.unexplained === 0);
  });
}
