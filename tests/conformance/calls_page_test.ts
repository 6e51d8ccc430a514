// docs/spapr-calls.md says which recording shows each answer. Here it has to.
import { assert, assertEquals } from "@std/assert";

const ROOT = new URL("../../", import.meta.url);

interface Row {
  readonly call: string;
  readonly answer: number;
  readonly shown: readonly string[];
}

/** The rows of all tables that name recordings, with the call that their section is about. */
function rows(page: string): Row[] {
  const found: Row[] = [];
  let call = "";
  for (const line of page.split("\n")) {
    call = /^## (\S+) \(/.exec(line)?.[1] ?? (line.startsWith("# ") ? "" : call);
    const [, , answer = "", shown = ""] = /^\|([^|]*)\| (-?\d+) \| ((?:\w+ \d+(?:, )?)+) \|$/.exec(line) ?? [];
    if (call !== "" && shown !== "") found.push({ call, answer: Number(answer), shown: shown.split(", ") });
  }
  return found;
}

const page = await Deno.readTextFile(new URL("docs/spapr-calls.md", ROOT));

Deno.test("every row of the page of calls that has an answer names recordings", () => {
  const tables = page.split("\n").filter((line) => /^\|[^|]*\| -?\d+ \|/.test(line) && !/H_[A-Z_]+ \|/.test(line));
  assertEquals(rows(page).length, tables.length);
  assert(tables.length > 50);
});

for (const { call, answer, shown } of rows(page)) {
  for (const one of shown) {
    Deno.test(`${call} answers ${answer}: ${one}`, async () => {
      const [file = "", n] = one.split(" ");
      const text = await Deno.readTextFile(new URL(`tests/data/vectors/${file}.jsonl`, ROOT));
      const operation = text.split("\n").filter((line) => line !== "").map((line) => JSON.parse(line))
        .find((line) => line.n === Number(n));
      assertEquals(operation?.op, call);
      assertEquals(operation.status ?? operation.ret, answer);
    });
  }
}
