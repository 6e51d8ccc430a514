import { ATTACH, type AttachChoice, attachChoice, type SimulatedChoice, simulatedChoice } from "./options.ts";
import { parseWhole } from "./quantity.ts";
import { type InputOptions, type KnownOptions, TypedArguments } from "./typed_arguments.ts";
import { UsageError } from "./usage_error.ts";

/** Whose rules the simulated host of `giommu hotplug` may follow. */
const RULES = ["none", "type1", "iommufd", "spapr"] as const;

/** A simulated host. */
export interface SimulatedHostChoice extends SimulatedChoice {
  /** It is simulated. */
  readonly kind: "sim";
  /** Whose rules it follows. */
  readonly rules: typeof RULES[number];
}

/** A real host, and the device that is plugged in. */
export type RealHostChoice =
  | {
    /** A VFIO container. */
    readonly kind: "vfio";
    /** The number of its IOMMU group. */
    readonly group: number;
    /** The PCI address of a device in the group, where one was named. */
    readonly device: string | undefined;
  }
  | {
    /** An I/O address space of iommufd. */
    readonly kind: "iommufd";
    /** The device's PCI address, or its name in `/dev/vfio/devices`. */
    readonly device: string;
  };

/** The options of `giommu hotplug`. */
export interface HotplugOptions extends InputOptions, AttachChoice {
  /** The host. */
  readonly host: SimulatedHostChoice | RealHostChoice;
  /** Whether live neighbours may be without their translation for a moment. */
  readonly allowDmaHoles: boolean;
  /** Whether nothing is to be done but the plan. */
  readonly plan: boolean;
  /** Whether the device is to read and write through a sample of the mappings. */
  readonly verifyDma: boolean;
}

const HOTPLUG: KnownOptions = {
  ...ATTACH,
  once: [...ATTACH.once, "host", "device"],
  flags: ["plan", "verify-dma", "allow-dma-holes"],
};
/** What a real host says of itself. */
const SIMULATED_ONLY = ["host-page", "iova-range", "max-mappings"];

/**
 * Reads the arguments of `giommu hotplug`.
 *
 * @param args What was typed after the subcommand.
 * @returns The options.
 * @throws {UsageError} If anything is unknown or out of range, or does not go together.
 */
export function parseHotplugOptions(args: readonly string[]): HotplugOptions {
  const typed = new TypedArguments(args, HOTPLUG);
  const options = {
    ...typed.input(),
    ...attachChoice(typed),
    host: hostChoice(typed),
    allowDmaHoles: typed.flag("allow-dma-holes"),
    plan: typed.flag("plan"),
    verifyDma: typed.flag("verify-dma"),
  };
  if (options.plan && options.verifyDma) {
    throw new UsageError("--verify-dma: with --plan nothing is mapped, so that there is nothing to verify");
  }
  return options;
}

function hostChoice(typed: TypedArguments): SimulatedHostChoice | RealHostChoice {
  const text = typed.one("host");
  const device = typed.one("device");
  if (text === undefined) throw new UsageError("--host is missing; give vfio:GROUP, iommufd:DEVICE or sim");
  const [, kind, which] = /^(vfio|iommufd|sim)(?::(.+))?$/.exec(text) ?? [];
  if (kind === "sim") {
    const rules = RULES.find((name) => name === (which ?? "none"));
    if (rules === undefined) throw new UsageError(`--host: '${which}' is none of ${RULES.slice(1).join(", ")}`);
    if (device !== undefined) throw new UsageError("--device: a simulated host has no devices to choose from");
    return { kind, rules, ...simulatedChoice(typed) };
  }
  if (kind === undefined || which === undefined) {
    throw new UsageError(`--host: '${text}' is none of vfio:GROUP, iommufd:DEVICE, sim`);
  }
  const wrong = SIMULATED_ONLY.find((option) => typed.all(option).length > 0);
  if (wrong !== undefined) throw new UsageError(`--${wrong}: a real host says so itself; it goes with --host sim`);
  if (kind === "vfio") return { kind, group: parseWhole("--host vfio:GROUP", which), device };
  if (device !== undefined && device !== which) {
    throw new UsageError(`--device: --host iommufd:${which} names it already`);
  }
  return { kind: "iommufd", device: which };
}
