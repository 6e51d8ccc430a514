import { reach } from "./attach_point.ts";
import { type DiffOptions, type DiffSide, parseDiffOptions } from "./diff_options.ts";
import { write, writeJson } from "./output.ts";
import { renderDiff } from "./render_diff.ts";
import type { InputReport, TableReport } from "./report.ts";
import { Session } from "./session.ts";
import { differs, diffStates, type StateDiff } from "./state_diff.ts";
import { styleFor } from "./terminal.ts";
import { UsageError } from "./usage_error.ts";

/** One of the two states. */
export interface SideReport {
  /** What messages call the input. */
  readonly name: string;
  /** The last line that was read; `null` for a migration stream. */
  readonly line: number | null;
  /** What was read, up to there. */
  readonly input: InputReport;
  /** The tables there. */
  readonly tables: readonly TableReport[];
}

/** The result of `giommu diff`. */
export interface DiffReport extends StateDiff {
  /** The one state. */
  readonly a: SideReport;
  /** The other. */
  readonly b: SideReport;
}

/**
 * Runs `giommu diff`.
 *
 * @param args What was typed after `diff`.
 * @returns The exit status: 0 if every page that both tell is the same, 1 if not.
 * @throws {UsageError} If the arguments are bad, or an input has no such place.
 * @throws {IommuError} `"bad-input"` if an input cannot be read.
 */
export async function diffCommand(args: readonly string[]): Promise<number> {
  const options = parseDiffOptions(args);
  await using a = await opened(options.a, options);
  const sideA = await readTo(a, options.a);
  await using b = await opened(options.b, options);
  const sideB = await readTo(b, options.b);
  if (sideA.tables.length + sideB.tables.length === 0) {
    throw new UsageError(`${a.name} and ${b.name} show no sPAPR table there: there is nothing to compare`);
  }
  const report: DiffReport = { a: sideA, b: sideB, ...diffStates(a.machine, b.machine) };
  if (options.json) writeJson(report);
  else {
    const style = styleFor(Deno.stdout.isTerminal(), Deno.noColor);
    write(renderDiff(report, [...a.notes, ...b.notes], style));
  }
  return differs(report) ? 1 : 0;
}

function opened({ input }: DiffSide, { json, windows }: DiffOptions): Promise<Session> {
  return Session.open({ input, json, windows });
}

/** Reads up to the place that was asked for. */
async function readTo(session: Session, { at, isOwn }: DiffSide): Promise<SideReport> {
  const point = await reach(session, session.stream !== undefined && !isOwn ? { kind: "end" } : at);
  // A log without any event of a table says so, which helps more than two states that are both empty.
  if (session.machine.tables.length === 0) await session.readRest();
  return {
    name: session.name,
    line: session.stream === undefined ? point.line : null,
    input: session.counts,
    tables: session.tables,
  };
}
