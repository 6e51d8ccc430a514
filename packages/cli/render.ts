import { formatRange, hex } from "@giommu/core";
import { type PictureRun, windowPicture } from "./picture.ts";
import type {
  CheckReport,
  DifferenceReport,
  ErrorReport,
  HotplugParts,
  InputReport,
  QemuReport,
  ReplayReport,
  StateReport,
  TableReport,
  TranslationsReport,
} from "./report.ts";
import { binarySize, count, counted, duration, fileSize, type Style } from "./terminal.ts";

/** What a picture of a table needs beside its report. */
export interface TablePicture {
  /** Runs of mapped pages. */
  readonly mapped: readonly PictureRun[];
  /** Runs of pages whose content is not known. */
  readonly unknown: readonly PictureRun[];
}

/** The pictures of the tables, by LIOBN. */
export type Pictures = ReadonlyMap<bigint, TablePicture>;

const PERMISSIONS = ["none", "r", "w", "rw"];
const LABEL = 10;

/**
 * One line of a report.
 *
 * @param label What it is about; empty where the line before said so.
 * @param text What is to be said.
 * @returns The line.
 */
export function line(label: string, ...text: string[]): string {
  return `${label.padEnd(LABEL)}${text.join("")}\n`;
}

/**
 * Writes what was read.
 *
 * @param name The input's name.
 * @param input The counts.
 * @param style How to mark what matters.
 * @returns Lines of text.
 */
export function renderInput(name: string, input: InputReport, style: Style): string {
  const unparsed = input.unparsed === 0 ? "" : style.bad(`, ${count(input.unparsed)} unparsed`);
  return line(
    "Input",
    style.bold(name),
    `: ${fileSize(input.bytes)}, ${counted(input.lines, "line")}, ${counted(input.events, "event")}${unparsed}`,
  );
}

/**
 * Writes the tables with their pictures.
 *
 * @param tables The tables.
 * @param pictures Where they are mapped and where not.
 * @param style How to mark what matters.
 * @returns Lines of text.
 */
export function renderTables(tables: readonly TableReport[], pictures: Pictures, style: Style): string {
  let text = "";
  for (const table of tables) {
    const pageSize = 1n << BigInt(table.pageShift);
    const size = BigInt(table.entries) * pageSize;
    const last = table.busOffset + size - 1n;
    const unknown = table.unknown === 0 ? "" : style.dim(`, ${count(table.unknown)} unknown`);
    text += line(
      "Table",
      style.bold(hex(table.liobn)),
      `  ${binarySize(size)} of ${binarySize(pageSize)} pages, ${count(table.mapped)} of ${
        count(table.entries)
      } mapped${unknown}`,
    );
    const picture = pictures.get(table.liobn);
    if (picture !== undefined) {
      text += line("", windowPicture(table.entries, picture.mapped, picture.unknown));
      text += line("", style.dim(ends(hex(table.busOffset), hex(last), Math.min(64, table.entries))));
    }
  }
  return text;
}

/** The first and the last address under a picture. */
function ends(first: string, last: string, width: number): string {
  return `${first}${last.padStart(Math.max(first.length + 1 + last.length, width) - first.length)}`;
}

/**
 * Writes the report of `giommu replay`.
 *
 * @param name The input's name.
 * @param report The report.
 * @param pictures Where the tables were mapped at the hotplug.
 * @param policy The policy as asked for and as used, for example `auto = full`.
 * @param notes What else a person should know, a line each.
 * @param style How to mark what matters.
 * @returns Lines of text.
 */
export function renderReplay(
  name: string,
  report: ReplayReport,
  pictures: Pictures,
  policy: string,
  notes: readonly string[],
  style: Style,
): string {
  const { hotplug } = report;
  let text = renderGuest(name, report, pictures, notes, style);
  if (hotplug.attached) {
    text += line(
      "Replay",
      `${counted(hotplug.pages, "page")} in ${counted(hotplug.extents, "extent")}: `,
      `${counted(hotplug.hostMaps, "host map")} in ${duration(hotplug.nanoseconds)} (${policy})`,
    );
  }
  return text + renderHotplugged(report, style);
}

/**
 * Writes what a hotplug is onto.
 *
 * @param name The input's name.
 * @param report The report.
 * @param pictures Where the tables were mapped at the hotplug.
 * @param notes What else a person should know, a line each.
 * @param style How to mark what matters.
 * @returns Lines of text.
 */
export function renderGuest(
  name: string,
  report: HotplugParts,
  pictures: Pictures,
  notes: readonly string[],
  style: Style,
): string {
  let text = renderInput(name, report.input, style);
  for (const [at, { line: begin, liobns }] of report.hotplugs.entries()) {
    const here = begin === report.hotplug.line ? style.bold("  <- replayed here") : "";
    text += line(
      at === 0 ? "Hotplugs" : "",
      `${at + 1}. line ${count(begin)}, ${liobns.map(hex).join(" and ")}${here}`,
    );
  }
  text += renderTables(report.tables, pictures, style);
  for (const note of notes) text += line("Note", note);
  return text;
}

/**
 * Writes what came of a hotplug.
 *
 * @param report The report.
 * @param style How to mark what matters.
 * @returns Lines of text.
 */
