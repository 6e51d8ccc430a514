import type { Cell, Column, Row, RowWriter } from "./column.ts";

/** Takes text. */
export interface TextOutput {
  /** Writes text. */
  write(text: string): void;
}

/** Writes comma-separated values (RFC 4180, with a header; lines end in LF). */
export class CsvWriter implements RowWriter {
  readonly #columns: readonly Column[];
  readonly #output: TextOutput;
  #begun = false;

  /**
   * Creates a writer.
   *
   * @param columns The columns.
   * @param output Where text goes.
   */
  constructor(columns: readonly Column[], output: TextOutput) {
    this.#columns = columns;
    this.#output = output;
  }

  write(row: Row): void {
    this.#begin();
    let text = "";
    for (let i = 0; i < row.length; i++) {
      if (i > 0) text += ",";
      text += plain(row[i] ?? null, this.#columns[i]?.kind === "hex");
    }
    this.#output.write(`${text}\n`);
  }

  end(): void {
    this.#begin();
  }

  #begin(): void {
    if (this.#begun) return;
    this.#begun = true;
    this.#output.write(`${this.#columns.map(({ name }) => name).join(",")}\n`);
  }
}

function plain(cell: Cell, isHex: boolean): string {
  if (cell === null) return "";
  if (typeof cell === "bigint" || typeof cell === "number") return isHex ? `0x${cell.toString(16)}` : cell.toString();
  const text = typeof cell === "string" ? cell : JSON.stringify(cell);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** Writes a JSON object per row, each on one line, with all columns. */
export class JsonLinesWriter implements RowWriter {
  readonly #columns: readonly { readonly key: string; readonly isHex: boolean }[];
  readonly #output: TextOutput;

  /**
   * Creates a writer.
   *
   * @param columns The columns.
   * @param output Where text goes.
   */
  constructor(columns: readonly Column[], output: TextOutput) {
    this.#columns = columns.map(({ name, kind }) => ({ key: `${JSON.stringify(name)}:`, isHex: kind === "hex" }));
    this.#output = output;
  }

  write(row: Row): void {
    let text = "{";
    for (let i = 0; i < row.length; i++) {
      const { key, isHex } = this.#columns[i] ?? { key: "", isHex: false };
      text += `${i > 0 ? "," : ""}${key}${quoted(row[i] ?? null, isHex)}`;
    }
    this.#output.write(`${text}}\n`);
  }

  end(): void {}
}

function quoted(cell: Cell, isHex: boolean): string {
  if (cell === null) return "null";
  if (typeof cell === "bigint" || typeof cell === "number") return isHex ? `"0x${cell.toString(16)}"` : cell.toString();
  return JSON.stringify(cell);
}
