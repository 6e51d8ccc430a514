import { writeDump } from "./dump.ts";
import { runHotplug, statusOf } from "./hotplug_run.ts";
import { parseReplayOptions } from "./options.ts";
import { write, writeJson } from "./output.ts";
import { renderReplay } from "./render.ts";
import { Session } from "./session.ts";
import { SimulatedPlug } from "./simulated_plug.ts";
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
  const { host, ram, dump } = options;
  await using session = await Session.open(options);
  // There is no device here that a hole could hurt: holes are allowed, and counted in the report.
  const { report, pictures, policy, notes } = await runHotplug(session, { ...options, allowDmaHoles: true }, {
    open: () => new SimulatedPlug({ rules: host === "sim" ? "none" : host, choice: options, ram, hasBytes: false }),
    finish: (hotplug) => {
      if (dump !== undefined) writeDump(dump, hotplug.host.mappings?.() ?? [], options.input);
    },
  });
  if (options.json) writeJson(report);
  else {
    const style = styleFor(Deno.stdout.isTerminal(), Deno.noColor);
    write(renderReplay(session.name, report, pictures, policy, notes, style));
  }
  return statusOf(report);
}
