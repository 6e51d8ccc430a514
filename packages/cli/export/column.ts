/** What a column holds: whole numbers; addresses and other values of 64 bits; text; a small object. */
export type ColumnKind = "int" | "hex" | "text" | "object";

/** A column of the rows that are written. */
export interface Column {
  /** Its name. */
  readonly name: string;
  /** What it holds. */
  readonly kind: ColumnKind;
}

/** What stands in a row: by its column's kind a number or bigint, a bigint, a string, an object; `null` for nothing. */
export type Cell = number | bigint | string | Readonly<Record<string, string | number | boolean>> | null;

/** A row, with a cell for each column. */
export type Row = readonly Cell[];

/** Takes rows and writes them in some format. */
export interface RowWriter {
  /** Writes one row. */
  write(row: Row): void;
  /** Writes what ends the output. */
  end(): void | Promise<void>;
}

/** What a device may do, as rows tell it. */
export function permission(perm: number): string {
  return ["", "r", "w", "rw"][perm] ?? String(perm);
}
