// docs/errors.md has every code, once, with the message and the remedy that a program gets.
import { IOMMU_ERROR_CODES, IommuError, type IommuErrorCode } from "@giommu/core";
import { assert, assertEquals } from "@std/assert";
import { provoke, PROVOKED } from "./provoked.ts";

const page = await Deno.readTextFile(new URL("../../docs/errors.md", import.meta.url));

/** The text of each section that is about a code. */
const sections = new Map(
  page.split(/^(?=## )/m).flatMap((section): [string, string][] => {
    const code = /^## `([a-z-]+)`$/m.exec(section)?.[1];
    return code === undefined ? [] : [[code, section]];
  }),
);

/** Codes that no test brings about beside others: the page says why. */
const UNPROVOKED: readonly IommuErrorCode[] = ["window-overlap", "core-trapped"];

Deno.test("the page of errors has a section for every code, and for nothing else", () => {
  assertEquals([...sections.keys()].sort(), [...IOMMU_ERROR_CODES].sort());
  for (const [code, section] of sections) {
    for (const part of ["**When.**", "**Why.**", "**Remedy.**"]) assert(section.includes(part), `${code}: ${part}`);
  }
});

Deno.test("the codes that are brought about, and those that are not, are all", () => {
  assertEquals([...Object.keys(PROVOKED), ...UNPROVOKED].sort(), [...IOMMU_ERROR_CODES].sort());
});

for (const code of Object.keys(PROVOKED) as IommuErrorCode[]) {
  Deno.test(`${code} is brought about, and says what the page says`, async () => {
    const error = await provoke(code);
    assert(error instanceof IommuError, String(error));
    const { message, remedy } = error;
    const told = /```text\n([^]*?)```/.exec(sections.get(code) ?? "")?.[1];
    assertEquals([error.code, `${message}\n${remedy === undefined ? "" : `remedy: ${remedy}\n`}`], [code, told]);
  });
}
