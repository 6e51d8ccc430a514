import { checkInteger, checkU64, hex, IommuError } from "@giommu/core";
import { Numbers, put } from "@giommu/core/wasm";
import { memory, RawDoctor } from "@giommu/core/wasm/doctor";
import { type InputSource, openInput, type StopPoint, TraceInput, type WindowGeometry } from "@giommu/qemu-trace";
import { historyOf } from "./_history.ts";
import { rawFindings } from "./_raw_finding.ts";
import { tell } from "./_tell.ts";
import { type LogFacts, unknowns } from "./_unknown.ts";
import type { Diagnosis, HotplugTimeline, KernelTimeline, StderrTimeline, Timeline } from "./diagnosis.ts";
import { type Finding, FINDING_IDS, Severity } from "./finding.ts";

/** The logs of one QEMU: each a path, `-` for standard input, bytes, a stream or an open input; plain or .gz. */
export interface DoctorLogs {
  /** QEMU's log, of `-trace 'spapr_iommu_*' -trace 'vfio_*'` or the like. */
  readonly log: InputSource | TraceInput;
  /** The kernel's log of the same run: the events of `iommu` as text. */
  readonly kernel?: InputSource | TraceInput;
  /** What QEMU printed on its standard error. */
  readonly stderr?: InputSource | TraceInput;
}

/** What is asked of a diagnosis. */
export interface DoctorOptions {
  /** An address whose history is wanted, 0 to 2^64 - 1. */
  readonly iova?: bigint;
  /** Where reading of QEMU's log ends before its end. What happened later is not looked at. */
  readonly stopAt?: StopPoint & {
    /** After the replay of the hotplug with this number, from 1. */
    readonly hotplug?: number;
  };
  /** Geometries of tables that the log does not tell. */
  readonly windows?: readonly WindowGeometry[];
  /** Called now and then with how far QEMU's log is read. */
  readonly onProgress?: (progress: {
    /** Bytes, before inflating. */
    readonly bytesRead: number;
    /** Lines. */
    readonly lines: number;
  }) => void;
}

const NOWHERE = 0xffff_ffff_ffff_ffffn;
const NOTHING = new Uint8Array();
const SEVERITIES = [Severity.ERROR, Severity.WARNING, Severity.COST];

/**
 * Finds out from its logs what went wrong between a guest's IOMMU, QEMU and the host's IOMMU.
 *
 * The logs are read once, side by side; memory is bounded by what is mapped at a time and by the findings. Damaged lines are counted
 * and passed over.
 *
 * @param logs The logs. Inputs that were open before stay open.
 * @param options Where to stop, which address to follow.
 * @returns What was found.
 * @throws {TypeError} If a field has the wrong type.
 * @throws {RangeError} If a number is out of bounds, or a geometry is not one that a table can have.
 * @throws {IommuError} `"bad-input"` if a log cannot be read, or QEMU's is none.
 *
 * @example An entry that the guest changed in place
 * ```ts
 * import { diagnose } from "@giommu/doctor";
 * import { assertEquals } from "@std/assert";
 *
 * const log = new TextEncoder().encode(
 *   "spapr_iommu_new_table liobn=0x80000000 table=0x7f7bbc6ab010 fd=-1\n" +
 *     "vfio_listener_region_add_iommu region_add [iommu] tce-iommu-80000000 0x0 - 0x3fffffff\n" +
 *     "vfio_iommu_map_notify iommu MAP @ 0x1000 - 0x1fff\n" +
 *     "spapr_iommu_pci_put liobn=0x80000000 ioba=0x1000 tce=0x440e003 ret=0\n" +
 *     "vfio_iommu_map_notify iommu MAP @ 0x1000 - 0x1fff\n" +
 *     "spapr_iommu_pci_put liobn=0x80000000 ioba=0x1000 tce=0x5510003 ret=0\n",
 * );
 * const { findings } = await diagnose({ log });
 * const [{ id, first, call, targets, proof } = {}] = findings;
 * assertEquals([id, first, call?.line, proof], ["stale-mapping", 5, 6, "derived"]);
 * assertEquals([targets?.before, targets?.now], [0x440e003n, 0x5510003n]);
 * ```
 */
