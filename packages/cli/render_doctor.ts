import { formatRange, hex } from "@giommu/core";
import type { Diagnosis, Finding, HotplugTimeline, KernelTimeline, Timeline } from "@giommu/doctor";
import { renderHistory } from "./render_history.ts";
import { binarySize, count, counted, duration, type Style } from "./terminal.ts";

/** What the logs are called. */
export interface LogNames {
  /** QEMU's log. */
  readonly log: string;
  /** The kernel's, where there is one. */
  readonly kernel: string | undefined;
  /** QEMU's standard error, where there is one. */
  readonly stderr: string | undefined;
}

const LABEL = 10;
/** Reports are read in terminals of this width, and in mails. */
const WIDTH = 80;
/** More hotplugs than these are counted only. */
const HOTPLUGS = 4;
/** Ranges of one finding that are shown. */
const RANGES = 3;

/**
 * Lines of a report: a label, and text that is broken where the lines end.
 *
 * @param label What it is about; empty where the line before said so.
 * @param text What is to be said.
 * @param mark How to mark each line of the text.
 * @returns The lines.
 */
export function paragraph(label: string, text: string, mark: (text: string) => string = (text) => text): string {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && line.length + 1 + word.length > WIDTH - LABEL) {
      lines.push(line);
      line = word;
    } else line = line === "" ? word : `${line} ${word}`;
  }
  lines.push(line);
  return lines.map((text, at) => `${(at === 0 ? label : "").padEnd(LABEL)}${mark(text)}\n`).join("");
}

/**
 * Writes the report of `giommu doctor`.
 *
 * @param names What the logs are called.
 * @param diagnosis What was found.
 * @param style How to mark what matters.
 * @returns Lines of text, of 80 columns at most where no single word is longer.
 */
export function renderDiagnosis(names: LogNames, diagnosis: Diagnosis, style: Style): string {
  const { timeline, findings, unknown, history } = diagnosis;
  let text = renderLogs(names, timeline, style) + renderHotplugs(timeline.hotplugs, style);
  text += renderVerdict(diagnosis, style);
  for (const finding of findings) text += renderFinding(finding, timeline.log.lines, style);
  for (const [at, { what, option }] of unknown.notes.entries()) {
    text += paragraph(at === 0 ? "Unknown" : "", `${what}; ${option} would tell`, style.dim);
  }
  return history === undefined ? text : text + renderHistory(history, style);
}

function renderLogs(names: LogNames, { log, kernel, stderr }: Timeline, style: Style): string {
  const span = log.firstTime === null || log.lastTime === null
    ? ""
    : `, ${duration((log.lastTime - log.firstTime) * 1000)}`;
  const unparsed = (count: number) => count === 0 ? "" : `, ${counted(count, "line")} unparsed`;
  let text = paragraph(
    "Log",
    `${names.log}: ${counted(log.lines, "line")}, ${counted(log.events, "event")}${span}${unparsed(log.unparsed)}`,
  );
  if (kernel !== null) {
    text += paragraph("Kernel", `${names.kernel}: ${kernelText(kernel)}${unparsed(kernel.unparsed)}`);
    if (kernel.offset !== null) {
      const drift = kernel.drift === null ? "" : `, drift ${duration(Math.abs(kernel.drift) * 1000)}`;
      const seconds = (kernel.offset / 1e6).toFixed(6);
      text += paragraph(
        "",
        `QEMU's clock is ahead by ${seconds} s (${counted(kernel.matches, "match", "matches")}${drift})`,
        style.dim,
      );
    }
  }
  if (stderr !== null) {
    const explained = stderr.failures === 0 ? "" : `, ${count(stderr.matched)} matched`;
    text += paragraph(
      "Stderr",
      `${names.stderr}: ${counted(stderr.failures, "failure")}${explained}${unparsed(stderr.unparsed)}`,
    );
  }
  return text;
}

function kernelText(kernel: KernelTimeline): string {
  if (!kernel.matched) return `${counted(kernel.events, "event")}, none of this QEMU`;
  const parts = [counted(kernel.maps, "map"), counted(kernel.unmaps, "unmap")];
  if (kernel.driverTests > 0) parts.push(`${count(kernel.driverTests)} of the driver's test`);
  if (kernel.prior > 0) parts.push(`${count(kernel.prior)} before the log`);
  if (kernel.exit > 0) parts.push(`${count(kernel.exit)} as QEMU ended`);
  if (kernel.faults > 0) parts.push(counted(kernel.faults, "fault"));
  if (kernel.foreign > 0) parts.push(`${count(kernel.foreign)} of other processes`);
  const lost = kernel.lost === 0 ? "" : `, ${count(kernel.lost)} lost`;
  const left = kernel.unexplained === 0 ? "all explained" : `${count(kernel.unexplained)} unexplained`;
  return `${counted(kernel.events, "event")}, ${left}: ${parts.join(", ")}${lost}`;
}

