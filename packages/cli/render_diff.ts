import { formatRange, hex } from "@giommu/core";
import type { DiffReport, SideReport } from "./diff.ts";
import { line, renderInput } from "./render.ts";
import type { DiffAnswer, DiffGeometry, DiffRange, TableDiff } from "./state_diff.ts";
import { differs } from "./state_diff.ts";
import { binarySize, count, counted, type Style } from "./terminal.ts";

/** How many ranges of a table are shown. */
const SHOWN = 20;
const PERMISSIONS = ["none", "r", "w", "rw"];

/**
 * Writes the report of `giommu diff`.
 *
 * @param report The report.
 * @param notes What else a person should know, a line each.
 * @param style How to mark what matters.
 * @returns Lines of text.
 */
export function renderDiff(report: DiffReport, notes: readonly string[], style: Style): string {
  let text = renderSide("A", report.a, style) + renderSide("B", report.b, style);
  for (const note of notes) text += line("Note", note);
  for (const table of report.tables) {
    text += renderTable(table, style);
    const shown = report.differences.filter(({ liobn }) => liobn === table.liobn).slice(0, SHOWN);
    for (const range of shown) text += line("", renderRange(range, style));
    const more = table.ranges - shown.length;
    if (more > 0) text += line("", style.dim(`and ${counted(more, "range")} more; --json tells them`));
  }
  return text + line("Result", differs(report) ? style.bad(conclusion(report)) : style.good(conclusion(report)));
}

function renderSide(label: string, { name, line: at, input }: SideReport, style: Style): string {
  const text = renderInput(name, input, style).replace(/^\S+/, (word) => label.padEnd(word.length));
  return at === null ? text : text.replace(/\n$/, style.dim(`, at line ${count(at)}`) + "\n");
}

function renderTable(table: TableDiff, style: Style): string {
  const { agreed, onlyA, onlyB, changed, unknown } = table;
  const wrong = onlyA + onlyB + changed > 0 ? style.bad : style.good;
  let text = line(
    "Table",
    style.bold(hex(table.liobn)),
    `  ${size(table)}`,
    table.in === "both" ? "" : `, in ${table.in.toUpperCase()} only`,
  );
  if (table.geometryB !== undefined) text += line("", style.bad(`in B it is ${size(table.geometryB)}`));
  text += line(
    "",
    `${counted(agreed, "page")} mapped alike, `,
    wrong(`${count(onlyA)} in A only, ${count(onlyB)} in B only, ${count(changed)} changed`),
    unknown === 0 ? "" : style.dim(`, ${count(unknown)} unknown`),
  );
  return text;
}

function size({ entries, pageShift, busOffset }: DiffGeometry): string {
  const pageSize = 1n << BigInt(pageShift);
  return `${binarySize(BigInt(entries) * pageSize)} of ${binarySize(pageSize)} pages at ${hex(busOffset)}`;
}

function renderRange({ kind, iova, pages, a, b }: DiffRange, style: Style): string {
  const where = `${formatRange(iova)} ${style.dim(`(${counted(pages, "page")})`)} `;
  if (kind === "only-a") return `${where}only in A: ${show(a)}`;
  if (kind === "only-b") return `${where}only in B: ${show(b)}`;
  return `${where}changed: ${show(a)} in A, ${show(b)} in B`;
}

function show(answer: DiffAnswer | null): string {
  return answer === null ? "nothing" : `${hex(answer.target)} ${PERMISSIONS[answer.perm] ?? answer.perm}`;
}

function conclusion(report: DiffReport): string {
  const sum = (of: (table: TableDiff) => number) => report.tables.reduce((all, table) => all + of(table), 0);
  const unknown = sum((table) => table.unknown);
  const rest = unknown === 0 ? "" : `; ${counted(unknown, "page")} that one of the two does not tell`;
  if (!differs(report)) return `every page that both tell is the same${rest}`;
  const pages = sum(({ onlyA, onlyB, changed }) => onlyA + onlyB + changed);
  const windows = report.tables.filter(({ geometryB }) => geometryB !== undefined).length;
  const geometry = windows === 0 ? "" : `, ${counted(windows, "window")} of another geometry`;
  return `${counted(pages, "page")} in ${counted(report.ranges, "range")} ${
    pages === 1 ? "differs" : "differ"
  }${geometry}${rest}`;
}
