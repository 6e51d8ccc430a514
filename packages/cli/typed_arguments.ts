import { parseArgs } from "@std/cli/parse-args";
import { parseWindow, type WindowOption } from "./quantity.ts";
import { UsageError } from "./usage_error.ts";

/** What every subcommand takes. */
export interface InputOptions {
  /** A path, or `-` for standard input. */
  readonly input: string;
  /** Whether one JSON object is wanted on standard output. */
  readonly json: boolean;
  /** Geometry of tables that the input does not tell. */
  readonly windows: readonly WindowOption[];
}

/** The known options of one subcommand. */
export interface KnownOptions {
  /** Those with a value, given once at most. */
  readonly once: readonly string[];
  /** Those with a value, given as often as wanted. */
  readonly many?: readonly string[];
  /** Those without a value, beside `--json`. */
  readonly flags?: readonly string[];
}

/** What was typed, by option. */
export class TypedArguments {
  /** What belongs to no option. */
  readonly positional: readonly string[];
  /** Whether one JSON object is wanted. */
  readonly json: boolean;
  readonly #values: Readonly<Record<string, unknown>>;

  /** Sorts what was typed. Throws `UsageError` for what is unknown, or given too often. */
  constructor(args: readonly string[], known: KnownOptions) {
    const unknown: string[] = [];
    const strings = [...known.once, ...known.many ?? []];
    const parsed = parseArgs([...args], {
      // "_": a file may be called 007.
      string: [...strings, "_"],
      boolean: ["json", ...known.flags ?? []],
      collect: strings,
      unknown: (arg: string, key?: string) => {
        // A lone "-" is standard input; what has no key is a positional argument.
        if (key === undefined || arg === "-") return true;
        unknown.push(arg);
        return false;
      },
    }) as Readonly<Record<string, unknown>>;
    if (unknown.length > 0) throw new UsageError(`unknown option ${unknown[0]}; --help lists the options`);
    this.#values = parsed;
    this.json = parsed["json"] === true;
    this.positional = (parsed["_"] as readonly unknown[]).map(String);
    for (const option of known.once) {
      if (this.all(option).length > 1) throw new UsageError(`--${option} was given more than once`);
    }
  }

  /** Whether an option without a value was given. */
  flag(option: string): boolean {
    return this.#values[option] === true;
  }

  /** The values of an option, in the order in which they were given. */
  all(option: string): readonly string[] {
    const value = this.#values[option];
    const list = value === undefined ? [] : Array.isArray(value) ? value : [value];
    if (list.includes("")) throw new UsageError(`--${option} needs a value`);
    return list as readonly string[];
  }

  /** The value of an option; `undefined` where it was not given. */
  one(option: string): string | undefined {
    return this.all(option)[0];
  }

  /** The value of an option that takes some words only. */
  oneOf<const T extends string>(option: string, allowed: readonly T[], otherwise: T): T {
    const text = this.one(option);
    if (text === undefined) return otherwise;
    const found = allowed.find((value) => value === text);
    if (found === undefined) throw new UsageError(`--${option}: '${text}' is not one of ${allowed.join(", ")}`);
    return found;
  }

  /** What every subcommand takes. */
  input(): InputOptions {
    const [input, ...more] = this.positional;
    if (input === undefined) {
      throw new UsageError("no input given; name a QEMU log or a migration stream, or - for standard input");
    }
    if (more.length > 0) throw new UsageError(`one input at a time: '${more[0]}' is one too many`);
    return { input, json: this.json, windows: this.windows() };
  }

  /** The geometries that were given by `--window`. */
  windows(): readonly WindowOption[] {
    const windows = this.all("window").map(parseWindow);
    for (const [at, { liobn }] of windows.entries()) {
      if (windows.findIndex((other) => other.liobn === liobn) < at) {
        throw new UsageError(`--window: 0x${liobn.toString(16)} was given twice`);
      }
    }
    return windows;
  }
}
