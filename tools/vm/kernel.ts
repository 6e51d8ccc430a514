/** The kernel that a VM boots. */

import { dependencies, exists, NoVm, unpacked } from "./debian.ts";
import { run } from "../spawn.ts";

/** What of a Debian kernel the VM uses; each may need others. What is missing is built in. */
const MODULES = ["virtio_pci", "9pnet_virtio", "9p", "overlay", "vfio_iommu_type1", "vfio-pci"];

/** A kernel. */
export interface VmKernel {
  /** What people call it. */
  readonly name: string;
  /** The path of its bzImage. */
  readonly image: string;
  /** Modules in the order in which they have to be loaded. */
  readonly modules: readonly VmModule[];
}

/** A module of a kernel. */
export interface VmModule {
  readonly name: string;
  readonly bytes: Uint8Array;
}

/** A kernel that has all the VM needs built in; Debian's kernels have no iommufd, one built for this may. */
export function kernelAt(image: string): VmKernel {
  if (!exists(image)) throw new NoVm(`Cannot boot ${image}: there is no such file`);
  return { name: image, image, modules: [] };
}

/** Debian's kernel for this machine's release, downloaded if need be. */
export async function debianKernel(busybox: string, metapackage = "linux-image-amd64"): Promise<VmKernel> {
  const folders: string[] = [];
  for (const name of await dependencies(metapackage, /^linux-(?:image|binary|modules)-\d.*[\da-z]$/)) {
    folders.push(await unpacked(name));
  }
  const image = paths(folders, /^vmlinuz-/, ["boot", "usr/boot"])[0];
  const tree = folders.flatMap((folder) => [`${folder}/lib/modules`, `${folder}/usr/lib/modules`]).find(exists);
  if (image === undefined || tree === undefined) throw new NoVm(`Cannot boot ${metapackage}: it holds no kernel`);
  const version = [...Deno.readDirSync(tree)][0]?.name ?? "";
  const base = tree.replace(/\/lib\/modules$/, "");
  const dependenciesFile = `${tree}/${version}/modules.dep`;
  if (!exists(dependenciesFile) || Deno.statSync(dependenciesFile).size === 0) {
    await must(busybox, ["depmod", "-b", base, version]);
  }
  const order = loadOrder(Deno.readTextFileSync(dependenciesFile), MODULES);
  const modules: VmModule[] = [];
  for (const path of order) {
    modules.push({ name: moduleName(path), bytes: await moduleBytes(busybox, `${tree}/${version}/${path}`) });
  }
  return { name: version, image, modules };
}

/** Which files to load, each after those that it needs; `text` is a modules.dep. Names that it does not hold are left out. */
export function loadOrder(text: string, names: readonly string[]): string[] {
  const needs = new Map<string, readonly string[]>();
  for (const line of text.split("\n")) {
    const [path, rest = ""] = line.split(":");
    if (path !== undefined && path !== "") needs.set(path, rest.split(" ").filter((need) => need !== ""));
  }
  const order = new Set<string>();
  const visit = (path: string, above: readonly string[]): void => {
    if (order.has(path) || above.includes(path)) return;
    for (const need of needs.get(path) ?? []) visit(need, [...above, path]);
    order.add(path);
  };
  for (const name of names) {
    for (const path of needs.keys()) {
      if (moduleName(path) === name.replaceAll("-", "_")) visit(path, []);
    }
  }
  return [...order];
}

/** `vfio_pci` of `kernel/drivers/vfio/pci/vfio-pci.ko.xz`. */
function moduleName(path: string): string {
  return (path.split("/").at(-1) ?? "").replace(/\.ko(?:\.\w+)?$/, "").replaceAll("-", "_");
}

/** The bytes of a module, which may be compressed. */
async function moduleBytes(busybox: string, path: string): Promise<Uint8Array> {
  if (path.endsWith(".ko")) return Deno.readFileSync(path);
  if (!path.endsWith(".xz")) throw new NoVm(`Cannot unpack ${path}: it is compressed in an unknown way`);
  const { code, stdout } = await new Deno.Command(busybox, { args: ["xzcat", path], stderr: "null" }).output();
  if (code !== 0) throw new NoVm(`Cannot unpack ${path}: xzcat ended with ${code}`);
  return stdout;
}

function paths(folders: readonly string[], name: RegExp, below: readonly string[]): string[] {
  return folders.flatMap((folder) => below.map((part) => `${folder}/${part}`)).filter(exists).flatMap((folder) =>
    [...Deno.readDirSync(folder)].filter((entry) => name.test(entry.name)).map((entry) => `${folder}/${entry.name}`)
  );
}

async function must(program: string, args: readonly string[]): Promise<void> {
  const ended = await run(program, args);
  if (!ended.ok) throw new NoVm(`Cannot make the VM: ${program} ${args.join(" ")} failed\n${ended.text}`);
}
