// Runs the command as people do: in a process of its own, with only the permissions that it needs.
import { fromFileUrl } from "./paths.ts";

/** How a run of the command ended. */
export interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

const MAIN = fromFileUrl("../../packages/cli/main.ts");

/** Runs `giommu` with arguments and standard input. */
export async function giommu(
  args: readonly string[],
  input?: Uint8Array,
  permissions: readonly string[] = ["--allow-read"],
  env: Readonly<Record<string, string>> = {},
): Promise<Ended> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-prompt", "--quiet", ...permissions, MAIN, ...args],
    env,
    stdin: input === undefined ? "null" : "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const fed = input === undefined ? undefined : feed(child, input);
  const { code, stdout, stderr } = await child.output();
  await fed;
  return { code, stdout: new TextDecoder().decode(stdout), stderr: new TextDecoder().decode(stderr) };
}

async function feed(child: Deno.ChildProcess, input: Uint8Array): Promise<void> {
  const writer = child.stdin.getWriter();
  try {
    await writer.write(input);
    await writer.close();
  } catch {
    // The command may have refused its arguments and gone before it read anything.
  }
}

/** Inflates a .gz file. */
export async function inflatedBytes(path: string): Promise<Uint8Array<ArrayBuffer>> {
  using file = await Deno.open(path, { read: true });
  const chunks = file.readable.pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(chunks).arrayBuffer());
}

/** Inflates a .gz file of text. */
export async function inflated(path: string): Promise<string> {
  return new TextDecoder().decode(await inflatedBytes(path));
}

/** Deflates text as a .gz. */
export async function deflated(text: string): Promise<Uint8Array<ArrayBuffer>> {
  const stream = new Blob([text]).stream().pipeThrough(new CompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Bytes of text. */
export function bytes(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(text);
}
