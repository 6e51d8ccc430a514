import type { AddressRange } from "@giommu/core";
import { parsePage, parseRange, parseSize, parseWhole } from "./quantity.ts";
import { type InputOptions, type KnownOptions, TypedArguments } from "./typed_arguments.ts";
import { UsageError } from "./usage_error.ts";
import { parseWhere, type Where } from "./where.ts";

/** The kinds of simulated host that `--host` takes. */
export const HOSTS = ["sim", "type1", "iommufd", "spapr"] as const;
/** One of {@linkcode HOSTS}. */
export type HostOption = typeof HOSTS[number];

/** The policies that `--coalesce` takes. */
export const POLICIES = ["auto", "none", "call", "full"] as const;
/** One of {@linkcode POLICIES}. */
export type PolicyOption = typeof POLICIES[number];

/** Where in a log a container is attached, to what, and how. */
export interface AttachChoice {
  /** Where to attach. */
  readonly at: Where;
  /** The PHB's index, where one was chosen. */
  readonly phb: number | undefined;
  /** Only these tables are attached; all of the PHB's where empty. */
  readonly liobns: readonly number[];
  /** The guest's RAM in bytes, from address 0; where absent, everything is RAM as far as the host can have it. */
  readonly ram: bigint | undefined;
  /** How neighbouring pages become host maps. */
  readonly coalesce: PolicyOption;
}

/** How a simulated host differs from the rules that it follows. */
export interface SimulatedChoice {
  /** Its page, as a power of two, where given. */
  readonly hostPageShift: number | undefined;
  /** Its IOVA ranges, where given. */
  readonly iovaRanges: readonly AddressRange[];
  /** Its limit of mappings, where given. */
  readonly maxMappings: number | undefined;
}

/** The options of `giommu replay`. */
export interface ReplayOptions extends InputOptions, AttachChoice, SimulatedChoice {
  /** The kind of host. */
  readonly host: HostOption;
  /** A file for the live host mappings at the end, where wanted. */
  readonly dump: string | undefined;
}

/** The options of `giommu check`. */
export interface CheckOptions extends InputOptions {
  /** A migration stream to compare the end state with, where given. */
  readonly state: string | undefined;
}

/** The options of `giommu conformance`. */
export interface ConformanceOptions {
  /** Recordings, and folders of recordings. */
  readonly inputs: readonly string[];
  /** Whether one JSON object is wanted on standard output. */
  readonly json: boolean;
}

/** The options of {@linkcode AttachChoice} and {@linkcode SimulatedChoice}. */
export const ATTACH: KnownOptions = {
  once: ["at", "phb", "ram", "coalesce", "host-page", "max-mappings"],
  many: ["window", "liobn", "iova-range"],
};
const REPLAY: KnownOptions = { ...ATTACH, once: [...ATTACH.once, "host", "dump"] };
const CHECK: KnownOptions = { once: ["state"], many: ["window"] };

/**
 * Reads the arguments of `giommu replay`.
 *
 * @param args What was typed after the subcommand.
 * @returns The options.
 * @throws {UsageError} If anything is unknown or out of range.
 */
export function parseReplayOptions(args: readonly string[]): ReplayOptions {
  const typed = new TypedArguments(args, REPLAY);
  const dump = typed.one("dump");
  if (dump !== undefined && !/\.(csv|json)$/i.test(dump)) {
    throw new UsageError(`--dump: '${dump}' must end in .csv or .json, which says the format`);
  }
  return {
    ...typed.input(),
    ...attachChoice(typed),
    ...simulatedChoice(typed),
    host: typed.oneOf("host", HOSTS, "sim"),
    dump,
  };
}

/**
 * Reads where and how a container is attached.
 *
 * @param typed What was typed.
 * @returns The options.
 * @throws {UsageError} If one is out of range.
 */
export function attachChoice(typed: TypedArguments): AttachChoice {
  const phb = typed.one("phb");
  const ram = typed.one("ram");
  return {
    at: parseWhere(typed.one("at")),
    phb: phb === undefined ? undefined : parseWhole("--phb", phb, 0, 255),
    liobns: typed.all("liobn").map((text) => parseWhole("--liobn", text)),
    ram: ram === undefined ? undefined : parseRam(ram),
    coalesce: typed.oneOf("coalesce", POLICIES, "auto"),
  };
}

/**
 * Reads how a simulated host differs from its rules.
 *
 * @param typed What was typed.
 * @returns The options.
 * @throws {UsageError} If one is out of range, or ranges overlap.
 */
export function simulatedChoice(typed: TypedArguments): SimulatedChoice {
  const hostPage = typed.one("host-page");
  const maxMappings = typed.one("max-mappings");
  const iovaRanges = typed.all("iova-range").map((text) => parseRange("--iova-range", text))
    .toSorted((a, b) => a.start < b.start ? -1 : 1);
  for (const [at, range] of iovaRanges.entries()) {
    const before = iovaRanges[at - 1];
    if (before !== undefined && range.start <= before.last) {
      throw new UsageError("--iova-range: the ranges overlap");
    }
  }
  return {
    hostPageShift: hostPage === undefined ? undefined : parsePage("--host-page", hostPage),
    iovaRanges,
    maxMappings: maxMappings === undefined ? undefined : parseWhole("--max-mappings", maxMappings),
  };
}

function parseRam(text: string): bigint {
  const size = parseSize("--ram", text);
  if (size === 0n) {
    throw new UsageError("--ram: a guest without RAM has nothing to map; leave the option out");
  }
  return size;
}

/**
 * Reads the arguments of `giommu check`.
 *
 * @param args What was typed after the subcommand.
 * @returns The options.
 * @throws {UsageError} If anything is unknown or out of range.
 */
export function parseCheckOptions(args: readonly string[]): CheckOptions {
  const typed = new TypedArguments(args, CHECK);
  const state = typed.one("state");
  const options = { ...typed.input(), state };
  if (options.input === "-" && state === "-") throw new UsageError("--state: standard input is already the input");
  return options;
}

/**
 * Reads the arguments of `giommu conformance`.
 *
 * @param args What was typed after the subcommand.
 * @returns The options.
 * @throws {UsageError} If anything is unknown, or no recording is named.
 */
export function parseConformanceOptions(args: readonly string[]): ConformanceOptions {
  const { positional: inputs, json } = new TypedArguments(args, { once: [] });
  if (inputs.length === 0) throw new UsageError("no recording given; name files or folders of .jsonl recordings");
  if (inputs.includes("")) throw new UsageError("a file has no name");
  return { inputs, json };
}
