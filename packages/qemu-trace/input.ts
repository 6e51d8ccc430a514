import { IommuError } from "@giommu/core";
import { blobSource, type ByteSource, bytesSource, fileSource, streamSource } from "./_source.ts";

/** Where a log or a migration stream comes from: a file's path, `-` for standard input, bytes, a blob or a stream. */
export type InputSource = string | URL | Uint8Array | Blob | ReadableStream<Uint8Array>;

/** What an input holds: a QEMU log, or a QEMU migration stream. */
export type InputKind = "log" | "stream";

const GZIP = [0x1f, 0x8b];
/** `QEVM`, with which migration streams begin (QEMU, migration/savevm.c). */
const STREAM = [0x51, 0x45, 0x56, 0x4d];

/** Whether bytes begin with others. */
function begins(bytes: Uint8Array, magic: readonly number[]): boolean {
  return magic.every((byte, at) => bytes[at] === byte);
}

/**
 * The bytes of a log or a migration stream, inflated if they are a .gz, in pieces and in constant memory.
 *
 * Made by {@linkcode openInput}. Close it with `await using`.
 *
 * @example How large a .gz is
 * ```ts
 * import { openInput } from "@giommu/qemu-trace";
 * import { assertEquals } from "@std/assert";
 *
 * const deflated = new Blob(["QEVM and more"]).stream().pipeThrough(new CompressionStream("gzip"));
 * await using input = await openInput(new Uint8Array(await new Response(deflated).arrayBuffer()));
 * assertEquals([input.kind, await input.inflatedSize()], ["stream", 13]);
 * ```
 */
export class TraceInput implements AsyncDisposable {
  /** What messages call it: the path, or how many bytes it is. */
  readonly name: string;
  /** What it holds, told by its first bytes. */
  readonly kind: InputKind;
  /** Whether it is a .gz. */
  readonly compressed: boolean;
  /** How many bytes it has as it lies there, where that can be known: of a file, not of a pipe. */
  readonly size: number | undefined;
  readonly #plain: PlainBytes;
  readonly #source: ByteSource;
  #first: Uint8Array | undefined;

  /** @ignore Use {@linkcode openInput}. */
  constructor(source: ByteSource, plain: PlainBytes, first: Uint8Array) {
    this.name = source.name;
    this.size = source.size;
    this.compressed = plain.compressed;
    this.kind = begins(first, STREAM) ? "stream" : "log";
    this.#source = source;
    this.#plain = plain;
    this.#first = first.length === 0 ? undefined : first;
  }

  /** How many bytes were read so far, before inflating. */
  get bytesRead(): number {
    return this.#plain.bytesRead;
  }

  /**
   * Reads the next bytes.
   *
   * @returns Bytes, inflated, valid until the next call; `undefined` at the end.
   * @throws {IommuError} `"bad-input"` if reading fails, or a .gz is cut or damaged; the message says how far it could be read.
   */
  async read(): Promise<Uint8Array | undefined> {
    const first = this.#first;
    this.#first = undefined;
    return first ?? await this.#plain.read();
  }

  /**
   * Counts the bytes of the input after inflating. That reads a .gz once more.
   *
   * @returns How many; `undefined` if the input cannot be read twice, such as a pipe.
   * @throws {IommuError} `"bad-input"` as {@linkcode read}.
   */
  async inflatedSize(): Promise<number | undefined> {
    if (!this.compressed) return this.size;
    const again = await this.#source.again?.();
    if (again === undefined) return undefined;
    const plain = new PlainBytes(again);
    try {
      let size = 0;
      for (let bytes = await plain.read(); bytes !== undefined; bytes = await plain.read()) size += bytes.length;
      return size;
    } finally {
      await plain.close();
    }
  }

  /** The bytes in pieces, each valid until the next is asked for. Ends as {@linkcode read} does. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, void> {
    for (let bytes = await this.read(); bytes !== undefined; bytes = await this.read()) yield bytes;
  }

  /** Closes the file or cancels the stream; twice is fine. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#plain.close();
  }
}

/** Bytes of a source, inflated if it is a .gz. */
class PlainBytes {
  bytesRead = 0;
  compressed = false;
  readonly #source: ByteSource;
  #inflated = 0;
  #reader: ReadableStreamDefaultReader<Uint8Array> | undefined;
  #first: Uint8Array | undefined;
  #begun = false;
  #closed = false;

  constructor(source: ByteSource) {
    this.#source = source;
  }

