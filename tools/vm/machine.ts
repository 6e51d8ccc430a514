/**
 * A VM with a real IOMMU and a real /dev/vfio: QEMU's intel-iommu, emulated (no KVM, no root), and its `edu` device, whose DMA
 * engine shows what hardware would read and write.
 *
 * The command inside sees the outside's files, may write everywhere, and nothing of it lasts.
 */

import { ROOT } from "../repository.ts";
import { isInstalled } from "../spawn.ts";
import { CACHE, NoVm } from "./debian.ts";
import { busyboxPath, initramfs } from "./initramfs.ts";
import { debianKernel, kernelAt } from "./kernel.ts";

/** How a VM is made. */
export interface VmOptions {
  /** The path of a kernel with everything built in; Debian's own unless given. */
  readonly kernel?: string | undefined;
  /** Memory, as QEMU takes it; 2G unless given. */
  readonly memory?: string;
  /** How many seconds it may take in all; 300 unless given. */
  readonly seconds?: number;
  /** More words for the kernel's command line. */
  readonly append?: string;
  /** More arguments for QEMU. */
  readonly qemu?: readonly string[];
  /** Variables for the command. */
  readonly env?: Readonly<Record<string, string>>;
  /** Passes output on as it comes. */
  readonly echo?: boolean;
}

/** How a command in a VM ended. */
export interface VmEnded {
  /** Its exit status; `undefined` if the VM ended without one. */
  readonly status: number | undefined;
  readonly stdout: string;
  readonly stderr: string;
  /** What the kernel and QEMU said. */
  readonly console: string;
}

/** Two, so that one can be plugged beside the other; the mask lets them reach all of 64 bits, not only 28. */
const DEVICES = ["edu,addr=4,dma_mask=0xffffffffffffffff", "edu,addr=5,dma_mask=0xffffffffffffffff"];

const NEWLINE = 0x0a;
const QEMU = "qemu-system-x86_64";

/** Boots a VM, runs a command in the repository's root, and waits for both to end. */
export async function runInVm(command: readonly string[], options: VmOptions = {}): Promise<VmEnded> {
  if (!await isInstalled(QEMU)) {
    throw new NoVm(`Cannot start the VM: ${QEMU} is not there; apt-get install qemu-system-x86`);
  }
  const busybox = await busyboxPath();
  const kernel = options.kernel === undefined ? await debianKernel(busybox) : kernelAt(options.kernel);
  const folder = Deno.makeTempDirSync({ dir: CACHE, prefix: "run-" });
  try {
    Deno.writeFileSync(`${folder}/initramfs`, initramfs(busybox, kernel.modules));
    for (const name of ["stdout", "stderr", "console"]) Deno.writeTextFileSync(`${folder}/${name}`, "");
    Deno.writeTextFileSync(`${folder}/command`, script(command, options.env ?? {}));
    const qemu = start(folder, kernel.image, options);
    const outputs = [new Follower(`${folder}/stdout`, Deno.stdout), new Follower(`${folder}/stderr`, Deno.stderr)];
    const timer = setInterval(() => options.echo && outputs.forEach((output) => output.pass()), 100);
    const ended = await qemu.output();
    clearInterval(timer);
    if (options.echo) outputs.forEach((output) => output.pass(true));
    const said = new TextDecoder().decode(ended.stderr);
    return {
      status: status(folder),
      stdout: Deno.readTextFileSync(`${folder}/stdout`),
      stderr: Deno.readTextFileSync(`${folder}/stderr`),
      console: said + Deno.readTextFileSync(`${folder}/console`),
    };
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

function start(folder: string, image: string, options: VmOptions): Deno.ChildProcess {
  const shared = (path: string, tag: string, more: string): string[] => [
    "-virtfs",
    `local,path=${path},mount_tag=${tag},security_model=none,${more}`,
  ];
  // By timeout(1), so that the VM ends also if this process is killed.
  return new Deno.Command("timeout", {
    args: [
      ...["--foreground", "--kill-after=5", String(options.seconds ?? 300), QEMU],
      ...["-machine", "q35,accel=tcg,kernel-irqchip=split", "-cpu", "max", "-m", options.memory ?? "2G"],
      ...["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", `file:${folder}/console`],
      // 48 bits, as real ones have; QEMU's own default is 39 in some versions.
      ...["-device", "intel-iommu,intremap=on,caching-mode=on,aw-bits=48"],
      ...DEVICES.flatMap((device) => ["-device", device]),
      ...shared("/", "outside", "readonly=on,multidevs=remap"),
      ...shared(folder, "control", "multidevs=remap"),
      ...["-kernel", image, "-initrd", `${folder}/initramfs`],
      ...["-append", `console=ttyS0 quiet panic=-1 intel_iommu=on ${options.append ?? ""}`],
      ...(options.qemu ?? []),
    ],
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).spawn();
}

/** A shell script that runs the command in the repository. */
function script(command: readonly string[], env: Readonly<Record<string, string>>): string {
  const kept = ["PATH", "HOME", "DENO_DIR", "NO_COLOR", "CI"].flatMap((name) => {
    const value = Deno.env.get(name);
    return value === undefined ? [] : [[name, value]];
  });
  const variables = [...kept, ["DENO_NO_UPDATE_CHECK", "1"], ...Object.entries(env)];
  return [
    "ulimit -l unlimited # pinned memory counts as locked",
    ...variables.map(([name, value = ""]) => `export ${name}=${quoted(value)}`),
    `cd ${quoted(ROOT)} && exec ${command.map(quoted).join(" ")}`,
    "",
  ].join("\n");
}

function quoted(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`;
}

function status(folder: string): number | undefined {
  try {
    return Number(Deno.readTextFileSync(`${folder}/status`));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/** Passes a growing file on, in whole lines: others may write to the same place. */
class Follower {
  readonly #path: string;
  readonly #to: { writeSync(bytes: Uint8Array): number };
  #at = 0;

  constructor(path: string, to: { writeSync(bytes: Uint8Array): number }) {
    this.#path = path;
    this.#to = to;
  }

  pass(isLast = false): void {
    const bytes = Deno.readFileSync(this.#path).subarray(this.#at);
    const whole = isLast ? bytes : bytes.subarray(0, bytes.lastIndexOf(NEWLINE) + 1);
    this.#at += whole.length;
    for (let rest = whole; rest.length > 0;) rest = rest.subarray(this.#to.writeSync(rest));
  }
}
