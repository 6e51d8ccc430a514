import type { Column, RowWriter } from "./export/column.ts";
import { EVENT_COLUMNS, EventRows } from "./export/event_rows.ts";
import { LIFETIME_COLUMNS, LifetimeRows } from "./export/lifetime_rows.ts";
import { type LogVisitor, walkLog } from "./export/log_walk.ts";
import { ExportOutput } from "./export/output.ts";
import { parquetWriter } from "./export/parquet_writer.ts";
import { PerfettoTrace } from "./export/perfetto_trace.ts";
import { CsvWriter, JsonLinesWriter } from "./export/text_writers.ts";
import { type ExportOptions, parseExportOptions } from "./export_options.ts";
import { write, writeJson } from "./output.ts";
import { line, renderInput } from "./render.ts";
import type { InputReport, ProblemsReport } from "./report.ts";
import { Session } from "./session.ts";
import { counted, fileSize, styleFor } from "./terminal.ts";
import { UsageError } from "./usage_error.ts";

/** The result of `giommu export` where it goes to a file. */
export interface ExportReport {
  /** What was read. */
  readonly input: InputReport;
  /** In which format it was written. */
  readonly format: ExportOptions["format"];
  /** What was written: rows, or events of a trace. */
  readonly rows: ExportOptions["rows"] | "trace";
  /** How many. */
  readonly count: number;
  /** Where to. */
  readonly output: string;
  /** Bytes written. */
  readonly bytes: number;
  /** Lines that were left out. */
  readonly problems: ProblemsReport;
}

/** What is made of a log while it is read. */
interface Exporter {
  readonly visitor: LogVisitor & { readonly rows: number };
  /** Completes the output; `isCut` if the input could not be read to its end. */
  end(isCut: boolean): void | Promise<void>;
}

/**
 * Runs `giommu export`.
 *
 * @param args What was typed after `export`.
 * @returns The exit status.
 * @throws {UsageError} If the arguments are bad, the input is no log or one without timestamps where they are needed, or the output
 * cannot be written.
 * @throws {IommuError} `"bad-input"` if the input cannot be read to its end; then there is no file.
 */
export async function exportCommand(args: readonly string[]): Promise<number> {
  const options = parseExportOptions(args);
  await using session = await Session.open(options);
  if (session.stream !== undefined) {
    throw new UsageError(
      `${session.name} is a migration stream, which has no events; giommu diff compares it with a log`,
    );
  }
  using output = new ExportOutput(options.output, options.input);
  const exporter = await exporterFor(options, session, output);
  let events: number;
  try {
    events = await walkLog(session, exporter.visitor);
  } catch (error) {
    // Whoever reads along gets all that could be read, complete in its form. A file does not appear.
    if (options.output === undefined && exporter.visitor.rows > 0) {
      await exporter.end(true);
      output.finish();
    }
    throw error;
  }
  await session.readRest(); // a log without any event says so
  await exporter.end(false);
  output.finish();
  if (options.output !== undefined) tell(options, options.output, session, events, exporter.visitor.rows, output.bytes);
  return 0;
}

async function exporterFor(options: ExportOptions, session: Session, output: ExportOutput): Promise<Exporter> {
  const { machine } = session;
  if (options.format === "perfetto") {
    const visitor = new PerfettoTrace(output, machine);
    return {
      visitor,
      end: () => {
        if (!visitor.isTimed) {
          throw new UsageError(
            `${session.name} has no timestamps, which a trace is drawn by (QEMU prints them with -msg timestamp=on)`,
          );
        }
        visitor.end();
      },
    };
  }
  if (options.rows === "events") {
    const writer = await writerFor(options, EVENT_COLUMNS, output);
    return { visitor: new EventRows(writer, () => machine.tables), end: () => writer.end() };
  }
  const writer = await writerFor(options, LIFETIME_COLUMNS, output);
  const visitor = new LifetimeRows(writer, machine);
  return {
    visitor,
    end: (isCut) => {
      // Where the input is damaged, nobody knows how long the others lasted.
      if (!isCut) visitor.end();
      if (visitor.rows === 0 && machine.tables.length === 0) {
        throw new UsageError(`${session.name} shows no sPAPR table, and no mapping of one`);
      }
      return writer.end();
    },
  };
}

async function writerFor(
  { format }: ExportOptions,
  columns: readonly Column[],
  output: ExportOutput,
): Promise<RowWriter> {
  if (format === "csv") return new CsvWriter(columns, output);
  return format === "jsonl" ? new JsonLinesWriter(columns, output) : await parquetWriter(columns, output);
}

/** Says what was written. */
function tell(
  { format, rows, json }: ExportOptions,
  path: string,
  session: Session,
  events: number,
  count: number,
  bytes: number,
): void {
  const what = format === "perfetto" ? "trace" : rows;
  const { counts, problems } = session;
  const input: InputReport = { ...counts, events };
  const report: ExportReport = { input, format, rows: what, count, output: path, bytes, problems };
  if (json) return writeJson(report);
  const style = styleFor(Deno.stdout.isTerminal(), Deno.noColor);
  const noun = what === "trace" ? "event of the trace" : "row";
  const rowsText = counted(count, noun, what === "trace" ? "events of the trace" : "rows");
  let text = renderInput(session.name, input, style) +
    line("Written", style.bold(path), `: ${rowsText}, ${fileSize(bytes)}`);
  if (format === "perfetto") text += line("", style.dim("open it in https://ui.perfetto.dev"));
  for (const note of session.notes) text += line("Note", note);
  write(text);
}