function renderHotplugs(hotplugs: readonly HotplugTimeline[], style: Style): string {
  let text = "";
  for (const [at, one] of hotplugs.slice(0, HOTPLUGS).entries()) {
    const refused = one.refused === 0 ? "none missing" : style.bad(`${count(one.refused)} missing`);
    const time = one.time === null || one.time === 0 ? "" : `, ${duration(one.time * 1000)}`;
    const unplug = one.unplug === null ? "" : `; unplugged at line ${count(one.unplug)}`;
    const windows = [...new Set(one.windows)].map((id) => typeof id === "bigint" ? hex(id) : id).join(" and ");
    text += paragraph(
      at === 0 ? "Hotplugs" : "",
      `${at + 1}. line ${count(one.first)}, ${windows}: ${counted(one.told, "page")}, ${refused}${time}${unplug}`,
    );
  }
  if (hotplugs.length > HOTPLUGS) text += paragraph("", `and ${count(hotplugs.length - HOTPLUGS)} more`, style.dim);
  return text;
}

function renderVerdict({ healthy, findings, timeline }: Diagnosis, style: Style): string {
  const number = (severity: string) => findings.filter((one) => one.severity === severity).length;
  const rest = [counted(number("warning"), "warning"), counted(number("cost"), "cost")].join(", ");
  if (!healthy) return paragraph("Verdict", `sick: ${counted(number("error"), "error")}, ${rest}`, style.bad);
  const what = timeline.hotplugs.length === 0 ? "nothing to compare: no device in this log" : "healthy";
  return paragraph("Verdict", `${what}: no error, ${rest}`, style.good);
}

function renderFinding(finding: Finding, lines: number, style: Style): string {
  const { severity, id, title } = finding;
  const mark = severity === "error" ? style.bad : style.bold;
  const where = finding.ranges.slice(0, RANGES).map(formatRange).join(", ");
  const more = finding.ranges.length > RANGES ? `, and ${counted(finding.ranges.length - RANGES, "more range")}` : "";
  if (severity === "cost") {
    return paragraph(severity, `${id}: ${title}`, style.dim) +
      paragraph("", `${where}${more}, ${stretches(finding, lines)}`, style.dim);
  }
  let text = `\n${paragraph(severity, `${id}: ${title}`, mark)}`;
  text += paragraph("  where", `${where}${more} (pages of ${binarySize(finding.pageSize)})`);
  text += paragraph("  since", stretches(finding, lines));
  const targets = targetText(finding);
  if (targets !== "") text += paragraph("  target", targets);
  text += paragraph("  cause", finding.cause);
  text += paragraph("  why", finding.why);
  text += paragraph("  do", style.bold(finding.remedy).includes("\x1b") ? finding.remedy : finding.remedy, style.bold);
  for (const [at, { source, line, what }] of finding.evidence.entries()) {
    const log = source === "log" ? "" : `${source} `;
    text += paragraph(at === 0 ? "  seen" : "", `${log}line ${count(line)}: ${what}`, style.dim);
  }
  return text + paragraph("  proof", PROOFS[finding.proof], style.dim);
}

const PROOFS: Readonly<Record<Finding["proof"], string>> = {
  kernel: "the kernel's log shows it",
  stderr: "QEMU printed it",
  log: "QEMU's log shows it",
  derived: "by the kernel's rules, applied to the calls that QEMU made",
};

/** From when to when. */
function stretches({ source, rounds, first, last, ended }: Finding, lines: number): string {
  const log = source === "log" ? "line" : `${source} line`;
  const stretch = (first: number, last: number, open: boolean) =>
    open && last >= lines
      ? `${log} ${count(first)} to the end`
      : first === last
      ? `${log} ${count(first)}`
      : `${log} ${count(first)} to ${count(last)}`;
  if (rounds.length === 0 || rounds.length > RANGES || source !== "log") return stretch(first, last, !ended);
  return rounds.map((round, at) => stretch(round.first, round.last, !ended && at === rounds.length - 1)).join(
    ", then ",
  );
}

function targetText({ targets, id }: Finding): string {
  const page = (entry: bigint) => `${hex(entry & ~3n)} ${["none", "r", "w", "rw"][Number(entry & 3n)]}`;
  const parts: string[] = [];
  if (targets.before !== undefined) parts.push(`guest before ${page(targets.before)}`);
  if (targets.now !== undefined) parts.push(`guest now ${page(targets.now)}`);
  if (targets.host !== undefined) {
    parts.push(`host ${id === "wrong-permission" ? "still allows it" : hex(targets.host)}`);
  }
  if (targets.otherIova !== undefined) {
    parts.push(`the same at ${hex(targets.otherIova)} is ${hex(targets.otherHost ?? 0n)}`);
  }
  return parts.length === 0 ? "" : `at ${hex(targets.iova)}: ${parts.join(", ")}`;
}
