/**
 * Runs the tests of real hosts, in `tests/vm`, in a VM: on Debian's kernel, and on the one that GIOMMU_VM_KERNEL names, which
 * has to have iommufd.
 *
 *     deno task test:vm             everything
 *     deno task test:vm PATH...     Deno's tests below these paths only
 *
 * Without GIOMMU_VM_KERNEL the tests of iommufd are skipped, which is a failure in CI.
 *
 * @module
 */

import { buildHost } from "./build_host.ts";
import { exitWith, failed, type Outcome, skipped, sum } from "./outcome.ts";
import { denoCounts } from "./test.ts";
import { NoVm } from "./vm/debian.ts";
import { runInVm } from "./vm/machine.ts";

/** Runs them on one kernel, Debian's unless one is named. */
async function vmTests(paths: readonly string[], kernel?: string): Promise<Outcome> {
  const where = kernel ?? "Debian's kernel";
  console.log(`in a VM with ${where}`);
  // Types are checked outside, where that is fast.
  const command = [Deno.execPath(), "test", "-A", "--no-check", ...paths];
  const env = { GIOMMU_IN_VM: "1", NO_COLOR: "1" };
  const ended = await runInVm(command, { kernel, env, echo: true, seconds: 1200 });
  if (ended.status === undefined) {
    return failed(`The VM with ${where} ended without a status:\n${ended.console.split("\n").slice(-40).join("\n")}`);
  }
  const outcome = denoCounts(ended.stdout);
  if (outcome === undefined) return failed(`The tests in the VM with ${where} did not run to their end`);
  if (outcome.passed + outcome.failed === 0) return failed(`There were no tests in the VM with ${where}`);
  return ended.status === 0 || outcome.failed > 0 ? outcome : sum([outcome, failed("The tests in the VM failed")]);
}

/** Runs them on every kernel that there is. */
export async function allVmTests(paths: readonly string[] = ["tests/vm"]): Promise<Outcome> {
  const failure = await buildHost();
  if (failure !== undefined) return failed(`Cannot build the library for real hosts\n${failure}`);
  const kernel = Deno.env.get("GIOMMU_VM_KERNEL");
  try {
    // Beside each other: each is busy on one core.
    const outcomes = await Promise.all([
      vmTests(paths),
      kernel === undefined
        ? skipped("The tests of iommufd were skipped: GIOMMU_VM_KERNEL names no kernel that has it")
        : vmTests(paths, kernel),
    ]);
    return sum(outcomes);
  } catch (error) {
    if (error instanceof NoVm) return skipped(`The tests of real hosts were skipped: ${error.message}`);
    throw error;
  }
}

if (import.meta.main) {
  const paths = Deno.args.filter((arg) => !arg.startsWith("--"));
  exitWith(await allVmTests(paths.length === 0 ? undefined : paths));
}
