import { onInterrupt } from "../interrupt.ts";
import { isSameFile } from "../same_file.ts";
import { UsageError } from "../usage_error.ts";

/** Text is gathered to so many characters before it is written. */
const GATHERED = 1 << 16;
const encoder = new TextEncoder();

/** Where an export goes: standard output, or a file that appears when it is complete and not before. */
export class ExportOutput implements Disposable {
  readonly #to: Target;
  readonly #interrupted: Disposable;
  #text = "";
  #bytes = 0;

  /**
   * Opens an output.
   *
   * @param path The file; standard output where absent.
   * @param input The input's path, which must not be replaced.
   * @throws {UsageError} If the file cannot be made, or is the input.
   */
  constructor(path: string | undefined, input: string) {
    this.#to = path === undefined ? new StandardOutput() : targetOf(path, input);
    this.#interrupted = onInterrupt(() => this[Symbol.dispose]());
  }

  /** How many bytes were written so far. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Writes text. */
  write(text: string): void {
    this.#text += text;
    if (this.#text.length >= GATHERED) this.#flush();
  }

  /** Writes bytes. */
  writeBytes(bytes: Uint8Array): void {
    this.#flush();
    this.#put(bytes);
  }

  /** Writes what is left; a file gets its name now. */
  finish(): void {
    this.#flush();
    this.#to.finish();
  }

  /** Gives up: an unfinished file vanishes. Twice is fine. */
  [Symbol.dispose](): void {
    this.#interrupted[Symbol.dispose]();
    this.#to.abandon();
  }

  #flush(): void {
    const text = this.#text;
    this.#text = "";
    if (text !== "") this.#put(encoder.encode(text));
  }

  #put(bytes: Uint8Array): void {
    this.#bytes += bytes.length;
    this.#to.put(bytes);
  }
}

/** Takes the bytes. */
interface Target {
  put(bytes: Uint8Array): void;
  finish(): void;
  abandon(): void;
}

function putAll(file: { writeSync(bytes: Uint8Array): number }, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length;) at += file.writeSync(bytes.subarray(at));
}

class StandardOutput implements Target {
  put(bytes: Uint8Array): void {
    putAll(Deno.stdout, bytes);
  }

  finish(): void {}

  abandon(): void {}
}

/** A file under another name until it is complete. */
class NewFile implements Target {
  readonly #path: string;
  readonly #hidden: string;
  #file: Deno.FsFile | undefined;

  constructor(path: string) {
    this.#path = path;
    const at = Math.max(path.lastIndexOf("/"), path.lastIndexOf("\\")) + 1;
    this.#hidden = `${path.slice(0, at)}.${path.slice(at)}.${crypto.randomUUID().slice(0, 8)}.part`;
    try {
      this.#file = Deno.openSync(this.#hidden, { write: true, createNew: true });
    } catch (cause) {
      const help = cause instanceof Deno.errors.NotCapable
        ? "; it is written beside its place first, so that it appears complete: --allow-write is needed for its folder"
        : "";
      throw unwritable(this.#path, cause, help);
    }
  }

  put(bytes: Uint8Array): void {
    try {
      if (this.#file !== undefined) putAll(this.#file, bytes);
    } catch (cause) {
      throw unwritable(this.#path, cause);
    }
  }

  finish(): void {
    try {
      this.#file?.syncSync();
      this.#close();
      Deno.renameSync(this.#hidden, this.#path);
    } catch (cause) {
      this.#remove();
      throw unwritable(this.#path, cause);
    }
  }

  abandon(): void {
    if (this.#file === undefined) return;
    this.#close();
    this.#remove();
  }

  #close(): void {
    this.#file?.close();
    this.#file = undefined;
  }

  #remove(): void {
    try {
      Deno.removeSync(this.#hidden);
    } catch {
      // It is gone, or stays: there is nothing more to be done about it.
    }
  }
}

/** A pipe or a device that has a name: it cannot be replaced by a file, nor be half there. */
class NamedPipe implements Target {
  readonly #path: string;
  #file: Deno.FsFile | undefined;

  constructor(path: string) {
    this.#path = path;
    try {
      this.#file = Deno.openSync(path, { write: true });
    } catch (cause) {
      throw unwritable(path, cause);
    }
  }

  put(bytes: Uint8Array): void {
    try {
      if (this.#file !== undefined) putAll(this.#file, bytes);
    } catch (cause) {
      if (cause instanceof Deno.errors.BrokenPipe) throw cause;
      throw unwritable(this.#path, cause);
    }
  }

  finish(): void {
    this.abandon();
  }

  abandon(): void {
    this.#file?.close();
    this.#file = undefined;
  }
}

function targetOf(path: string, input: string): Target {
  const there = infoOf(path);
  if (there === undefined) return new NewFile(path);
  if (there.isDirectory) throw new UsageError(`--output: ${path} is a folder`);
  if (!there.isFile) return new NamedPipe(path);
  if (isSameFile(path, input)) {
    throw new UsageError(`--output: ${path} is the input, which would be lost`);
  }
  // What a link leads to is replaced, not the link.
  return new NewFile(Deno.realPathSync(path));
}

function infoOf(path: string): Deno.FileInfo | undefined {
  try {
    return Deno.statSync(path);
  } catch {
    return undefined; // not there yet, or may not be looked at
  }
}

function unwritable(path: string, cause: unknown, help = ""): UsageError {
  const why = cause instanceof Error ? cause.message : String(cause);
  return new UsageError(`--output: cannot write ${path}: ${why}${help}`);
}
