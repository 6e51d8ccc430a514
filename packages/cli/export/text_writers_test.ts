import { assertEquals } from "@std/assert";
import type { Column, Row, RowWriter } from "./column.ts";
import { CsvWriter, JsonLinesWriter } from "./text_writers.ts";

const COLUMNS: readonly Column[] = [
  { name: "line", kind: "int" },
  { name: "iova", kind: "hex" },
  { name: "what", kind: "text" },
  { name: "more", kind: "object" },
];
const ROWS: readonly Row[] = [
  [1, 0xffff_ffff_ffff_ffffn, 'a "region", or\ntwo', { fd: -1, table: "0x1" }],
  [1_795_217_436_442_317n, null, "", null],
];

function written(make: (output: { write(text: string): void }) => RowWriter, rows: readonly Row[]): string {
  let text = "";
  const writer = make({ write: (more) => text += more });
  for (const row of rows) writer.write(row);
  void writer.end();
  return text;
}

Deno.test("CSV quotes what would end a cell or a row, and nothing is an empty cell", () => {
  assertEquals(
    written((output) => new CsvWriter(COLUMNS, output), ROWS),
    'line,iova,what,more\n1,0xffffffffffffffff,"a ""region"", or\ntwo","{""fd"":-1,""table"":""0x1""}"\n' +
      "1795217436442317,,,\n",
  );
});

Deno.test("CSV without rows has its header, JSON lines have nothing", () => {
  assertEquals(written((output) => new CsvWriter(COLUMNS, output), []), "line,iova,what,more\n");
  assertEquals(written((output) => new JsonLinesWriter(COLUMNS, output), []), "");
});

Deno.test("each JSON line has every column", () => {
  const lines = written((output) => new JsonLinesWriter(COLUMNS, output), ROWS).trimEnd().split("\n");
  assertEquals(lines.map((line) => JSON.parse(line)), [
    { line: 1, iova: "0xffffffffffffffff", what: 'a "region", or\ntwo', more: { fd: -1, table: "0x1" } },
    { line: 1_795_217_436_442_317, iova: null, what: "", more: null },
  ]);
});
