import type { WindowOption } from "./quantity.ts";
import { type KnownOptions, TypedArguments } from "./typed_arguments.ts";
import { UsageError } from "./usage_error.ts";
import { parseWhere, type Where } from "./where.ts";

/** One of the two states that are compared. */
export interface DiffSide {
  /** A path, or `-` for standard input. */
  readonly input: string;
  /** Where in a log; its end unless given. */
  readonly at: Where;
  /** Whether that was said of this side alone: of a migration stream it must not be. */
  readonly isOwn: boolean;
}

/** The options of `giommu diff`. */
export interface DiffOptions {
  /** The one state. */
  readonly a: DiffSide;
  /** The other. */
  readonly b: DiffSide;
  /** Whether one JSON object is wanted on standard output. */
  readonly json: boolean;
  /** Geometry of tables that the inputs do not tell. */
  readonly windows: readonly WindowOption[];
}

const DIFF: KnownOptions = { once: ["at", "at-a", "at-b"], many: ["window"] };

/**
 * Reads the arguments of `giommu diff`.
 *
 * @param args What was typed after the subcommand.
 * @returns The options.
 * @throws {UsageError} If anything is unknown or out of range.
 */
export function parseDiffOptions(args: readonly string[]): DiffOptions {
  const typed = new TypedArguments(args, DIFF);
  const [a, second, ...more] = typed.positional;
  if (a === undefined) throw new UsageError("no input given; name two logs or migration streams, or one log twice");
  if (more.length > 0) throw new UsageError(`two inputs are compared: '${more[0]}' is one too many`);
  const [at, atA, atB] = [typed.one("at"), typed.one("at-a"), typed.one("at-b")];
  if (at !== undefined && atA !== undefined && atB !== undefined) {
    throw new UsageError("--at: both sides have a place of their own already (--at-a, --at-b)");
  }
  if (second === undefined && (atA ?? at) === (atB ?? at)) {
    throw new UsageError("one input given, and no two places in it; name another input, or --at-a and --at-b");
  }
  const b = second ?? a;
  if (a === "-" && b === "-") throw new UsageError("standard input can be one of the two states only");
  const side = (input: string, own: string | undefined): DiffSide => {
    const place = own ?? at;
    return { input, at: place === undefined ? { kind: "end" } : parseWhere(place), isOwn: own !== undefined };
  };
  return { a: side(a, atA), b: side(b, atB), json: typed.json, windows: typed.windows() };
}
