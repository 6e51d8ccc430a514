/** Runs other programs. */

import { ROOT } from "./repository.ts";

/** How a program ended. */
export interface Ended {
  readonly ok: boolean;
  /** Standard output and standard error, in that order. */
  readonly text: string;
  readonly stdout: string;
}

/** What may be said about a program's surroundings. */
export interface SpawnOptions {
  /** The repository's root by default. */
  readonly cwd?: string;
  /** Added to the environment. */
  readonly env?: Record<string, string>;
  /** Passes output on to the terminal as it comes, beside collecting it. */
  readonly echo?: boolean;
}

/** Runs `program` to its end with no standard input; a program that cannot be started has ended badly, saying so. */
export async function run(program: string, args: readonly string[], options: SpawnOptions = {}): Promise<Ended> {
  let child: Deno.ChildProcess;
  try {
    child = new Deno.Command(program, {
      args: [...args],
      cwd: options.cwd ?? ROOT,
      env: { NO_COLOR: "1", CARGO_TERM_COLOR: "never", ...options.env },
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
  } catch (error) {
    const text = `Cannot start ${program}: ${error instanceof Error ? error.message : error}\n`;
    return { ok: false, text, stdout: "" };
  }
  const [status, stdout, stderr] = await Promise.all([
    child.status,
    collect(child.stdout, options.echo ? Deno.stdout : undefined),
    collect(child.stderr, options.echo ? Deno.stderr : undefined),
  ]);
  return { ok: status.success, text: stdout + stderr, stdout };
}

/** Runs the very Deno that runs this: `deno` itself need not be on PATH. */
export function deno(args: readonly string[], options: SpawnOptions = {}): Promise<Ended> {
  // A backtrace of Deno's own code helps nobody here.
  return run(Deno.execPath(), args, { ...options, env: { RUST_BACKTRACE: "0", ...options.env } });
}

/** True if `program` is there and answers `--version`. */
export async function isInstalled(program: string): Promise<boolean> {
  return (await run(program, ["--version"])).ok;
}

async function collect(
  from: ReadableStream<Uint8Array>,
  echo?: { writeSync(bytes: Uint8Array): number },
): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of from) {
    echo?.writeSync(chunk);
    text += decoder.decode(chunk, { stream: true });
  }
  return text + decoder.decode();
}
