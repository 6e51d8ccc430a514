// Two healthy runs of real guests as texts that a test can damage: Linux at work, and a bare-metal guest of which the one thing
// that QEMU got wrong (a change in place, once per round) is left out of all logs.
import { diagnose, type Diagnosis, type Finding, type FindingId } from "@giommu/doctor";
import { assert, assertEquals } from "@std/assert";
import { inflated } from "../command/run_giommu.ts";
import { fromFileUrl } from "../command/paths.ts";

/** The logs of a run, line by line. */
export interface Run {
  readonly name: string;
  readonly log: readonly string[];
  readonly kernel: readonly string[];
  readonly stderr: readonly string[];
  /** QEMU's clock less the kernel's, in microseconds. */
  readonly offset: number;
  /** The thread that a guest's calls come from. */
  readonly thread: number;
}

/** Which logs the doctor gets beside QEMU's. */
export interface Given {
  readonly kernel?: boolean;
  readonly stderr?: boolean;
}

/** The path of a file in tests/data. */
export function data(name: string): string {
  return fromFileUrl(`../data/${name}`);
}

function lines(text: string): string[] {
  return text.split("\n").filter((line) => line !== "");
}

/** Joins lines to bytes of a log. */
export function bytes(text: readonly string[]): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(text.map((line) => `${line}\n`).join(""));
}

/** Examines a run. */
export function examine(run: Run, { kernel = true, stderr = true }: Given = {}): Promise<Diagnosis> {
  return diagnose({
    log: bytes(run.log),
    ...(kernel && { kernel: bytes(run.kernel) }),
    ...(stderr && { stderr: bytes(run.stderr) }),
  });
}

/** Both runs. */
export async function healthyRuns(): Promise<readonly Run[]> {
  const linux = {
    name: "Linux",
    log: lines(await inflated(data("logs/hotplug-linux.log.gz"))),
    kernel: lines(await inflated(data("doctor/hotplug-linux.kernel.gz"))),
    stderr: lines(await Deno.readTextFile(data("doctor/hotplug-linux.stderr"))),
  };
  const log = lines(await inflated(data("logs/hotplug-1g-4k.log.gz")));
  const inPlace = log.flatMap((line, at) => line.includes("ioba=0x0 tce=0x400003") ? [at - 1, at] : []);
  assertEquals(inPlace.map((at) => log[at]?.includes("MAP @ 0x0 - 0xfff")), [true, false, true, false]);
  const bare = {
    name: "a bare-metal guest",
    log: log.filter((_, at) => !inPlace.includes(at)),
    kernel: lines(await inflated(data("doctor/hotplug-1g-4k.kernel.gz"))),
    stderr: lines(await Deno.readTextFile(data("doctor/hotplug-1g-4k.stderr"))).filter((line) =>
      !line.includes("= -17")
    ),
  };
  return await Promise.all([linux, bare].map(async (run) => {
    const { timeline, healthy } = await examine({ ...run, offset: 0, thread: 0 });
    assert(healthy, `${run.name} is healthy`);
    const offset = timeline.kernel?.offset;
    assert(typeof offset === "number");
    return { ...run, offset, thread: 111 };
  }));
}

/** The time of a line of QEMU's log, in microseconds. */
export function timeOf(line: string): number {
  const [, seconds, micros] = /^\d+@(\d+)\.(\d{6}):/.exec(line) ?? [];
  assert(seconds !== undefined && micros !== undefined, line);
  return Number(seconds) * 1e6 + Number(micros);
}

/** Microseconds as both logs print them. */
function stamp(micros: number): string {
  return `${Math.floor(micros / 1e6)}.${(micros % 1e6).toString().padStart(6, "0")}`;
}

/** Where in a run something can be put in: after this line there is time for it, and a device is plugged in. */
export function quietPlace(run: Run, skip = 0): number {
  const plugged = run.log.findIndex((line) => line.includes("vfio_pci_write_config"));
  assert(plugged > 0);
  let left = skip;
  for (let at = plugged; at + 1 < run.log.length; at++) {
    const [line = "", next = ""] = run.log.slice(at, at + 2);
    if (line.includes("region_del")) break;
    const call = /spapr_iommu_pci_(put|stuff|indirect)/.test(line);
    if (call && timeOf(next) - timeOf(line) > 1_000 && left-- === 0) return at;
  }
  // The bare-metal guest is quiet before it begins.
  return plugged;
}

/** Puts lines of QEMU's log after one, 20 microseconds apart; returns the run and the time of the first. */
export function insert(run: Run, after: number, events: readonly string[]): { run: Run; time: number; line: number } {
  const time = timeOf(run.log[after] ?? "") + 20;
  const stamped = events.map((event, at) => `${run.thread}@${stamp(time + 20 * at)}:${event}`);
  return { run: { ...run, log: run.log.toSpliced(after + 1, 0, ...stamped) }, time, line: after + 2 };
}

