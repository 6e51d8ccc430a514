import { QemuLogReader, type QemuRecord, type TableChange } from "@giommu/qemu-trace";
import type { Session } from "../session.ts";

/** Is shown a log from its beginning to its end: each event, and what it changed in the guest's tables. */
export interface LogVisitor {
  /**
   * Tables came, went or were replaced: look at the machine's.
   *
   * @param record The event of the last line that was read, if there is one; it is shown by {@linkcode event} after this, unless
   * it was before.
   */
  replaced(record: QemuRecord | undefined): void;
  /** The next event. */
  event(record: QemuRecord): void;
  /**
   * What that event changed.
   *
   * @param change The change, of use until this returns.
   * @param record The event.
   */
  changed(change: TableChange, record: QemuRecord | undefined): void;
}

const NOTHING = new Uint8Array();

/** What is needed of a session to read its log. */
export type ReadSession = Pick<Session, "machine" | "input" | "progress">;

/**
 * Reads a log to its end, in memory that does not grow with its length.
 *
 * @param session The input, a log of which nothing was read.
 * @param visitor Is shown what is in it.
 * @returns How many events there were, those that say nothing of tables too.
 * @throws {IommuError} `"bad-input"` if the input cannot be read to its end. What comes before that was shown.
 */
export async function walkLog(session: ReadSession, visitor: LogVisitor): Promise<number> {
  const { machine, input, progress } = session;
  using walk = new Walk(session, visitor);
  using _following = machine.follow({
    changed: (change) => walk.changed(change),
    replaced: (line) => walk.replaced(line),
  });
  for (let bytes = await input.read(); bytes !== undefined; bytes = await input.read()) {
    walk.feed(bytes, false);
    progress.update(input.bytesRead, machine.counts.lines);
  }
  walk.feed(NOTHING, true);
  progress.clear();
  return walk.events;
}

/** Reads the same bytes twice, as events and as a machine, and brings both together by their lines. */
class Walk implements Disposable {
  readonly #session: ReadSession;
  readonly #visitor: LogVisitor;
  readonly #reader = new QemuLogReader();
  #events: Iterator<QemuRecord, void> | undefined;
  /** The next event, which was not shown yet. */
  #next: QemuRecord | undefined;
  /** The newest that was. */
  #shown: QemuRecord | undefined;
  #last = false;
  /** Events that tell the machine nothing, and that it does not count. */
  #foreign = 0;

  constructor(session: ReadSession, visitor: LogVisitor) {
    this.#session = session;
    this.#visitor = visitor;
  }

  /** How many events there were. */
  get events(): number {
    return this.#session.machine.counts.events + this.#foreign;
  }

  feed(bytes: Uint8Array, last: boolean): void {
    const { machine } = this.#session;
    this.#last = last;
    this.#events = this.#reader.feed(bytes, { last });
    let stop = machine.feed(bytes, { last });
    while (stop !== "input" && stop !== "end") stop = machine.resume();
    this.#showTo(Infinity);
  }

  changed(change: TableChange): void {
    this.#showTo(change.line);
    this.#visitor.changed(change, this.#newestAt(change.line));
  }

  replaced(line: number): void {
    this.#showTo(line - 1);
    this.#visitor.replaced(this.#peek()?.line === line ? this.#next : this.#newestAt(line));
  }

  [Symbol.dispose](): void {
    this.#reader[Symbol.dispose]();
  }

  #showTo(line: number): void {
    for (let next = this.#peek(); next !== undefined && next.line <= line; next = this.#peek()) {
      this.#next = undefined;
      // A last line without an end may be one that was cut: the machine knows whether it is to be taken.
      if (this.#last && this.#reader.counts.events > this.events) return;
      this.#shown = next;
      this.#visitor.event(next);
    }
  }

  #peek(): QemuRecord | undefined {
    if (this.#next !== undefined) return this.#next;
    const next = this.#events?.next().value ?? undefined;
    if (next?.event.startsWith("vtd_")) this.#foreign++;
    return this.#next = next;
  }

  #newestAt(line: number): QemuRecord | undefined {
    return this.#shown?.line === line ? this.#shown : undefined;
  }
}
