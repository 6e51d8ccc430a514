/** The C program that everything is measured beside: an IOMMU in QEMU's shape. See bench/peer/peer.h. */

const FOLDER = new URL("./peer/", import.meta.url).pathname;
const SOURCES = ["main.c", "table.c", "replay.c", "notifier.c"];

/** What the peer answers to a command. */
export interface PeerAnswer {
  readonly nanoseconds: number;
  /** What was delivered: see `Delivered` in core-rs/crates/bench. */
  readonly sum: bigint;
  readonly pages: bigint;
}

/** The peer, built when it is started. Close it. */
export class Peer implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #folder: string;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  readonly #reader: ReadableStreamDefaultReader<string>;
  #rest = "";

  private constructor(child: Deno.ChildProcess, folder: string) {
    this.#child = child;
    this.#folder = folder;
    this.#writer = child.stdin.getWriter();
    this.#reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  }

  /** Builds and starts the peer; `undefined` where there is no C compiler. */
  static async start(): Promise<Peer | undefined> {
    const folder = await Deno.makeTempDir({ prefix: "giommu-peer-" });
    const sources = SOURCES.map((name) => FOLDER + name);
    const built = await run("cc", ["-O2", "-o", `${folder}/peer`, ...sources]);
    if (built === undefined) {
      await Deno.remove(folder, { recursive: true });
      return undefined;
    }
    const child = new Deno.Command(`${folder}/peer`, { stdin: "piped", stdout: "piped", stderr: "inherit" }).spawn();
    return new Peer(child, folder);
  }

  /** Has a command done. */
  async ask(command: string): Promise<PeerAnswer> {
    await this.#writer.write(new TextEncoder().encode(command + "\n"));
    while (!this.#rest.includes("\n")) {
      const { value, done } = await this.#reader.read();
      if (done) throw new Error(`The peer ended at "${command}"`);
      this.#rest += value;
    }
    const end = this.#rest.indexOf("\n");
    const [nanoseconds = "", sum = "", pages = ""] = this.#rest.slice(0, end).split(" ");
    this.#rest = this.#rest.slice(end + 1);
    return { nanoseconds: Number(nanoseconds), sum: BigInt(sum), pages: BigInt(pages) };
  }

  /** Ends the peer. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#writer.close();
    await this.#child.status;
    await Deno.remove(this.#folder, { recursive: true });
  }
}

/** The first line of what a program prints; `undefined` if it is not there. Throws if it fails. */
export async function run(program: string, args: string[]): Promise<string | undefined> {
  let ended: Deno.CommandOutput;
  try {
    ended = await new Deno.Command(program, { args, stdout: "piped", stderr: "piped" }).output();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
  if (!ended.success) throw new Error(`${program} failed:\n${new TextDecoder().decode(ended.stderr)}`);
  return new TextDecoder().decode(ended.stdout).split("\n")[0] ?? "";
}
