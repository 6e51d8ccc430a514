import { count, fileSize } from "./terminal.ts";

const EVERY_MS = 200;

/** Shows on standard error how far long work is, where a person looks at it. */
export class Progress {
  readonly #shown: boolean;
  readonly #total: number | undefined;
  #next: number;
  #drawn = false;

  /**
   * Creates a progress line; it appears only if the work takes longer than a moment.
   *
   * @param terminal Whether standard error is a terminal.
   * @param total Bytes that will be read, where known.
   */
  constructor(terminal: boolean, total?: number) {
    this.#shown = terminal;
    this.#total = total;
    this.#next = performance.now() + 2 * EVERY_MS;
  }

  /**
   * Tells how far an input was read.
   *
   * @param bytes Bytes read so far.
   * @param lines Lines read so far.
   */
  update(bytes: number, lines: number): void {
    this.say(() => {
      const share = this.#total ? `${Math.min(100, Math.floor(100 * bytes / this.#total))}% ` : "";
      return `${share}${fileSize(bytes)}, ${count(lines)} lines`;
    });
  }

  /**
   * Tells how far work of another kind is.
   *
   * @param text Says it, on one line; asked for only if it is shown.
   */
  say(text: () => string): void {
    if (!this.#shown || performance.now() < this.#next) return;
    this.#next = performance.now() + EVERY_MS;
    this.#write(`\r\x1b[K${text()}`);
    this.#drawn = true;
  }

  /** Removes the line. */
  clear(): void {
    if (this.#drawn) this.#write("\r\x1b[K");
    this.#drawn = false;
  }

  #write(text: string): void {
    Deno.stderr.writeSync(new TextEncoder().encode(text));
  }
}