/** Puts an event of the kernel where it belongs by the time of QEMU's clock. */
export function insertKernel(run: Run, time: number, event: string, thread = run.thread): Run {
  const host = time - run.offset;
  const at = run.kernel.findIndex((line) => (hostTime(line) ?? -1) > host);
  const line = ` qemu-system-ppc-${thread}     [000] .....     ${stamp(Math.round(host))}: ${event}`;
  return { ...run, kernel: run.kernel.toSpliced(at < 0 ? run.kernel.length : at, 0, line) };
}

/** The time of a kernel's line, in microseconds. */
export function hostTime(line: string): number | undefined {
  const [, seconds, micros] = / (\d+)\.(\d{6}): /.exec(line) ?? [];
  return seconds === undefined ? undefined : Number(seconds) * 1e6 + Number(micros);
}

/** An address as the kernel prints it. */
export function long(value: number): string {
  return `0x${value.toString(16).padStart(16, "0")}`;
}

/** The kernel's event of a map of 4 KiB. */
export function hostMap(iova: number, paddr: number): string {
  return `map: IOMMU: iova=${long(iova)} - ${long(iova + 0x1000)} paddr=${long(paddr)} size=4096`;
}

/** The kernel's event of an unmap of 4 KiB. */
export function hostUnmap(iova: number): string {
  return `unmap: IOMMU: iova=${long(iova)} - ${long(iova + 0x1000)} size=4096 unmapped_size=4096`;
}

/** An address as QEMU prints it. */
export function short(value: number | bigint): string {
  return `0x${value.toString(16)}`;
}

/** QEMU's line for a map that is told. */
export function told(iova: number, map = true): string {
  return `vfio_iommu_map_notify iommu ${map ? "MAP" : "UNMAP"} @ ${short(iova)} - ${short(iova + 0xfff)}`;
}

/** QEMU's line for H_PUT_TCE. */
export function put(iova: number, tce: number): string {
  return `spapr_iommu_pci_put liobn=0x80000000 ioba=${short(iova)} tce=${short(tce)} ret=0`;
}

/** What QEMU prints of a failed map. */
export function refusal(iova: number | bigint, errno: string, size = 0x1000): string {
  return `vfio_container_dma_map(0x56552434a000, ${short(iova)}, ${short(size)}, 0x7fd880200000) = ${errno}`;
}

/** A line of QEMU's log that tells of an operation. */
export interface Operation {
  /** The line, from 0. */
  readonly at: number;
  readonly map: boolean;
  readonly iova: number;
}

/** All operations of a run. */
export function operations({ log }: Run): Operation[] {
  return log.flatMap((line, at) => {
    const match = /map_notify iommu (MAP|UNMAP) @ 0x([0-9a-f]+) - /.exec(line);
    return match === null ? [] : [{ at, map: match[1] === "MAP", iova: parseInt(match[2] ?? "", 16) }];
  });
}

/** The pages of the first replay that nothing touches later in that round, with what the guest has there. */
export function untouched(run: Run): { at: number; iova: number; tce: number }[] {
  const begin = run.log.findIndex((line) => line.includes("region_add [iommu]"));
  const end = run.log.findIndex((line) => line.includes("vfio_pci_write_config"));
  const out = run.log.findIndex((line) => line.includes("region_del [iommu]"));
  const all = operations(run).filter(({ at }) => at < (out < 0 ? run.log.length : out));
  const live = new Set(all.filter(({ at }) => at > end).map(({ iova }) => iova));
  return all.filter(({ at, iova }) => at > begin && at < end && !live.has(iova)).flatMap(({ at, iova }) => {
    const seen = new RegExp(` 0x${iova.toString(16)} -> 0x([0-9a-f]+) perm=([123])`);
    const known = run.log.slice(begin, at).map((line) => seen.exec(line)).find((match) => match !== null);
    const [, target = "", perm = ""] = known ?? [];
    return known === undefined ? [] : [{ at, iova, tce: parseInt(target, 16) | Number(perm) }];
  });
}

/** The first of some things. */
export function first<T>(list: readonly T[]): T {
  const [one] = list;
  assert(one !== undefined);
  return one;
}

/** The findings of a kind that reach an address. */
export function at({ findings }: Diagnosis, id: FindingId, iova: number | bigint): Finding[] {
  const address = BigInt(iova);
  return findings.filter((one) =>
    one.id === id && one.ranges.some(({ start, last }) => start <= address && address <= last)
  );
}

/** Checks that a damaged run has exactly one finding of a kind at an address and the healthy one has none there. */
export async function assertFound(
  healthy: Run,
  sick: Run,
  id: FindingId,
  iova: number | bigint,
  line: number,
  given: Given = {},
): Promise<Finding> {
  assertEquals(at(await examine(healthy, given), id, iova), [], `${healthy.name} has no ${id} there`);
  const diagnosis = await examine(sick, given);
  const found = at(diagnosis, id, iova);
  const all = diagnosis.findings.map((one) => `${one.id} ${one.first} ${short(one.iova.start)}`).join("\n");
  assertEquals(found.length, 1, `${healthy.name}: one ${id} at ${short(iova)} in\n${all}`);
  const one = first(found);
  assertEquals(one.first, line, `${healthy.name}: ${id} begins at its line`);
  return one;
}
