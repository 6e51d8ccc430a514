import { reach } from "./attach_point.ts";
import { writeDump } from "./dump.ts";
import { Hotplug } from "./hotplug.ts";
import { parseReplayOptions, type ReplayOptions } from "./options.ts";
import { write, writeJson } from "./output.ts";
import { chooseBridge } from "./bridge_choice.ts";
import { type Pictures, renderReplay } from "./render.ts";
import type { ReplayReport } from "./report.ts";
import { Session } from "./session.ts";
import { styleFor } from "./terminal.ts";

/**
 * Runs `giommu replay`.
 *
 * @param args What was typed after `replay`.
 * @returns The exit status.
 * @throws {UsageError} If the arguments are bad, or the input has no such place or bridge.
 * @throws {IommuError} `"bad-input"` if the input cannot be read.
 */
export async function replayCommand(args: readonly string[]): Promise<number> {
  const options = parseReplayOptions(args);
  await using session = await Session.open(options);
  const { report, pictures, policy, notes } = await run(session, options);
  if (options.json) writeJson(report);
  else {
    const style = styleFor(Deno.stdout.isTerminal(), Deno.noColor);
    write(renderReplay(session.name, report, pictures, policy, notes, style));
  }
  return statusOf(report);
}

/** The report, and what only its text needs. */
interface Outcome {
  readonly report: ReplayReport;
  readonly pictures: Pictures;
  readonly policy: string;
  readonly notes: readonly string[];
}

async function run(session: Session, options: ReplayOptions): Promise<Outcome> {
  const point = await reach(session, options.at);
  const choice = await chooseBridge(session, options, point.hotplug);
  const tables = session.tables;
  const pictures = options.json ? new Map() : session.pictures;
  using hotplug = new Hotplug(session, options, choice.index, point);
  const qemu = hotplug.comparison ?? null;
  const attached = hotplug.attach();
  if (hotplug.error === undefined) await hotplug.follow();
  const after = hotplug.after();
  const verify = hotplug.verify();
  if (options.dump !== undefined) writeDump(options.dump, hotplug.host.mappings(), options.input);
  // A refused change was taken back, so that what the log says after it fits no more: the rest is not compared then.
  const compared = hotplug.error === undefined ? undefined : answers(session);
  hotplug.end();
  await session.readRest();
  const { translations, reads, disagreements } = compared ?? answers(session);
  const report: ReplayReport = {
    input: session.counts,
    tables,
    hotplug: attached,
    after,
    verify,
    qemu,
    translations,
    reads,
    problems: session.problems,
    disagreements,
    hotplugs: session.machine.hotplugs.map(({ line, liobns }) => ({ line, liobns: liobns.map(BigInt) })),
    ...(hotplug.error !== undefined && { error: hotplug.error }),
  };
  const cut = isCutInReplay(report)
    ? ["the log ends in the middle of QEMU's replay: what is extra here may have come later"]
    : [];
  return { report, pictures, policy: hotplug.policy, notes: [...choice.notes(), ...cut, ...session.notes] };
}

/** How the log's answers and the tables met so far. */
function answers({ machine, disagreements }: Session): Pick<ReplayReport, "translations" | "reads" | "disagreements"> {
  return { translations: machine.translations, reads: machine.reads, disagreements };
}

/** Whether the log ends before QEMU's replay did: what QEMU did not tell of by then, it may have told of later. */
function isCutInReplay({ after, qemu, hotplug }: ReplayReport): boolean {
  return hotplug.attached && after.events === 0 && qemu !== null && qemu.extra > 0;
}

/**
 * The exit status that a report means.
 *
 * @param report The report.
 * @returns 0 if guest and host agree, 1 if something differs or was refused.
 */
export function statusOf(report: ReplayReport): 0 | 1 {
  const { error, verify, qemu, translations, reads } = report;
  const extra = isCutInReplay(report) ? 0 : qemu?.extra ?? 0;
  const wrong = verify.missing + verify.stale + verify.differing + (qemu?.missing ?? 0) + extra;
  return error !== undefined || wrong > 0 || translations.disagreed + reads.disagreed > 0 ? 1 : 0;
}
