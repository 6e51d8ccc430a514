/** What a run found, for people, for machines, and for docs/performance.md. */

import type { Picture } from "./growth.ts";
import type { HostMaps } from "./host_maps.ts";
import type { Goal, Measured } from "./measure.ts";

/** One metric, as `--json` gives it. */
export interface Metric {
  readonly metric: string;
  readonly unit: string;
  readonly ours: number;
  /** Ours in the first round. */
  readonly cold: number;
  readonly peer: number | null;
  readonly tuned: number | null;
  readonly limit: number | null;
  readonly ratio: number | null;
  readonly goal: string;
  /** `null` for what is published without a goal, or could not be compared. */
  readonly met: boolean | null;
  /** The median of our rounds over the best one. */
  readonly spread: number;
}

/** Where a run was made: CPU and versions, nothing else of the machine. */
export interface Place {
  readonly cpu: string;
  readonly cores: number;
  readonly compiler: string;
  readonly deno: string;
  readonly v8: string;
  readonly date: string;
}

/** Whether a goal is no goal, but a figure that is to be seen. */
export function isPublished({ least }: Goal): boolean {
  return least === 0;
}

/** The metrics of a row. */
export function metricsOf({ row, figures, cold, spread }: Measured): Metric[] {
  return row.goals.map((goal) => {
    const ratio = goal.ratio(figures);
    return {
      metric: goal.metric,
      unit: row.unit,
      ours: figures.ours,
      cold,
      peer: figures.peer ?? null,
      tuned: figures.tuned ?? null,
      limit: figures.limit ?? null,
      ratio: ratio ?? null,
      goal: goal.text,
      met: ratio === undefined || isPublished(goal) ? null : ratio >= goal.least,
      spread,
    };
  });
}

function figure(value: number | null): string {
  if (value === null) return "";
  if (value === 0) return "0";
  if (value >= 100) return Math.round(value).toLocaleString("en");
  return value >= 10 ? value.toFixed(1) : value >= .1 ? value.toFixed(2) : value.toPrecision(2);
}

function cells({ row, figures, cold, spread }: Measured, metric: Metric): string[] {
  const { ratio, met } = metric;
  return [
    metric.metric,
    `${figure(figures.ours)} ${row.unit}`,
    figure(metric.peer),
    figure(metric.tuned),
    figure(metric.limit),
    ratio === null ? "" : `${figure(ratio)}x`,
    metric.goal,
    met === null ? "" : met ? "met" : "not met",
    row.rounds === 1 ? "" : figure(cold),
    row.rounds === 1 ? "" : spread.toFixed(2),
  ];
}

const HEADS = ["metric", "giommu", "C", "tuned C", "limit", "ratio", "goal", "", "cold", "spread"];

/** The table for a terminal. */
export function forTerminal(all: readonly Measured[]): string {
  const lines: string[][] = [];
  const groups: (string | undefined)[] = [];
  for (const measured of all) {
    for (const metric of metricsOf(measured)) {
      lines.push(cells(measured, metric));
      groups.push(measured.row.group);
    }
  }
  const widths = HEADS.map((head, at) => Math.max(head.length, ...lines.map((line) => line[at]?.length ?? 0)));
  const text = (line: readonly string[]) =>
    line.map((cell, at) => at === 0 ? cell.padEnd(widths[at] ?? 0) : cell.padStart(widths[at] ?? 0)).join("  ")
      .trimEnd();
  const out = [text(HEADS)];
  for (const [at, line] of lines.entries()) {
    if (groups[at] !== groups[at - 1]) out.push(`\n${groups[at]}`);
    out.push(text(line));
  }
  return out.join("\n");
}

function tableOf(heads: readonly string[], lines: readonly (readonly string[])[]): string {
  const row = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
  return [row(heads), row(heads.map((_, at) => at === 0 ? "---" : "---:")), ...lines.map(row)].join("\n");
}

/** What is written by hand stands in bench/performance-notes.md; everything else of the page comes from here. */
export function page(
  all: readonly Measured[],
  maps: readonly HostMaps[],
  pictures: readonly Picture[],
  place: Place,
  notes: string,
): string {
  const groups = Map.groupBy(all, ({ row }) => row.group);
  const tables = Array.from(groups, ([group, list]) => {
    const lines = list.flatMap((measured) => metricsOf(measured).map((metric) => cells(measured, metric)));
    return `### ${group[0]?.toUpperCase()}${group.slice(1)}\n\n${tableOf(HEADS, lines)}`;
  });
  const metrics = all.flatMap(metricsOf);
  const met = metrics.filter((metric) => metric.met === true).length;
  const missed = metrics.filter((metric) => metric.met === false).map(({ metric }) => metric);
  const mapLines = maps.map(({ guest, pages, maps: { none, call, full }, calls }) => [
    guest,
    pages.toLocaleString("en"),
    ...[none, call, full].map((count) => `${count.toLocaleString("en")} (${figure(count / pages)})`),
    calls.atomic.toLocaleString("en"),
    calls.none.toLocaleString("en"),
  ]);
  return `<!-- Written by \`deno task bench --write\`: do not edit. What is written by hand stands in bench/performance-notes.md. -->

# Performance

Measured on ${place.date} on ${place.cpu} (${place.cores} cores), Deno ${place.deno} with V8 ${place.v8}, ${place.compiler}, by

\`\`\`sh ignore
deno task bench --write
\`\`\`

Everything is measured beside its peer in the same run, in turn, several rounds; the least of each column counts, and only ratios are worth
quoting. **C** is a program of our own in the shape that QEMU gives an IOMMU ([bench/peer](../bench/peer)), compiled with \`cc -O2\` when the run
starts: entries and events as structs by value. **tuned C** passes pointers instead. **limit** is what the machine allows. **cold** is our
first round, before V8 has compiled it well; **spread** the median of our rounds over the best. Ours and C's come to the same sum over all that
was delivered, or the run ends. Of ${met + missed.length} goals ${met} are met${
    missed.length === 0 ? "." : `; not met: ${missed.join("; ")}.`
  }

${tables.join("\n\n")}

## As the work grows

${pictures.map(({ file, alt }) => `![${alt}](performance/${file})`).join("\n\n")}

## Host maps

Maps that each coalescing policy needs (per guest page in brackets), and calls that an attach with \`coalesce: "auto"\` makes on a host that splits
mappings atomically, and on one that does not.

${tableOf(["guest", "pages", "none", "call", "full", "calls, atomic split", "calls, no split"], mapLines)}

${notes.trim()}
`;
}