export async function diagnose(logs: DoctorLogs, options: DoctorOptions = {}): Promise<Diagnosis> {
  const raw = newDoctor(logs, options);
  const inputs: OpenLog[] = [];
  try {
    for (const source of [logs.log, logs.kernel, logs.stderr]) {
      inputs.push(source === undefined ? new OpenLog(undefined, false) : await OpenLog.open(source));
    }
    const [log] = inputs;
    if (log?.input?.kind === "stream") {
      throw new IommuError("bad-input", `Cannot diagnose ${log.input.name}: it is a migration stream, not a log`);
    }
    for (let need = raw.run(); need < inputs.length; need = raw.run()) {
      await inputs[need]?.feed(raw, need);
      if (need === 0) {
        options.onProgress?.({ bytesRead: log?.input?.bytesRead ?? 0, lines: Number(raw.counts()[0] ?? 0n) });
      }
    }
    return diagnosisOf(raw, logs, options);
  } finally {
    raw.free();
    for (const input of inputs) await input.close();
  }
}

function newDoctor({ kernel, stderr }: DoctorLogs, { iova, stopAt = {}, windows = [] }: DoctorOptions): RawDoctor {
  const most = Number.MAX_SAFE_INTEGER;
  const watched = iova === undefined ? 0n : checkU64("iova", iova);
  const hotplug = stopAt.hotplug === undefined ? 0 : checkInteger("hotplug", stopAt.hotplug, 1);
  const limits = [
    stopAt.line === undefined ? NOWHERE : BigInt(checkInteger("line", stopAt.line, 0, most)),
    stopAt.offset === undefined ? NOWHERE : BigInt(checkInteger("offset", stopAt.offset, 0, most)),
    stopAt.time === undefined ? NOWHERE : checkU64("time", stopAt.time),
  ] as const;
  const raw = new RawDoctor(kernel !== undefined, stderr !== undefined, iova !== undefined, watched, hotplug);
  raw.setLimits(...limits);
  for (const { liobn, size, pageShift = 12, busOffset = 0n } of windows) {
    if (!raw.give(checkInteger("liobn", liobn), checkU64("busOffset", busOffset), pageShift, checkU64("size", size))) {
      raw.free();
      throw new RangeError(`Cannot use a window of ${hex(size)} bytes at ${hex(busOffset)} for table ${hex(liobn)}`);
    }
  }
  return raw;
}

/** One of the logs while it is read. */
class OpenLog {
  readonly input: TraceInput | undefined;
  readonly #owned: boolean;
  #rest = NOTHING as Uint8Array;
  #ended = false;

  constructor(input: TraceInput | undefined, owned: boolean) {
    this.input = input;
    this.#owned = owned;
  }

  static async open(source: InputSource | TraceInput): Promise<OpenLog> {
    return source instanceof TraceInput ? new OpenLog(source, false) : new OpenLog(await openInput(source), true);
  }

