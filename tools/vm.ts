/**
 * Runs a command in a VM with a real IOMMU, VFIO and a device with a DMA engine.
 *
 *     deno task vm deno run hello.ts
 *     deno task vm --kernel bzImage sh -c 'ls /dev/vfio/devices /dev/iommu'
 *     deno task vm --append vfio_iommu_type1.dma_entry_limit=100 --seconds 60 …
 *
 * Needs Debian's apt and `apt-get install qemu-system-x86`; everything else is downloaded into target/vm. Without
 * `--kernel`, the variable GIOMMU_VM_KERNEL names a kernel with all that is needed built in; without both, it is
 * Debian's, which has no iommufd. `deno` is the one that runs this. Ends with the status of the command, or with 125
 * if the VM ended without one.
 *
 * @module
 */

import { NoVm } from "./vm/debian.ts";
import { runInVm, type VmOptions } from "./vm/machine.ts";

const OPTIONS = ["kernel", "memory", "seconds", "append"] as const;

/** Splits the arguments in those for the VM and the command. */
export function parsed(args: readonly string[]): { readonly options: VmOptions; readonly command: string[] } {
  const given: Record<string, string> = {};
  let at = 0;
  for (; args[at]?.startsWith("--"); at++) {
    const word = args[at] ?? "";
    if (word === "--") {
      at++;
      break;
    }
    const name = OPTIONS.find((option) => word === `--${option}`);
    const value = args[++at];
    if (name === undefined || value === undefined) throw new NoVm(`Cannot start the VM: bad option ${word}`);
    given[name] = value;
  }
  const { seconds, ...rest } = given;
  if (seconds !== undefined && !(Number(seconds) > 0)) throw new NoVm(`Cannot start the VM: --seconds ${seconds}`);
  const command = args.slice(at).map((word, index) => index === 0 && word === "deno" ? Deno.execPath() : word);
  if (command.length === 0) throw new NoVm("Cannot start the VM: no command");
  return { options: { ...rest, ...(seconds !== undefined && { seconds: Number(seconds) }) }, command };
}

if (import.meta.main) {
  try {
    const { options, command } = parsed(Deno.args);
    const kernel = options.kernel ?? Deno.env.get("GIOMMU_VM_KERNEL");
    const ended = await runInVm(command, { ...options, kernel, echo: true });
    if (ended.status === undefined) {
      console.error(`Cannot tell how ${command[0]} ended: the VM ended without a status. Its console:`);
      console.error(ended.console.split("\n").slice(-40).join("\n"));
    }
    Deno.exit(ended.status ?? 125);
  } catch (error) {
    if (!(error instanceof NoVm)) throw error;
    console.error(error.message);
    Deno.exit(125);
  }
}
