/** Where reading a log stops; see `RebuiltMachine.stopAt`. */
export interface StopPoint {
  /** After this line, from 1. */
  readonly line?: number;
  /** Before the first line that ends beyond this many bytes, counted after inflating. */
  readonly offset?: number;
  /** Before the first event later than this, in microseconds. */
  readonly time?: bigint;
}

/**
 * Why reading stopped.
 *
 * - `input`: more bytes are needed.
 * - `end`: the log is at its end.
 * - `limit`: the stop point was reached.
 * - `hotplug`: QEMU has replayed to the container of a hotplug, and the next line is the first live one or the end. Now is the
 *   time to attach a container of one's own. The newest of `RebuiltMachine.hotplugs` says more.
 * - `unplug`: the container of the newest hotplug went; nothing has changed since.
 * - `refused`: a notifier refused a live change, which was taken back; see `RebuiltMachine.refusal`.
 */
export type LogStop = "input" | "end" | "limit" | "hotplug" | "unplug" | "refused";

/** A live change that a notifier, such as a container's, refused. */
export interface LiveRefusal {
  /** The line that made it. */
  readonly line: number;
  /** The table. */
  readonly liobn: number;
  /** Why. */
  readonly error: unknown;
}

/** What to know while a log is read. */
export interface ReadOptions {
  /** Called after every piece. */
  onProgress?(): void;
}