  /** Gives the core the next bytes. */
  async feed(raw: RawDoctor, which: number): Promise<void> {
    if (this.#rest.length === 0 && !this.#ended) {
      const bytes = await this.input?.read();
      this.#ended = bytes === undefined;
      this.#rest = bytes ?? NOTHING;
    }
    const length = put(memory, { room: (length) => raw.room(which, length) }, this.#rest);
    this.#rest = this.#rest.subarray(length);
    raw.fill(which, length, this.#ended && this.#rest.length === 0);
  }

  async close(): Promise<void> {
    if (this.#owned) await this.input?.[Symbol.asyncDispose]();
  }
}

function diagnosisOf(raw: RawDoctor, logs: DoctorLogs, { iova }: DoctorOptions): Diagnosis {
  const timeline = timelineOf(raw, logs);
  const context = {
    window: (id: bigint) => windowName(raw, id),
    hotplugs: timeline.hotplugs.map(({ first }) => first),
  };
  const findings = rawFindings(raw.findings(), (kind) => RawDoctor.kindName(kind) ?? "")
    .map((one) => tell(one, context)).toSorted(byWeight);
  return {
    version: 1,
    healthy: !findings.some(({ severity }) => severity === Severity.ERROR),
    findings,
    timeline,
    unknown: unknowns(timeline, factsOf(raw, timeline)),
    ...(iova !== undefined && { history: historyOf(iova, raw.history(), raw) }),
  };
}

/** Errors before warnings before costs; then what matters most to a device, what still is so, what began first. */
function byWeight(a: Finding, b: Finding): number {
  return SEVERITIES.indexOf(a.severity) - SEVERITIES.indexOf(b.severity) ||
    FINDING_IDS.indexOf(a.id) - FINDING_IDS.indexOf(b.id) || Number(a.ended) - Number(b.ended) || a.first - b.first;
}

/** LIOBNs have 32 bits; other regions have a number above them, and a name. */
function windowName(raw: RawDoctor, id: bigint): bigint | string {
  return id >> 32n === 0n ? id : raw.regionName(id) ?? hex(id);
}

function factsOf(raw: RawDoctor, { hotplugs }: Timeline): LogFacts {
  const [told = 0, targetsUnknown = 0, repeated = 0, , , timed = 0, , , , , , agreed = 0, disagreed = 0, learned = 0] =
    Array.from(raw.facts(), Number);
  return {
    told,
    targetsUnknown,
    repeated,
    timed: timed !== 0,
    translations: agreed + disagreed + learned,
    spapr: hotplugs.some(({ windows }) => windows.some((window) => typeof window === "bigint")),
  };
}

function timelineOf(raw: RawDoctor, logs: DoctorLogs): Timeline {
  const [lines = 0, events = 0, unparsed = 0, bytes = 0, ...sides] = Array.from(raw.counts(), Number);
  const [, , , held = 0, most = 0, timed = 0, first = 0, last = 0, , matched = 0] = Array.from(raw.facts(), Number);
  return {
    log: {
      lines,
      events,
      unparsed,
      bytes,
      firstTime: timed === 0 ? null : first,
      lastTime: timed === 0 ? null : last,
    },
    kernel: logs.kernel === undefined ? null : kernelTimeline(raw, sides),
    stderr: logs.stderr === undefined ? null : stderrTimeline(sides.slice(3), matched),
    hotplugs: hotplugsOf(raw, timed !== 0),
    hostMaps: { held, most },
  };
}

function kernelTimeline(raw: RawDoctor, [lines = 0, events = 0, unparsed = 0]: readonly number[]): KernelTimeline {
  const rest = new Numbers(raw.kernel());
  const [matched, anchored] = [rest.number() !== 0, rest.number() !== 0];
  const counts = {
    maps: rest.number(),
    unmaps: rest.number(),
    driverTests: rest.number(),
    exit: rest.number(),
    faults: rest.number(),
    foreign: rest.number(),
    unexplained: rest.number(),
    lost: rest.number(),
    prior: rest.number(),
  };
  const known = rest.number() !== 0;
  const [first, newest, matches] = [rest.signed(), rest.signed(), rest.number()];
  return {
    lines,
    events,
    unparsed,
    matched,
    anchored,
    offset: known ? newest : null,
    drift: known ? newest - first : null,
    matches,
    ...counts,
  };
}

function stderrTimeline([lines = 0, failures = 0, unparsed = 0]: readonly number[], matched: number): StderrTimeline {
  return { lines, failures, unparsed, matched };
}

function hotplugsOf(raw: RawDoctor, timed: boolean): HotplugTimeline[] {
  const rest = new Numbers(raw.hotplugs());
  const list: HotplugTimeline[] = [];
  while (rest.more) {
    const length = rest.number();
    const [first, last, unplug] = [rest.number(), rest.number(), rest.number()];
    const [told, refused] = [rest.number(), rest.number()];
    rest.number();
    const [entries, time] = [rest.number(), rest.number()];
    list.push({
      first,
      last,
      unplug: unplug === 0 ? null : unplug,
      told,
      refused,
      entries,
      time: timed ? time : null,
      windows: rest.times(length - 8, () => windowName(raw, rest.big())),
    });
  }
  return list;
}
