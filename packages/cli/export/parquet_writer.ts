import type { Cell, Column, ColumnKind, Row, RowWriter } from "./column.ts";
import type { ExportOutput } from "./output.ts";

/** Rows per row group: what is in memory at a time. */
const GROUP = 1 << 16;

/** A column of the file as its schema says it. */
interface Element {
  readonly name: string;
  readonly type: "INT64" | "BYTE_ARRAY";
  readonly converted_type?: "UINT_64" | "UTF8";
  readonly repetition_type: "OPTIONAL";
}

const TYPES: Readonly<Record<ColumnKind, Pick<Element, "type" | "converted_type">>> = {
  int: { type: "INT64" },
  hex: { type: "INT64", converted_type: "UINT_64" },
  text: { type: "BYTE_ARRAY", converted_type: "UTF8" },
  object: { type: "BYTE_ARRAY", converted_type: "UTF8" },
};

/**
 * Makes a writer of Apache Parquet files: 64-bit integers, unsigned for addresses, and text; objects as JSON text.
 *
 * Loads the library that knows the format, which no other format needs.
 *
 * @param columns The columns.
 * @param output Where bytes go.
 * @returns The writer.
 */
export async function parquetWriter(columns: readonly Column[], output: ExportOutput): Promise<RowWriter> {
  const { ByteWriter, ParquetWriter } = await import("hyparquet-writer");
  /** Gives away what it holds after each row group. */
  class Bytes extends ByteWriter {
    flush(): void {
      output.writeBytes(this.getBytes());
      this.index = 0;
    }
    override finish(): void {
      this.flush();
    }
  }
  const schema: Element[] = columns.map(({ name, kind }) => ({ name, ...TYPES[kind], repetition_type: "OPTIONAL" }));
  const writer = new ParquetWriter({
    writer: new Bytes(),
    schema: [{ name: "root", num_children: columns.length }, ...schema],
    createdBy: "giommu",
  });
  let cells: (bigint | string | null)[][] = columns.map(() => []);
  const flush = (): void => {
    const columnData = columns.map(({ name }, at) => ({ name, data: cells[at] ?? [] }));
    // Nothing here is asynchronous: `flush` above returns at once.
    if (columnData[0]?.data.length !== 0) void writer.write({ columnData, rowGroupSize: GROUP });
    cells = columns.map(() => []);
  };
  return {
    write(row: Row): void {
      for (let at = 0; at < columns.length; at++) cells[at]?.push(stored(row[at] ?? null));
      if (cells[0]?.length === GROUP) flush();
    },
    async end(): Promise<void> {
      flush();
      await writer.finish();
    },
  };
}

function stored(cell: Cell): bigint | string | null {
  if (cell === null || typeof cell === "string" || typeof cell === "bigint") return cell;
  return typeof cell === "number" ? BigInt(cell) : JSON.stringify(cell);
}