export function renderHotplugged(report: HotplugParts, style: Style): string {
  const { hotplug, after, qemu } = report;
  let text = report.error === undefined ? "" : renderError(report.error, style);
  const { none, call, full } = hotplug.maps;
  text += line("", style.dim(`host maps by policy: none ${count(none)}, call ${count(call)}, full ${count(full)}`));
  if (hotplug.unknownPages > 0) {
    text += line(
      "",
      `${counted(hotplug.unknownPages, "page")} more that QEMU mapped, to targets that the log does not tell`,
    );
  }
  if (hotplug.attached) {
    const holes = after.holes === 0 ? "" : style.bad(`, ${counted(after.holes, "hole")}`);
    text += line(
      "Then",
      `${counted(after.events, "log event")}: ${counted(after.hostMaps, "host map")}, `,
      `${counted(after.hostUnmaps, "host unmap")}${holes}`,
    );
  }
  if (qemu !== null) text += renderQemu(qemu, style);
  text += renderAnswers(report, style);
  if (hotplug.attached) text += renderVerified(report.verify, style);
  return text;
}

function renderVerified(verify: ReplayReport["verify"], style: Style): string {
  const wrong = verify.missing + verify.stale + verify.differing;
  const pages = `${counted(verify.guestPages, "guest page")}, ${counted(verify.hostPages, "host page")}`;
  let text = line(
    "Verified",
    pages,
    wrong === 0 ? style.good(": nothing missing, stale or different") : style.bad(
      `: ${count(verify.missing)} missing, ${count(verify.stale)} stale, ${count(verify.differing)} different`,
    ),
  );
  if (verify.notRam > 0) {
    text += line(
      "",
      `${counted(verify.notRam, "page")} more that the guest points to what is no RAM (--ram): not mapped`,
    );
  }
  for (const difference of verify.differences) text += line("", style.bad(renderDifference(difference)));
  return text;
}

function renderError({ code, range, message, remedy, line: at }: ErrorReport, style: Style): string {
  const where = `${at === undefined ? "" : `, line ${count(at)}`}${range === null ? "" : `, at ${formatRange(range)}`}`;
  const flags = code === "mapping-limit" && remedy?.includes("coalesce") ? " (--coalesce call or full)" : "";
  const help = remedy === undefined ? "" : line("", `what helps: ${remedy}${flags}`);
  return line("Refused", style.bad(message)) + line("", `code ${code}${where}`) + help;
}

function renderQemu(qemu: QemuReport, style: Style): string {
  const { replayed, agreed, missing, extra, unknown } = qemu;
  const wrong = missing + extra > 0 ? style.bad : style.good;
  const rest = unknown === 0 ? "" : style.dim(`, ${count(unknown)} unknown`);
  return line(
    "QEMU",
    `replayed ${counted(replayed, "page")}: ${count(agreed)} agreed, `,
    wrong(`${count(missing)} missing here, ${count(extra)} extra here`),
    rest,
  );
}

function renderDifference({ kind, range, guest, host }: DifferenceReport): string {
  const where = formatRange(range);
  if (kind === "missing") return `${where} missing: the guest points to ${hex(guest ?? 0n)}, the host has nothing`;
  if (kind === "stale") return `${where} stale: the host points to ${hex(host ?? 0n)}, the guest has nothing`;
  return `${where} different: the guest points to ${hex(guest ?? 0n)}, the host to ${hex(host ?? 0n)}`;
}

function renderAnswers(
  { translations, reads, disagreements }: Pick<CheckReport, "translations" | "reads" | "disagreements">,
  style: Style,
): string {
  let text = renderAgreement("Answers", translations, "logged translation", style);
  if (total(reads) > 0) {
    text += renderAgreement(
      "Reads",
      reads,
      "entry that the guest read back",
      style,
      "entries that the guest read back",
    );
  }
  for (const { line: at, liobn, iova, logged, rebuilt } of disagreements) {
    const show = ({ target, perm }: { target: bigint; perm: number }) => `${hex(target)} ${PERMISSIONS[perm] ?? perm}`;
    const what = `the log says ${show(logged)}, the calls before it made ${show(rebuilt)}`;
    text += line("", style.bad(`line ${count(at)}: ${hex(liobn)} at ${hex(iova)}: ${what}`));
  }
  return text;
}

function total({ agreed, disagreed, learned }: TranslationsReport): number {
  return agreed + disagreed + learned;
}

function renderAgreement(label: string, met: TranslationsReport, noun: string, style: Style, plural?: string): string {
  if (total(met) === 0) return line(label, style.dim(`no ${noun}`));
  const mark = met.disagreed === 0 ? style.good : style.bad;
  return line(
    label,
    `${counted(total(met), noun, plural)}: ${count(met.agreed)} agreed, ${count(met.learned)} learned, `,
    mark(`${count(met.disagreed)} disagreed`),
  );
}

/**
 * Writes the report of `giommu check`.
 *
 * @param name The input's name.
 * @param report The report.
 * @param pictures Where the tables are mapped at the end.
 * @param notes What else a person should know, a line each.
 * @param style How to mark what matters.
 * @returns Lines of text.
 */
export function renderCheck(
  name: string,
  report: CheckReport,
  pictures: Pictures,
  notes: readonly string[],
  style: Style,
): string {
  let text = renderInput(name, report.input, style) + renderTables(report.tables, pictures, style);
  for (const note of notes) text += line("Note", note);
  text += renderAnswers(report, style);
  for (const state of report.state ?? []) text += renderState(state, style);
  return text;
}

function renderState({ liobn, entries, agreed, differing, unknown, absent }: StateReport, style: Style): string {
  if (absent) {
    return line("State", `${hex(liobn)}  `, style.bad(`not in the stream; the log has ${count(differing)} mapped`));
  }
  return line(
    "State",
    `${hex(liobn)}  ${counted(entries, "entry", "entries")}: ${count(agreed)} agreed, `,
    (differing === 0 ? style.good : style.bad)(`${count(differing)} different`),
    unknown === 0 ? "" : style.dim(`, ${count(unknown)} unknown`),
  );
}
