/** A run of pages of a window. */
export interface PictureRun {
  /** The first page, from 0 at the window's beginning. */
  readonly first: number;
  /** How many pages. */
  readonly pages: number;
}

const LEVELS = ["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];
const NOTHING = "·";
const UNKNOWN = "?";

/**
 * Draws a window as one line: each column stands for an equal share of its pages, and the higher its block the more of them
 * are mapped. A dot means none, a question mark only pages whose content nobody told.
 *
 * @param entries Pages in the window.
 * @param mapped Runs of mapped pages, in any order, none twice.
 * @param unknown Runs of pages whose content is not known.
 * @param width Columns.
 * @returns The line.
 */
export function windowPicture(
  entries: number,
  mapped: Iterable<PictureRun>,
  unknown: Iterable<PictureRun>,
  width = 64,
): string {
  const columns = Math.max(1, Math.min(width, entries));
  const inMapped = spread(entries, columns, mapped);
  const inUnknown = spread(entries, columns, unknown);
  let line = "";
  for (let column = 0; column < columns; column++) {
    const room = firstOf(column + 1, entries, columns) - firstOf(column, entries, columns);
    const share = (inMapped[column] ?? 0) / room;
    if (share > 0) line += LEVELS[Math.min(LEVELS.length - 1, Math.floor(share * LEVELS.length))];
    else line += (inUnknown[column] ?? 0) > 0 ? UNKNOWN : NOTHING;
  }
  return line;
}

/** The first page of a column. */
function firstOf(column: number, entries: number, columns: number): number {
  return Math.floor(column * entries / columns);
}

/** How many pages of the runs fall into each column. */
function spread(entries: number, columns: number, runs: Iterable<PictureRun>): Float64Array {
  const pages = new Float64Array(columns);
  for (const { first, pages: length } of runs) {
    let at = first;
    const end = Math.min(entries, first + length);
    let column = Math.min(columns - 1, Math.floor(at * columns / entries));
    while (at < end) {
      while (firstOf(column + 1, entries, columns) <= at) column++;
      const stop = Math.min(end, firstOf(column + 1, entries, columns));
      pages[column] = (pages[column] ?? 0) + stop - at;
      at = stop;
    }
  }
  return pages;
}