  async read(): Promise<Uint8Array | undefined> {
    if (this.#closed) throw new IommuError("disposed", `Cannot read ${this.#source.name}: it was closed`);
    if (!this.#begun) await this.#begin();
    const first = this.#first;
    this.#first = undefined;
    if (first !== undefined) return first;
    return this.#reader === undefined ? await this.#raw() : await this.#inflate(this.#reader);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#reader?.cancel().catch(() => {});
    await this.#source.close().catch(() => {});
  }

  /** Looks at the first two bytes. */
  async #begin(): Promise<void> {
    this.#begun = true;
    let first = new Uint8Array();
    while (first.length < GZIP.length) {
      const bytes = await this.#raw();
      if (bytes === undefined) break;
      first = joined(first, bytes);
    }
    this.compressed = begins(first, GZIP);
    if (!this.compressed) {
      this.#first = first.length === 0 ? undefined : first;
      return;
    }
    let head: Uint8Array | undefined = first;
    const deflated = new ReadableStream<BufferSource>({
      pull: async (controller) => {
        const bytes = head ?? await this.#raw();
        head = undefined;
        if (bytes === undefined) controller.close();
        // The source uses its buffer again; who inflates may not be done with it by then.
        else controller.enqueue(new Uint8Array(bytes));
      },
    });
    this.#reader = deflated.pipeThrough(new DecompressionStream("gzip")).getReader();
  }

  async #raw(): Promise<Uint8Array | undefined> {
    let bytes: Uint8Array | undefined;
    try {
      bytes = await this.#source.read();
    } catch (cause) {
      throw unreadable(this.#source.name, cause, this.bytesRead);
    }
    this.bytesRead += bytes?.length ?? 0;
    return bytes;
  }

  async #inflate(reader: ReadableStreamDefaultReader<Uint8Array>): Promise<Uint8Array | undefined> {
    try {
      const { value, done } = await reader.read();
      this.#inflated += value?.length ?? 0;
      return done ? undefined : value;
    } catch (cause) {
      if (cause instanceof IommuError) throw cause;
      throw new IommuError(
        "bad-input",
        `Cannot read ${this.#source.name}: its gzip data is cut or damaged; ${this.#inflated} bytes could be inflated`,
        { cause, remedy: "zcat reads on where data of several gzip files stand one after the other" },
      );
    }
  }
}

function joined(a: Uint8Array, b: Uint8Array): Uint8Array<ArrayBuffer> {
  const both = new Uint8Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}

function unreadable(name: string, cause: unknown, bytes = 0): IommuError {
  const why = cause instanceof Error ? cause.message : String(cause);
  const far = bytes === 0 ? "" : ` after ${bytes} bytes`;
  return new IommuError("bad-input", `Cannot read ${name}${far}: ${why}`, { cause });
}

async function sourceOf(source: InputSource): Promise<ByteSource> {
  if (source instanceof Uint8Array) return bytesSource(source);
  if (source instanceof Blob) return blobSource(source);
  if (source instanceof ReadableStream) return streamSource("stream", source);
  if (typeof source !== "string" && !(source instanceof URL)) {
    throw new TypeError(`Cannot open input: expected a path, bytes or a stream, got ${typeof source}`);
  }
  if (source === "-") return streamSource("standard input", Deno.stdin.readable);
  try {
    return await fileSource(source);
  } catch (cause) {
    throw unreadable(String(source), cause);
  }
}

/**
 * Opens a log or a migration stream, plain or as a .gz, told apart by its first bytes.
 *
 * @param source A file's path, `-` for standard input, bytes, a blob or a stream. Paths and `-` need Deno.
 * @returns The input. The caller closes it; a stream that was given is cancelled then.
 * @throws {TypeError} If the source is none of these.
 * @throws {IommuError} `"bad-input"` if it cannot be opened or its first bytes cannot be read.
 *
 * @example
 * ```ts
 * import { openInput } from "@giommu/qemu-trace";
 * import { assertEquals } from "@std/assert";
 *
 * const text = "spapr_iommu_ddw_remove liobn=0x80000001\n";
 * const deflated = new Blob([text]).stream().pipeThrough(new CompressionStream("gzip"));
 * await using input = await openInput(deflated);
 * assertEquals([input.kind, input.compressed], ["log", true]);
 * assertEquals((await input.read())?.length, text.length);
 * ```
 */
export async function openInput(source: InputSource): Promise<TraceInput> {
  const bytes = await sourceOf(source);
  const plain = new PlainBytes(bytes);
  try {
    let first = new Uint8Array();
    while (first.length < STREAM.length) {
      const more = await plain.read();
      if (more === undefined) break;
      first = joined(first, more);
    }
    return new TraceInput(bytes, plain, first);
  } catch (error) {
    await plain.close();
    throw error;
  }
}
