import { parseCheckOptions } from "./options.ts";
import { write, writeJson } from "./output.ts";
import { renderCheck } from "./render.ts";
import type { CheckReport, StateReport } from "./report.ts";
import { readStream, Session } from "./session.ts";
import { styleFor } from "./terminal.ts";

/**
 * Runs `giommu check`.
 *
 * @param args What was typed after `check`.
 * @returns The exit status.
 * @throws {UsageError} If the arguments are bad.
 * @throws {IommuError} `"bad-input"` if an input cannot be read.
 */
export async function checkCommand(args: readonly string[]): Promise<number> {
  const options = parseCheckOptions(args);
  await using session = await Session.open(options);
  await session.readRest();
  const state = options.state === undefined ? null : await compareWith(options.state, session);
  const report: CheckReport = {
    input: session.counts,
    tables: session.tables,
    translations: session.machine.translations,
    reads: session.machine.reads,
    problems: session.problems,
    state,
    disagreements: session.disagreements,
  };
  if (options.json) writeJson(report);
  else {
    const style = styleFor(Deno.stdout.isTerminal(), Deno.noColor);
    write(renderCheck(session.name, report, session.pictures, session.notes, style));
  }
  const differs = report.translations.disagreed + report.reads.disagreed > 0 ||
    (state ?? []).some(({ differing }) => differing > 0);
  return differs ? 1 : 0;
}

/** Compares the tables at the end with a migration stream. */
async function compareWith(path: string, session: Session): Promise<StateReport[]> {
  using stream = await readStream(path);
  const compared = session.machine.compareState(stream).map((
    { liobn, entries, agreed, differing, unknown, differences },
  ) => ({
    liobn: BigInt(liobn),
    entries,
    agreed,
    differing,
    unknown,
    differences,
  }));
  // What the log has mapped in a table that the stream lacks is not the same on both sides.
  const there = new Set(compared.map(({ liobn }) => liobn));
  const absent = session.machine.tables.filter(({ liobn, mapped }) => mapped > 0 && !there.has(BigInt(liobn)));
  return [
    ...compared,
    ...absent.map(({ liobn, entries, mapped }) => ({
      liobn: BigInt(liobn),
      entries,
      agreed: 0,
      differing: mapped,
      unknown: entries - mapped,
      absent: true as const,
    })),
  ];
}
