import { hex } from "@giommu/core";
import { CATALOGUE, errorMeaning, errorName, errorRemedy } from "./_catalogue.ts";
import type { RawFinding } from "./_raw_finding.ts";
import type { Evidence, Finding, FindingTargets, LogName } from "./finding.ts";
import type { GuestCall } from "./guest_call.ts";
import { guestCall } from "./_logged_call.ts";

/** No window: a finding that concerns all. */
const ALL = 0xffff_ffff_ffff_ffffn;
/** What the core writes in place of an error number. */
const UNTOLD = -1;

/** What texts need beside a finding. */
export interface Context {
  /** The name of a window by its number. */
  window(id: bigint): bigint | string;
  /** The line where each hotplug begins, in order. */
  readonly hotplugs: readonly number[];
}

/** Tells a finding of the core to people. */
export function tell(raw: RawFinding, context: Context): Finding {
  const entry = CATALOGUE[raw.id];
  const pageSize = 1n << BigInt(raw.pageShift);
  const call = raw.call === undefined ? null : guestCall(raw.call, pageSize);
  const errno = raw.errno > 0 ? raw.errno : null;
  const missing = raw.id === "mapping-missing" && errno !== null ? errorRemedy(errno) : undefined;
  return {
    id: raw.id,
    severity: entry.severity,
    title: title(raw, context),
    source: raw.source,
    first: raw.first,
    last: raw.last,
    ended: raw.open === 0,
    iova: raw.hull,
    ranges: raw.cut ? [...raw.ranges, { start: raw.ranges.at(-1)?.start ?? 0n, last: raw.hull.last }] : raw.ranges,
    pages: raw.pages,
    pageSize,
    window: raw.window === ALL ? null : context.window(raw.window),
    errno,
    targets: targets(raw),
    cause: cause(raw, call, context),
    call,
    calls: raw.calls,
    why: why(raw, entry.why),
    remedy: missing ?? entry.remedy,
    proof: raw.proof,
    count: raw.count,
    replayed: raw.replayed,
    saved: raw.saved,
    rounds: raw.rounds,
    evidence: evidence(raw, call),
  };
}

function targets(raw: RawFinding): FindingTargets {
  const { iova, before, now, host, other } = raw;
  const twice = raw.id === "wrong-target";
  return {
    iova,
    ...(before !== undefined && (twice ? { otherIova: before } : { before })),
    ...(now !== undefined && { now }),
    ...(host !== undefined && { host }),
    ...(other !== undefined &&
      (twice ? { otherHost: other } : raw.id.startsWith("dma-fault") ? {} : { memory: other })),
  };
}

function counted(number: number, noun: string): string {
  return `${number.toString().replace(/\B(?=(\d{3})+(?!\d))/g, ",")} ${noun}${number === 1 ? "" : "s"}`;
}

/** A page of the guest with its permission. */
function page(entry: bigint | undefined): string {
  if (entry === undefined) return "a page that the log does not tell";
  return `${hex(entry & ~3n)} ${["none", "r", "w", "rw"][Number(entry & 3n)]}`;
}

function title(raw: RawFinding, context: Context): string {
  const pages = counted(raw.pages, "page");
  const window = raw.window === ALL ? "" : ` of ${name(context.window(raw.window))}`;
  const errno = raw.errno > 0 ? ` (${errorName(raw.errno)})` : "";
  switch (raw.id) {
    case "stale-mapping":
      return `the host still has the old page where the guest changed ${pages}${window}`;
    case "wrong-target":
      return `one page of the guest is at two places of the host: ${pages}`;
    case "mapping-left-behind":
      return `the host holds ${pages}${window} that the guest has unmapped${errno}`;
    case "mapping-unexplained":
      return `the host holds ${pages} that QEMU did not ask for`;
    case "wrong-permission":
      return `the host allows something else than the guest: ${pages}${window}`;
    case "mapping-limit":
      return `the host holds ${counted(raw.measure[0], "mapping")}, as many as it may: ${
        counted(raw.count, "map")
      } refused${errno}`;
    case "window-outside-host":
      return `window ${name(context.window(raw.window))} lies where the host translates nothing: ${pages}${errno}`;
    case "page-too-fine":
      return `the pages${window} are smaller than the host's: ${pages}${errno}`;
    case "mapping-missing":
      if (raw.errno === UNTOLD) return `QEMU told nobody of ${pages}${window} that the guest has mapped`;
      if (raw.source === "kernel") return `the host unmapped ${pages}${window} that the guest has mapped`;
      return `the host lacks ${pages}${window} that the guest has mapped${errno}`;
    case "hotplug-incomplete":
      return `${counted(raw.count, "hotplug")} went on although ${counted(raw.measure[0], "map")} of ${
        raw.measure[1].toLocaleString("en")
      } failed`;
    case "dma-fault":
      return `a device was refused ${pages}${window} that the guest has mapped`;
    case "dma-fault-unmapped":
      return `a device was refused ${pages} that nobody had mapped`;
    case "change-unproved":
      return `${counted(raw.count, "map")}${window} refused${errno}: perhaps lost changes`;
    case "target-not-memory":
      return `${counted(raw.count, "entry").replace("entrys", "entries")}${window} that point to what is no memory`;
    case "failure-unmatched":
      return `${counted(raw.count, "failure")} on standard error that the log does not explain${errno}`;
    case "mapping-limit-near":
      return `the host holds ${counted(raw.measure[0], "mapping")}; the driver's default limit is ${
        raw.measure[1].toLocaleString("en")
      }`;
    case "permission-widened":
      return `${pages}${window} are write-only to the guest and readable on the host`;
    case "maps-adjoin":
      return `${counted(raw.pages, "page")}${window} mapped one by one adjoin: ${
        counted(raw.saved, "call")
      } could be saved`;
    case "unmap-without-effect":
      return `${counted(raw.count, "unmap")}${window} of what was not mapped`;
    case "replay-of-empty-window":
      return `${counted(raw.count, "replay")} looked up ${
        counted(raw.measure[0], "entry").replace("entrys", "entries")
      } for ${counted(raw.measure[1], "page")}: ${(raw.measure[2] / 1e6).toFixed(2)} s`;
  }
}

