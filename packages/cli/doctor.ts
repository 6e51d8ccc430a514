import { diagnose, type Diagnosis, type DoctorOptions } from "@giommu/doctor";
import { openInput, type TraceInput } from "@giommu/qemu-trace";
import { parseDoctorOptions } from "./doctor_options.ts";
import { write, writeJson } from "./output.ts";
import { Progress } from "./progress.ts";
import { renderDiagnosis } from "./render_doctor.ts";
import { styleFor } from "./terminal.ts";
import { UsageError } from "./usage_error.ts";
import type { Where } from "./where.ts";

/**
 * Runs `giommu doctor`.
 *
 * @param args What was typed after `doctor`.
 * @returns The exit status: 1 if a finding is an error.
 * @throws {UsageError} If the arguments are bad, or the log holds nothing.
 * @throws {IommuError} `"bad-input"` if a log cannot be read.
 */
export async function doctorCommand(args: readonly string[]): Promise<number> {
  const { input, kernel, stderr, at, iova, windows, json } = parseDoctorOptions(args);
  await using log = await openInput(input);
  const progress = new Progress(Deno.stderr.isTerminal(), log.size);
  const stopAt = await stopPoint(at, log);
  const options: DoctorOptions = {
    windows,
    onProgress: ({ bytesRead, lines }) => progress.update(bytesRead, lines),
    ...(iova !== undefined && { iova }),
    ...(stopAt !== undefined && { stopAt }),
  };
  const logs = { log, ...(kernel !== undefined && { kernel }), ...(stderr !== undefined && { stderr }) };
  let diagnosis: Diagnosis;
  try {
    diagnosis = await diagnose(logs, options);
  } finally {
    progress.clear();
  }
  checkReached(at, last(input), diagnosis);
  if (json) writeJson(diagnosis);
  else {
    const names = { log: last(input), kernel: kernel && last(kernel), stderr: stderr && last(stderr) };
    write(renderDiagnosis(names, diagnosis, styleFor(Deno.stdout.isTerminal(), Deno.noColor)));
  }
  return diagnosis.healthy ? 0 : 1;
}

/** The last part of a path. */
function last(path: string): string {
  return path === "-" ? "standard input" : path.split(/[\\/]/).at(-1) ?? path;
}

/** Where to stop, as the doctor knows it; undefined for the end. */
async function stopPoint(where: Where, log: TraceInput): Promise<DoctorOptions["stopAt"]> {
  switch (where.kind) {
    case "default":
    case "end":
      return undefined;
    case "line":
      return { line: where.line };
    case "time":
      return { time: where.microseconds };
    case "hotplug":
      return { hotplug: where.count };
    case "percent": {
      const size = await log.inflatedSize();
      if (size === undefined) throw new UsageError("--at: a share of the bytes needs a file, not a pipe");
      return { offset: Math.floor(size * where.percent / 100) };
    }
  }
}

/** Complains if the log holds nothing, or ends before the place where it was to be stopped at. */
function checkReached(where: Where, name: string, { timeline }: Diagnosis): void {
  const { lines, events, firstTime } = timeline.log;
  if (where.kind === "line" && lines < where.line) throw new UsageError(`--at: ${name} has only ${lines} lines`);
  if (where.kind === "hotplug" && timeline.hotplugs.length < where.count) {
    const { length } = timeline.hotplugs;
    throw new UsageError(`--at: ${name} has ${length === 0 ? "no hotplug" : `only ${length} of them`}`);
  }
  if (where.kind === "time" && firstTime === null && events > 0) {
    throw new UsageError(`--at: ${name} has no timestamps (QEMU prints them with -msg timestamp=on)`);
  }
  if (events === 0 && (where.kind === "default" || where.kind === "end")) {
    throw new UsageError(
      `${name} holds none of QEMU's IOMMU events in ${lines} lines; record them with -trace 'spapr_iommu_*' -trace 'vfio_*'`,
    );
  }
}
