import type { AddressRange } from "@giommu/core";
import { parseArgs } from "@std/cli/parse-args";
import { parsePage, parseRange, parseSize, parseWhole, parseWindow, type WindowOption } from "./quantity.ts";
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

/** What every subcommand takes. */
export interface InputOptions {
  /** A path, or `-` for standard input. */
  readonly input: string;
  /** Whether one JSON object is wanted on standard output. */
  readonly json: boolean;
  /** Geometry of tables that the input does not tell. */
  readonly windows: readonly WindowOption[];
}

/** The options of `giommu replay`. */
export interface ReplayOptions extends InputOptions {
  /** Where to attach. */
  readonly at: Where;
  /** The PHB's index, where one was chosen. */
  readonly phb: number | undefined;
  /** Only these tables are attached; all of the PHB's where empty. */
  readonly liobns: readonly number[];
  /** The kind of host. */
  readonly host: HostOption;
  /** The host's page, as a power of two, where given. */
  readonly hostPageShift: number | undefined;
  /** The host's IOVA ranges, where given. */
  readonly iovaRanges: readonly AddressRange[];
  /** The host's limit of mappings, where given. */
  readonly maxMappings: number | undefined;
  /** The guest's RAM in bytes, from address 0; everything is RAM where absent. */
  readonly ram: bigint | undefined;
  /** How neighbouring pages become host maps. */
  readonly coalesce: PolicyOption;
  /** A file for the live host mappings at the end, where wanted. */
  readonly dump: string | undefined;
}

/** Which host `giommu hotplug` plugs into. */
export type PlugHost =
  | { readonly kind: "sim" }
  | { readonly kind: "vfio"; readonly group: number }
  | { readonly kind: "iommufd"; readonly device: string };

/** The options of `giommu hotplug`. */
export interface HotplugOptions extends InputOptions {
  /** Where to attach. */
  readonly at: Where;
  /** The PHB's index, where one was chosen. */
  readonly phb: number | undefined;
  /** Only these tables are attached; all of the PHB's where empty. */
  readonly liobns: readonly number[];
  /** The host. */
  readonly host: PlugHost;
  /** The PCI address of the device in the group, where one was chosen. */
  readonly device: string | undefined;
  /** The guest's RAM in bytes, from address 0. */
  readonly ram: bigint;
  /** How neighbouring pages become host maps. */
  readonly coalesce: PolicyOption;
  /** Whether nothing is to be done but the plan. */
  readonly plan: boolean;
  /** Whether the device is to read and write through a sample of the mappings. */
  readonly verifyDma: boolean;
}

/** The options of `giommu check`. */
export interface CheckOptions extends InputOptions {
  /** A migration stream to compare the end state with, where given. */
  readonly state: string | undefined;
}

/** The known options of one subcommand. */
interface Known {
  readonly once: readonly string[];
  readonly many?: readonly string[];
  readonly flags?: readonly string[];
}

const REPLAY: Known = {
  once: ["at", "phb", "host", "host-page", "max-mappings", "ram", "coalesce", "dump"],
  many: ["window", "liobn", "iova-range"],
};
const HOTPLUG: Known = {
  once: ["at", "phb", "host", "device", "ram", "coalesce"],
  many: ["window", "liobn"],
  flags: ["plan", "verify-dma"],
};
/** Enough for every recording; none of it is there before it is used. */
const DEFAULT_RAM = 4n << 30n;
const CHECK: Known = { once: ["state"], many: ["window"] };

/** What was typed, by option. */
class Typed {
  readonly positional: readonly string[];
  readonly json: boolean;
  readonly #values: Readonly<Record<string, unknown>>;

