/** Writes text in colour where a person looks at it, and plainly into pipes, files and where `NO_COLOR` is set. */
export interface Style {
  /** For what agrees. */
  good(text: string): string;
  /** For what differs or was refused. */
  bad(text: string): string;
  /** For what matters less. */
  dim(text: string): string;
  /** For headings. */
  bold(text: string): string;
}

const PLAIN: Style = { good: same, bad: same, dim: same, bold: same };

const COLOURED: Style = {
  good: (text) => `\x1b[32m${text}\x1b[39m`,
  bad: (text) => `\x1b[31m${text}\x1b[39m`,
  dim: (text) => `\x1b[2m${text}\x1b[22m`,
  bold: (text) => `\x1b[1m${text}\x1b[22m`,
};

function same(text: string): string {
  return text;
}

/**
 * The style for standard output.
 *
 * @param terminal Whether a person looks at it.
 * @param noColor Whether colours are unwanted (`NO_COLOR`).
 * @returns Coloured only on a terminal, and only where colours are wanted.
 */
export function styleFor(terminal: boolean, noColor: boolean): Style {
  return terminal && !noColor ? COLOURED : PLAIN;
}

/**
 * Writes a count as people read it.
 *
 * @param count The count.
 * @returns With commas between thousands.
 */
export function count(count: number | bigint): string {
  return count.toString().replace(/\B(?=(\d{3})+(?!\d))/g, ",");
}

/**
 * A count with its noun.
 *
 * @param number The count.
 * @param noun The noun in the singular.
 * @param plural The noun in the plural; with an `s` unless given.
 * @returns For example `1 page`, `593 pages`.
 */
export function counted(number: number | bigint, noun: string, plural = `${noun}s`): string {
  return `${count(number)} ${number == 1 ? noun : plural}`;
}

/**
 * Writes a number of bytes as people read it.
 *
 * @param size Bytes, 0 to 2^64.
 * @returns The largest binary unit that divides it, for example `64 KiB`.
 */
export function binarySize(size: bigint): string {
  const units = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
  let at = 0;
  while (at + 1 < units.length && size >= 1024n && size % 1024n === 0n) {
    size /= 1024n;
    at++;
  }
  return `${count(size)} ${units[at]}`;
}

/**
 * Writes a number of bytes of a file, rounded.
 *
 * @param bytes Bytes.
 * @returns For example `48.9 MB`.
 */
export function fileSize(bytes: number): string {
  if (bytes < 10_000) return `${count(bytes)} bytes`;
  for (const [unit, factor] of [["GB", 1e9], ["MB", 1e6]] as const) {
    if (bytes >= factor) return `${(bytes / factor).toFixed(1)} ${unit}`;
  }
  return `${(bytes / 1e3).toFixed(0)} kB`;
}

/**
 * Writes a time as people read it.
 *
 * @param nanoseconds The time.
 * @returns For example `0.42 ms`.
 */
export function duration(nanoseconds: number): string {
  if (nanoseconds < 1e6) return `${(nanoseconds / 1e3).toFixed(0)} us`;
  if (nanoseconds < 1e9) return `${(nanoseconds / 1e6).toFixed(nanoseconds < 1e7 ? 2 : 0)} ms`;
  return `${(nanoseconds / 1e9).toFixed(1)} s`;
}
