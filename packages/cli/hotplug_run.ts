import { reach } from "./attach_point.ts";
import { chooseBridge } from "./bridge_choice.ts";
import { Hotplug } from "./hotplug.ts";
import { onInterrupt } from "./interrupt.ts";
import type { AttachChoice } from "./options.ts";
import type { PlugHost } from "./plug_host.ts";
import type { Pictures } from "./render.ts";
import type { HotplugParts, ReplayReport } from "./report.ts";
import type { Session } from "./session.ts";

/** How a run is done. */
export interface RunOptions extends AttachChoice {
  /** Whether nobody looks at pictures. */
  readonly json: boolean;
  /** Whether live neighbours may be without their translation for a moment. */
  readonly allowDmaHoles: boolean;
}

/** What else is done on the way. What is needed for longer than a step goes into `resources`, and is disposed first. */
export interface RunSteps {
  /** Opens the host, once it is known that the input has such a place and bridge. */
  open(): PlugHost;
  /** Nothing is attached yet; returns whether it is to be. */
  begin?(hotplug: Hotplug, plug: PlugHost): boolean | Promise<boolean>;
  /** The container is attached, and the guest has not gone on. */
  attached?(hotplug: Hotplug, resources: DisposableStack): void;
  /** The log is read as far as it goes, and the container still attached. */
  finish?(hotplug: Hotplug, plug: PlugHost, resources: DisposableStack): void | Promise<void>;
}

/** The report, and what only its text needs. */
export interface RunOutcome {
  /** What happened. */
  readonly report: ReplayReport;
  /** Where the tables were mapped at the hotplug. */
  readonly pictures: Pictures;
  /** The policy as asked for and as used. */
  readonly policy: string;
  /** What else a person should know. */
  readonly notes: readonly string[];
}

/**
 * Plugs a device into the guest of an input, follows the log, compares, and takes the device out again; also if somebody
 * presses Ctrl-C meanwhile.
 *
 * @param session The input, of which nothing was read.
 * @param options What is attached, where and how.
 * @param steps The host, and what else is done.
 * @returns What happened.
 * @throws {UsageError} If the input has no such place or bridge, or mappings are to be shared where that needs holes.
 * @throws {IommuError} `"bad-input"` if the input cannot be read; whatever `steps` throw.
 */
export async function runHotplug(session: Session, options: RunOptions, steps: RunSteps): Promise<RunOutcome> {
  const point = await reach(session, options.at);
  const choice = await chooseBridge(session, options, point.hotplug);
  const tables = session.tables;
  const pictures = options.json ? new Map() : session.pictures;
  using resources = new DisposableStack();
  const plug = resources.use(steps.open());
  const { allowDmaHoles } = options;
  const hotplug = resources.use(
    new Hotplug({ session, choice: options, index: choice.index, point, plug, allowDmaHoles }),
  );
  using _interrupt = onInterrupt(() => {
    session.progress.clear();
    const isAttached = hotplug.isAttached;
    resources.dispose();
    if (isAttached) console.error("giommu: interrupted; the device is detached");
  });
  const qemu = hotplug.comparison ?? null;
  const isWanted = await (steps.begin?.(hotplug, plug) ?? true);
  const attached = isWanted ? hotplug.attach() : hotplug.notAttached();
  if (attached.attached) {
    steps.attached?.(hotplug, resources);
    await hotplug.follow();
  }
  const after = hotplug.after();
  const verify = hotplug.verify();
  await steps.finish?.(hotplug, plug, resources);
  // A refused change was taken back, so that what the log says after it fits no more: the rest is not compared then.
  const compared = hotplug.error === undefined ? undefined : answers(session);
  resources.dispose();
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
function isCutInReplay({ after, qemu, hotplug }: HotplugParts): boolean {
  return hotplug.attached && after.events === 0 && qemu !== null && qemu.extra > 0;
}

/**
 * The exit status that a report means.
 *
 * @param report The report.
 * @returns 0 if guest and host agree, 1 if something differs or was refused.
 */
export function statusOf(report: HotplugParts): 0 | 1 {
  const { error, verify, qemu, translations, reads } = report;
  const extra = isCutInReplay(report) ? 0 : qemu?.extra ?? 0;
  const wrong = verify.missing + verify.stale + verify.differing + (qemu?.missing ?? 0) + extra;
  return error !== undefined || wrong > 0 || translations.disagreed + reads.disagreed > 0 ? 1 : 0;
}
