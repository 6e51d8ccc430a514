import type { ExportOutput } from "./output.ts";

/** A track: a process and a thread of the trace, which need not be ones of the system. */
export interface Track {
  /** The process. */
  readonly pid: number;
  /** The thread. */
  readonly tid: number;
}

/** What is told of an event beside its name. */
export type Args = Readonly<Record<string, string | number | boolean | undefined>>;

/**
 * Writes Chrome's JSON trace events, which Perfetto reads: https://perfetto.dev/docs/getting-started/other-formats and the
 * "Trace Event Format" document that it names.
 *
 * The object is complete only after {@linkcode end}. Times are microseconds.
 */
export class TraceEvents {
  readonly #output: ExportOutput;
  readonly #named = new Set<string>();
  readonly #counters = new Map<string, { readonly pid: number; readonly value: number }>();
  #counted = 0;
  #begun = false;
  /** How many events were written, without those that only name tracks. */
  events = 0;

  /**
   * Creates a writer.
   *
   * @param output Where the text goes; nothing does before the first event.
   */
  constructor(output: ExportOutput) {
    this.#output = output;
  }

  /** Something that took time, which is known. */
  slice(track: Track, name: string, begin: number, end: number, args: Args): void {
    this.#write({ ph: "X", ...track, name, ts: begin, dur: end - begin, args });
  }

  /** Something begins on a track; what begins before it ends lies in it. */
  begin(track: Track, name: string, ts: number, args: Args): void {
    this.#write({ ph: "B", ...track, name, ts, args });
  }

  /** The newest that began on a track ends. */
  end(track: Track, ts: number, args: Args): void {
    this.#write({ ph: "E", ...track, ts, args });
  }

  /** Something happened. */
  instant(track: Track, name: string, ts: number, args: Args): void {
    this.#write({ ph: "i", s: "t", ...track, name, ts, args });
  }

  /** A count is another from a time on. Of several at the same time the last one is written. */
  counter(pid: number, name: string, ts: number, value: number): void {
    this.settle(ts);
    this.#counters.set(name, { pid, value });
    this.#counted = ts;
  }

  /** Writes the counts as they were before a time. */
  settle(ts: number): void {
    if (ts === this.#counted || this.#counters.size === 0) return;
    for (const [name, { pid, value }] of this.#counters) {
      this.#write({ ph: "C", pid, name, ts: this.#counted, args: { value } });
    }
    this.#counters.clear();
  }

  /** Names a process, once. */
  nameProcess(pid: number, name: string): void {
    if (this.#isNew(`${pid}`)) {
      this.#put({ ph: "M", pid, name: "process_name", args: { name } });
      this.#put({ ph: "M", pid, name: "process_sort_index", args: { sort_index: pid } });
    }
  }

  /** Names a track, once. */
  nameTrack({ pid, tid }: Track, name: string): void {
    if (!this.#isNew(`${pid} ${tid}`)) return;
    this.#put({ ph: "M", pid, tid, name: "thread_name", args: { name } });
  }

  /**
   * Completes the object.
   *
   * @param about What is said of the whole trace.
   */
  finish(about: Readonly<Record<string, unknown>>): void {
    this.settle(Infinity);
    this.#open();
    this.#output.write(`\n],"otherData":${JSON.stringify(about)}}\n`);
  }

  #isNew(key: string): boolean {
    return this.#named.size !== this.#named.add(key).size;
  }

  #write(event: Readonly<Record<string, unknown>>): void {
    this.events++;
    this.#put(event);
  }

  #put(event: Readonly<Record<string, unknown>>): void {
    const separator = this.#begun ? ",\n" : "";
    this.#open();
    this.#output.write(separator + JSON.stringify(event));
  }

  #open(): void {
    if (this.#begun) return;
    this.#begun = true;
    this.#output.write('{"displayTimeUnit":"ns","traceEvents":[\n');
  }
}
