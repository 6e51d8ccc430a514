/** Packages of Debian, unpacked beside the repository's own files and never installed. */

import { ROOT } from "../repository.ts";
import { run } from "../spawn.ts";

/** Where what the VM needs is kept between runs; nothing in it is tracked. */
export const CACHE = `${ROOT}/target/vm`;

/** The VM cannot be made here, for the reason in the message. */
export class NoVm extends Error {
  override readonly name = "NoVm";
}

/** Returns the folder that holds a package's files, after downloading it if that was not done before. */
export async function unpacked(name: string): Promise<string> {
  const version = await candidate(name);
  const folder = `${CACHE}/debian/${name}_${version.replaceAll(/[^\w.+~-]/g, "_")}`;
  if (exists(folder)) return folder;
  Deno.mkdirSync(`${CACHE}/debian`, { recursive: true });
  // Made whole under another name: somebody else may be doing the same.
  const part = Deno.makeTempDirSync({ dir: `${CACHE}/debian`, prefix: `${name}.` });
  try {
    await must("apt-get", ["download", "-q", `${name}=${version}`], part);
    const archive = [...Deno.readDirSync(part)].find((entry) => entry.name.endsWith(".deb"));
    if (archive === undefined) throw new NoVm(`Cannot make the VM: apt-get downloaded no ${name}`);
    await must("dpkg-deb", ["-x", archive.name, "files"], part);
    try {
      Deno.renameSync(`${part}/files`, folder);
    } catch (error) {
      if (!exists(folder)) throw error;
    }
  } finally {
    Deno.removeSync(part, { recursive: true });
  }
  return folder;
}

/** The packages that a package depends on and that match, themselves included, and so on. */
export async function dependencies(name: string, matching: RegExp): Promise<string[]> {
  const found = new Set<string>();
  const toAsk = [name];
  for (let next = toAsk.pop(); next !== undefined; next = toAsk.pop()) {
    const { stdout } = await must("apt-cache", ["depends", "--no-recommends", "--no-suggests", next]);
    for (const [, dependency = ""] of stdout.matchAll(/^\s*\|?(?:Pre)?Depends: (\S+)/gm)) {
      if (!matching.test(dependency) || found.has(dependency)) continue;
      found.add(dependency);
      toAsk.push(dependency);
    }
  }
  return [...found];
}

/** True if there is something at a path. */
export function exists(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

async function candidate(name: string): Promise<string> {
  const { stdout } = await must("apt-cache", ["policy", name]);
  const version = /^\s*Candidate: (\S+)$/m.exec(stdout)?.[1];
  if (version === undefined || version === "(none)") {
    throw new NoVm(`Cannot make the VM: apt knows no package ${name}; run apt-get update`);
  }
  return version;
}

async function must(program: string, args: readonly string[], cwd = ROOT): Promise<{ readonly stdout: string }> {
  const ended = await run(program, args, { cwd, env: { LC_ALL: "C" } });
  if (!ended.ok) throw new NoVm(`Cannot make the VM: ${program} ${args.join(" ")} failed\n${ended.text}`);
  return ended;
}