  constructor(args: readonly string[], known: Known) {
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

  flag(option: string): boolean {
    return this.#values[option] === true;
  }

  all(option: string): readonly string[] {
    const value = this.#values[option];
    const list = value === undefined ? [] : Array.isArray(value) ? value : [value];
    if (list.includes("")) throw new UsageError(`--${option} needs a value`);
    return list as readonly string[];
  }

  one(option: string): string | undefined {
    return this.all(option)[0];
  }

  oneOf<const T extends string>(option: string, allowed: readonly T[], otherwise: T): T {
    const text = this.one(option);
    if (text === undefined) return otherwise;
    const found = allowed.find((value) => value === text);
    if (found === undefined) throw new UsageError(`--${option}: '${text}' is not one of ${allowed.join(", ")}`);
    return found;
  }

  input(): InputOptions {
    const [input, ...more] = this.positional;
    if (input === undefined) {
      throw new UsageError("no input given; name a QEMU log or a migration stream, or - for standard input");
    }
    if (more.length > 0) throw new UsageError(`one input at a time: '${more[0]}' is one too many`);
    const windows = this.all("window").map(parseWindow);
    for (const [at, { liobn }] of windows.entries()) {
      if (windows.findIndex((other) => other.liobn === liobn) < at) {
        throw new UsageError(`--window: 0x${liobn.toString(16)} was given twice`);
      }
    }
    return { input, json: this.json, windows };
  }
}

/**
 * Reads the arguments of `giommu replay`.
 *
 * @param args What was typed after the subcommand.
 * @returns The options.
 * @throws {UsageError} If anything is unknown or out of range.
 */
export function parseReplayOptions(args: readonly string[]): ReplayOptions {
  const typed = new Typed(args, REPLAY);
  const phb = typed.one("phb");
  const hostPage = typed.one("host-page");
  const maxMappings = typed.one("max-mappings");
  const ram = typed.one("ram");
  const dump = typed.one("dump");
  if (dump !== undefined && !/\.(csv|json)$/i.test(dump)) {
    throw new UsageError(`--dump: '${dump}' must end in .csv or .json, which says the format`);
  }
  const iovaRanges = typed.all("iova-range").map((text) => parseRange("--iova-range", text))
    .toSorted((a, b) => a.start < b.start ? -1 : 1);
  for (const [at, range] of iovaRanges.entries()) {
    const before = iovaRanges[at - 1];
    if (before !== undefined && range.start <= before.last) {
      throw new UsageError("--iova-range: the ranges overlap");
    }
  }
  return {
    ...typed.input(),
    at: parseWhere(typed.one("at")),
    phb: phb === undefined ? undefined : parseWhole("--phb", phb, 0, 255),
    liobns: typed.all("liobn").map((text) => parseWhole("--liobn", text)),
    host: typed.oneOf("host", HOSTS, "sim"),
    hostPageShift: hostPage === undefined ? undefined : parsePage("--host-page", hostPage),
    iovaRanges,
    maxMappings: maxMappings === undefined ? undefined : parseWhole("--max-mappings", maxMappings),
    ram: ram === undefined ? undefined : parseRam(ram),
    coalesce: typed.oneOf("coalesce", POLICIES, "auto"),
    dump,
  };
}

/**
 * Reads the arguments of `giommu hotplug`.
 *
 * @param args What was typed after the subcommand.
 * @returns The options.
 * @throws {UsageError} If anything is unknown or out of range.
 */
export function parseHotplugOptions(args: readonly string[]): HotplugOptions {
  const typed = new Typed(args, HOTPLUG);
  const phb = typed.one("phb");
  const ram = typed.one("ram");
  const host = parsePlugHost(typed.one("host") ?? "sim");
  const options = {
    ...typed.input(),
    at: parseWhere(typed.one("at")),
    phb: phb === undefined ? undefined : parseWhole("--phb", phb, 0, 255),
    liobns: typed.all("liobn").map((text) => parseWhole("--liobn", text)),
    host,
    device: typed.one("device"),
    ram: ram === undefined ? DEFAULT_RAM : parseRam(ram),
    coalesce: typed.oneOf("coalesce", POLICIES, "auto"),
    plan: typed.flag("plan"),
    verifyDma: typed.flag("verify-dma"),
  };
  if (host.kind !== "vfio" && options.device !== undefined) {
    throw new UsageError("--device names one of a group's devices: it goes with --host vfio:GROUP");
  }
  if (host.kind === "sim" && options.verifyDma) throw new UsageError("--verify-dma needs a real device");
  return options;
}

function parsePlugHost(text: string): PlugHost {
  const [, kind, which = ""] = /^(vfio|iommufd):(.+)$/.exec(text) ?? [];
  if (kind === "vfio") return { kind, group: parseWhole("--host vfio", which) };
  if (kind === "iommufd") return { kind, device: which };
  if (text === "sim") return { kind: "sim" };
  throw new UsageError(`--host: '${text}' is none of vfio:GROUP, iommufd:DEVICE, sim`);
}

function parseRam(text: string): bigint {
  const size = parseSize("--ram", text);
  if (size === 0n) {
    throw new UsageError("--ram: a guest without RAM has nothing to map; leave the option out for everything is RAM");
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
  const typed = new Typed(args, CHECK);
  const state = typed.one("state");
  const options = { ...typed.input(), state };
  if (options.input === "-" && state === "-") throw new UsageError("--state: standard input is already the input");
  return options;
}
