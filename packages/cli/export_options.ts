import { type InputOptions, type KnownOptions, TypedArguments } from "./typed_arguments.ts";
import { UsageError } from "./usage_error.ts";

/** The formats that `--format` takes. */
export const FORMATS = ["perfetto", "csv", "jsonl", "parquet"] as const;
/** One of {@linkcode FORMATS}. */
export type ExportFormat = typeof FORMATS[number];

/** The options of `giommu export`. */
export interface ExportOptions extends InputOptions {
  /** In which format. */
  readonly format: ExportFormat;
  /** What a row is, where the format has rows. */
  readonly rows: "events" | "lifetimes";
  /** The file; standard output where absent. */
  readonly output: string | undefined;
}

const EXPORT: KnownOptions = { once: ["format", "rows", "output"], many: ["window"] };

/**
 * Reads the arguments of `giommu export`.
 *
 * @param args What was typed after the subcommand.
 * @returns The options.
 * @throws {UsageError} If anything is unknown or out of range.
 */
export function parseExportOptions(args: readonly string[]): ExportOptions {
  const typed = new TypedArguments(args, EXPORT);
  const output = typed.one("output");
  const ending = /\.(csv|jsonl|parquet)$/i.exec(output ?? "")?.[1]?.toLowerCase();
  if (typed.one("format") === undefined && ending === undefined) {
    throw new UsageError(
      `--format: say one of ${FORMATS.join(", ")}; a file's name says it if it ends in one of the latter`,
    );
  }
  const format = typed.oneOf("format", FORMATS, ending as ExportFormat);
  if (format === "perfetto" && typed.one("rows") !== undefined) {
    throw new UsageError("--rows: a trace for Perfetto has tracks, no rows");
  }
  if (typed.json && output === undefined) {
    throw new UsageError("--json: standard output is where the export goes; give --output as well");
  }
  if (format === "parquet" && output === undefined && Deno.stdout.isTerminal()) {
    throw new UsageError("--format: parquet is nothing for a terminal; give --output, or a pipe");
  }
  return { ...typed.input(), format, rows: typed.oneOf("rows", ["events", "lifetimes"], "events"), output };
}
