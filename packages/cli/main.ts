/**
 * The command `giommu`.
 *
 * ```sh
 * deno run --allow-read jsr:@giommu/cli replay qemu.log
 * ```
 *
 * It needs leave to read its input, to write only where `--dump` or `--output` says so, and to load a library (`--allow-ffi`) only for
 * `hotplug` onto a real host.
 *
 * @module
 */

import { IommuError } from "@giommu/core";
import { checkCommand } from "./check.ts";
import { conformanceCommand } from "./conformance.ts";
import { diffCommand } from "./diff.ts";
import { doctorCommand } from "./doctor.ts";
import { exportCommand } from "./export.ts";
import {
  CHECK_HELP,
  CONFORMANCE_HELP,
  DIFF_HELP,
  DOCTOR_HELP,
  EXPORT_HELP,
  HELP,
  HOTPLUG_HELP,
  REPLAY_HELP,
} from "./help.ts";
import { hotplugCommand } from "./hotplug_command.ts";
import { interrupt } from "./interrupt.ts";
import { write } from "./output.ts";
import { replayCommand } from "./replay.ts";
import { UsageError } from "./usage_error.ts";

/** A subcommand: what `--help` prints, and what it does with what was typed after its name. */
interface Command {
  readonly help: string;
  run(args: readonly string[]): Promise<number>;
}

const COMMANDS: Readonly<Record<string, Command>> = {
  replay: { help: REPLAY_HELP, run: replayCommand },
  check: { help: CHECK_HELP, run: checkCommand },
  doctor: { help: DOCTOR_HELP, run: doctorCommand },
  hotplug: { help: HOTPLUG_HELP, run: hotplugCommand },
  diff: { help: DIFF_HELP, run: diffCommand },
  export: { help: EXPORT_HELP, run: exportCommand },
  conformance: { help: CONFORMANCE_HELP, run: conformanceCommand },
};

/**
 * Runs the command.
 *
 * @param args What was typed after `giommu`.
 * @returns The exit status: 0 all agrees, 1 something differs or was refused, 2 bad input or arguments.
 */
export async function main(args: readonly string[]): Promise<number> {
  const [name, ...rest] = args;
  try {
    giveUpWriting(args);
    if (name === undefined || name === "--help" || name === "-h" || name === "help") {
      write(HELP);
      return name === undefined ? 2 : 0;
    }
    const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
    if (command === undefined) {
      throw new UsageError(`'${name}' is not a command; there are ${Object.keys(COMMANDS).join(", ")}`);
    }
    if (rest.includes("--help") || rest.includes("-h")) {
      write(command.help);
      return 0;
    }
    return await command.run(rest);
  } catch (error) {
    // A reader that went away (`giommu … | head`) is not an error of ours.
    if (error instanceof Deno.errors.BrokenPipe) return 0;
    console.error(`giommu: ${oneLine(error)}`);
    return 2;
  }
}

/** Gives up the leave to write, which a task may have given, unless something is to be written. */
function giveUpWriting(args: readonly string[]): void {
  if (!args.some((arg) => /^--(?:dump|output)/.test(arg))) Deno.permissions.revokeSync({ name: "write" });
}

/** What went wrong, on one line and without a stack. */
function oneLine(error: unknown): string {
  const help = error instanceof IommuError && error.remedy !== undefined ? ` (${error.remedy})` : "";
  const message = error instanceof Error ? error.message + help : String(error);
  return message.replaceAll(/\s*\n\s*/g, " ");
}

if (import.meta.main) {
  Deno.addSignalListener("SIGINT", () => {
    try {
      interrupt();
    } finally {
      Deno.exit(130);
    }
  });
  Deno.exit(await main(Deno.args));
}
