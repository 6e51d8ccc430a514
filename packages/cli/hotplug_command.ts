import { ChangeWatch } from "./change_watch.ts";
import { checkDma } from "./dma_check.ts";
import { sampleDma } from "./dma_sample.ts";
import { errorReport, type Hotplug } from "./hotplug.ts";
import { type HotplugOptions, parseHotplugOptions } from "./hotplug_options.ts";
import { runHotplug, type RunOutcome, statusOf } from "./hotplug_run.ts";
import { write, writeJson } from "./output.ts";
import type { PlugHost } from "./plug_host.ts";
import { RealPlug } from "./real_plug.ts";
import { renderHotplug } from "./render_hotplug.ts";
import type { DmaReport, HotplugReport } from "./report.ts";
import { Session } from "./session.ts";
import { SimulatedPlug } from "./simulated_plug.ts";
import { styleFor } from "./terminal.ts";

/**
 * Runs `giommu hotplug`.
 *
 * @param args What was typed after `hotplug`.
 * @returns The exit status.
 * @throws {UsageError} If the arguments are bad, or the input has no such place or bridge.
 * @throws {IommuError} `"bad-input"` if the input cannot be read; `"backend-unavailable"` with what is missing for this host.
 * @throws {RangeError} If the device's address is none.
 */
export async function hotplugCommand(args: readonly string[]): Promise<number> {
  const options = parseHotplugOptions(args);
  await using session = await Session.open(options);
  const { report, outcome } = await run(session, options);
  if (options.json) writeJson(report);
  else write(renderHotplug(session.name, report, outcome, styleFor(Deno.stdout.isTerminal(), Deno.noColor)));
  return hotplugStatusOf(report);
}

async function run(
  session: Session,
  options: HotplugOptions,
): Promise<{ readonly report: HotplugReport; readonly outcome: RunOutcome }> {
  let found: Pick<HotplugReport, "plan" | "host" | "commit"> | undefined;
  let watch: ChangeWatch | undefined;
  let dma: DmaReport | null = null;
  const outcome = await runHotplug(session, options, {
    open: () => openPlug(options),
    begin: async (hotplug, plug) => {
      // Whether the device can do DMA is known before anything is attached.
      if (options.verifyDma) (await plug.dmaEngine(taken(hotplug)))[Symbol.dispose]();
      const plan = planOf(hotplug);
      found = { plan, host: hostOf(hotplug), commit: hotplug.commit };
      return !options.plan && hotplug.error === undefined;
    },
    attached: (hotplug, resources) => {
      if (options.verifyDma) {
        watch = resources.use(new ChangeWatch(hotplug.space, (range) => hotplug.mappings(range)));
      }
    },
    finish: async (hotplug, plug, resources) => {
      if (found !== undefined) found = { ...found, commit: hotplug.commit };
      if (watch !== undefined && hotplug.isAlive) dma = await verifyDma(session, hotplug, plug, watch, resources);
    },
  });
  if (found === undefined) throw new TypeError("Cannot report the hotplug: it was never begun");
  const { hotplug: { attached, line, liobns, unknownPages, maps }, ...rest } = outcome.report;
  const report = { ...rest, ...found, hotplug: { attached, line, liobns, unknownPages, maps }, dma };
  return { report, outcome };
}

function openPlug({ host, ram, verifyDma }: HotplugOptions): PlugHost {
  if (host.kind !== "sim") return new RealPlug(host, ram);
  return new SimulatedPlug({ rules: host.rules, choice: host, ram, hasBytes: verifyDma });
}

function planOf(hotplug: Hotplug): HotplugReport["plan"] {
  const { pages, extents, hostMaps, bytes, problems, refusal } = hotplug.plan();
  return {
    pages: Number(pages),
    extents,
    hostMaps,
    bytes: Number(bytes),
    problems: [...refusal === undefined ? [] : [refusal], ...problems].map((problem) => errorReport(problem)),
  };
}

function hostOf({ host: { info }, policy }: Hotplug): HotplugReport["host"] {
  const { name, split, iovaRanges, maxMappings = null } = info;
  return { name, split, iovaRanges, maxMappings, coalesce: policy };
}

async function verifyDma(
  session: Session,
  hotplug: Hotplug,
  plug: PlugHost,
  watch: ChangeWatch,
  resources: DisposableStack,
): Promise<DmaReport> {
  const { space } = hotplug;
  const memory = plug.bytes;
  if (memory === undefined) throw new TypeError("Cannot check DMA: the guest's memory has no bytes");
  const engine = resources.use(await plug.dmaEngine(taken(hotplug)));
  const sample = sampleDma(space, watch, engine.pagesPerKind);
  const truth = { space, memory, isWidened: !plug.host.info.writeOnly };
  return await checkDma(engine, truth, sample, (done) => {
    session.progress.say(() => `the device's DMA: page ${done + 1} of ${sample.pages.length}`);
  });
}

/** What of the bus belongs to the guest. */
function taken({ space }: Hotplug) {
  return space.sections.map(({ range }) => range);
}

/**
 * The exit status that a report means.
 *
 * @param report The report.
 * @returns 0 if guest, host and device agree, 1 if something differs, was refused or was not looked at.
 */
export function hotplugStatusOf(report: HotplugReport): 0 | 1 {
  const { dma } = report;
  const isSick = dma !== null && (dma.differences.length > 0 || dma.missed.length > 0);
  return isSick ? 1 : statusOf(report);
}
