import { parseAddress } from "./quantity.ts";
import { type InputOptions, type KnownOptions, TypedArguments } from "./typed_arguments.ts";
import { UsageError } from "./usage_error.ts";
import { parseWhere, type Where } from "./where.ts";

/** The options of `giommu doctor`. */
export interface DoctorChoice extends InputOptions {
  /** The kernel's log, where there is one. */
  readonly kernel: string | undefined;
  /** What QEMU printed, where that was kept. */
  readonly stderr: string | undefined;
  /** Where reading ends. */
  readonly at: Where;
  /** The address whose history is wanted, where one is. */
  readonly iova: bigint | undefined;
}

const DOCTOR: KnownOptions = { once: ["kernel", "stderr", "at", "iova"], many: ["window"] };

/**
 * Reads the arguments of `giommu doctor`.
 *
 * @param args What was typed after the subcommand.
 * @returns The options.
 * @throws {UsageError} If anything is unknown or out of range.
 */
export function parseDoctorOptions(args: readonly string[]): DoctorChoice {
  const typed = new TypedArguments(args, DOCTOR);
  const [kernel, stderr, iova] = [typed.one("kernel"), typed.one("stderr"), typed.one("iova")];
  const options = {
    ...typed.input(),
    kernel,
    stderr,
    at: parseWhere(typed.one("at")),
    iova: iova === undefined ? undefined : parseAddress("--iova", iova),
  };
  if ([options.input, kernel, stderr].filter((path) => path === "-").length > 1) {
    throw new UsageError("standard input can be one of the logs only");
  }
  return options;
}
