/** The VM's first root: busybox, the modules, and the script that is its first process. */

import { ROOT } from "../repository.ts";
import { cpio, type CpioEntry } from "./cpio.ts";
import { exists, NoVm, unpacked } from "./debian.ts";
import type { VmModule } from "./kernel.ts";

/** Where Debian's static busybox is, which runs outside of the VM too. */
export async function busyboxPath(): Promise<string> {
  const folder = await unpacked("busybox-static");
  const path = [`${folder}/bin/busybox`, `${folder}/usr/bin/busybox`].find(exists);
  if (path === undefined) throw new NoVm("Cannot make the VM: busybox-static holds no busybox");
  return path;
}

/** Packs it. */
export function initramfs(busybox: string, modules: readonly VmModule[]): Uint8Array<ArrayBuffer> {
  const entries: CpioEntry[] = [
    { path: "bin" },
    { path: "bin/busybox", bytes: Deno.readFileSync(busybox), executable: true },
    { path: "init", bytes: Deno.readFileSync(`${ROOT}/tools/vm/init.sh`), executable: true },
    { path: "modules" },
    // The shell lists them in the order of their names.
    ...modules.map(({ name, bytes }, index) => ({
      path: `modules/${String(index).padStart(3, "0")}-${name}.ko`,
      bytes,
    })),
  ];
  return cpio(entries);
}
