import { reach } from "./attach_point.ts";
import { chooseBridge } from "./bridge_choice.ts";
import { type HotplugOptions, parseHotplugOptions } from "./options.ts";
import { write, writeJson } from "./output.ts";
import { Plug } from "./plug.ts";
import { renderHotplug } from "./render_hotplug.ts";
import type { HotplugReport } from "./report.ts";
import { Session } from "./session.ts";
import { styleFor } from "./terminal.ts";

/**
 * Runs `giommu hotplug`.
 *
 * @param args What was typed after `hotplug`.
 * @returns The exit status: 0 if guest, host and device agree, 1 if something differs or was refused.
 * @throws {UsageError} If the arguments are bad, or the input has no such place or bridge.
 * @throws {IommuError} `"bad-input"` if the input cannot be read; `"backend-unavailable"` if there is no such host here.
 */
export async function hotplugCommand(args: readonly string[]): Promise<number> {
  const options = parseHotplugOptions(args);
  await using session = await Session.open(options);
  const { report, policy } = await run(session, options);
  if (options.json) writeJson(report);
  else write(renderHotplug(session.name, report, policy, styleFor(Deno.stdout.isTerminal(), Deno.noColor)));
  return statusOf(report);
}

async function run(
  session: Session,
  options: HotplugOptions,
): Promise<{ readonly report: HotplugReport; readonly policy: string }> {
  const point = await reach(session, options.at);
  const { index } = await chooseBridge(session, options, point.hotplug);
  const tables = session.tables;
  const plug = new Plug(session, options, index);
  let plan: HotplugReport["plan"];
  let commit: HotplugReport["commit"] = null;
  let after: HotplugReport["after"] = null;
  let verify: HotplugReport["verify"] = null;
  let dma: HotplugReport["dma"] = null;
  try {
    plan = plug.plan();
    if (!options.plan && plug.error === undefined) commit = plug.attach();
    if (commit !== null) {
      await plug.follow();
      after = plug.after();
      verify = plug.verify();
      if (options.verifyDma) dma = await plug.verifyDma();
    }
  } finally {
    plug.end();
  }
  await session.readRest();
  const { error } = plug;
  const report = {
    input: session.counts,
    tables,
    plan,
    commit,
    after,
    verify,
    dma,
    ...(error !== undefined && { error }),
  };
  return { report, policy: plug.policy };
}

/**
 * The exit status that a report means.
 *
 * @param report The report.
 * @returns 0 if guest, host and device agree, 1 if something differs or was refused.
 */
export function statusOf({ error, verify, dma }: HotplugReport): 0 | 1 {
  const differing = verify === null ? 0 : verify.missing + verify.stale + verify.differing;
  const unseen = dma === null ? 0 : dma.checked - dma.agreed + dma.missed.length + (dma.checked === 0 ? 1 : 0);
  return error !== undefined || differing + unseen > 0 ? 1 : 0;
}