function name(window: bigint | string): string {
  return typeof window === "bigint" ? hex(window) : window;
}

function why(raw: RawFinding, common: string): string {
  if (raw.errno === UNTOLD) {
    return raw.id === "mapping-left-behind"
      ? "The guest's call is in the log, and QEMU's listeners were not told that the entries are gone (memory_region_notify_iommu, QEMU, system/memory.c). The device still reaches the pages."
      : "The guest's call is in the log, and QEMU's listeners were not told of these entries (memory_region_notify_iommu, QEMU, system/memory.c). The device's access does not arrive.";
  }
  if (raw.source === "kernel" && raw.id === "mapping-missing") {
    return "The kernel unmapped it, and no line of QEMU's log asked for that. The device's access does not arrive any more.";
  }
  const meaning = raw.errno > 0 && raw.id === "mapping-missing" ? errorMeaning(raw.errno) : undefined;
  return meaning === undefined ? common : `The kernel refused: ${meaning} (${errorName(raw.errno)}). ${common}`;
}

/** What the guest called, as text. */
export function callText(call: GuestCall): string {
  const where = call.liobn === undefined ? "" : ` liobn=${hex(call.liobn)}`;
  const pages = call.pages === 1 ? "" : `, ${counted(call.pages, "page")}`;
  const tce = call.tce === undefined || call.pages > 1 && call.tce !== 0n ? "" : ` tce=${hex(call.tce)}`;
  const ret = call.ret === undefined ? "" : ` returned ${call.ret}`;
  return `${call.name}${where} ioba=${hex(call.ioba)}${tce}${pages}${ret}`;
}

function cause(raw: RawFinding, call: GuestCall | null, context: Context): string {
  if (raw.source === "kernel") return `the kernel's line ${raw.kernelLine}, which no line of QEMU's log explains`;
  if (raw.source === "stderr") return `line ${raw.stderrLine} of standard error, which no line of QEMU's log explains`;
  const parts: string[] = [];
  const [round] = raw.rounds;
  if (raw.replayed > 0 && round !== undefined) {
    const line = context.hotplugs[round.hotplug - 1];
    parts.push(
      `the replay${raw.rounds.length > 1 ? "s" : ""} to the device plugged in at line ${line ?? raw.first}` +
        (raw.count > raw.replayed || raw.id.startsWith("hotplug") ? "" : ` (${counted(raw.replayed, "operation")})`),
    );
  }
  if (call !== null) {
    const more = raw.calls > 1 ? `, and ${counted(raw.calls - 1, "more call")}` : "";
    parts.push(`${callText(call)} (line ${call.line})${more}`);
  }
  if (parts.length === 0) return "no call of the guest that the log shows";
  return parts.join("; then ");
}

function evidence(raw: RawFinding, call: GuestCall | null): Evidence[] {
  const list: Evidence[] = [];
  const add = (source: LogName, line: number, what: string) => {
    if (line !== 0) list.push({ source, line, what });
  };
  if (raw.before !== undefined && raw.id !== "wrong-target") {
    add("log", raw.heldSince, `mapped ${hex(raw.iova)} to ${page(raw.before)}`);
  } else add("log", raw.heldSince, `mapped ${hex(raw.iova)}`);
  if (raw.host !== undefined) {
    add("kernel", raw.kernelLine, `the host maps ${hex(raw.iova)} to ${hex(raw.host)}`);
  } else if (raw.id.startsWith("dma-fault")) add("kernel", raw.kernelLine, `a device was refused ${hex(raw.iova)}`);
  if (raw.source === "log") add("log", raw.first, firstLine(raw));
  if (call !== null) {
    const now = raw.now === undefined ? "" : `: ${hex(raw.iova)} is ${page(raw.now)}`;
    add("log", call.line, `${callText(call)}${now}`);
  }
  const errno = raw.errno > 0 ? `: ${errorName(raw.errno)}` : "";
  add("stderr", raw.stderrLine, `QEMU printed the failure${errno}`);
  return list;
}

function firstLine(raw: RawFinding): string {
  switch (raw.id) {
    case "mapping-left-behind":
    case "unmap-without-effect":
      return `QEMU told of the unmap of ${hex(raw.iova)}`;
    case "hotplug-incomplete":
    case "replay-of-empty-window":
      return "a container got the window";
    default:
      return raw.errno === UNTOLD ? "QEMU told of nothing here" : `QEMU told of the map of ${hex(raw.iova)}`;
  }
}
