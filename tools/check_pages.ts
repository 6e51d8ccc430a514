/**
 * Fails when a page leads nowhere, or holds code that nobody runs.
 *
 *     deno run -A tools/check_pages.ts
 *
 * Links inside the repository must lead to a file, `#…` to a heading of it, and some to every page of the documentation. Blocks of code say what they are: `ts` is run by
 * `deno test --doc`, `sh` and the outputs that pages tell by the tests in `tools/pages`, the rest is nothing that can be run.
 *
 * @module
 */

import { exitWith, failed, type Outcome, passed } from "./outcome.ts";
import { type CodeBlock, type Page, readPage } from "./pages/page.ts";
import { filesBelow, ROOT } from "./repository.ts";

/** What a block may be. Rust's are run by `cargo test`, as the crates' documentation takes its pages in. */
const LANGUAGES: ReadonlySet<string> = new Set([
  "ts",
  "sh",
  "text",
  "mermaid",
  "sql",
  "rust",
  "toml",
  "json",
  "js",
  "html",
  "c",
]);

/** Every page of the repository. */
export function pages(): Page[] {
  return filesBelow(".").filter((path) => path.endsWith(".md"))
    .map((path) => readPage(path, Deno.readTextFileSync(`${ROOT}/${path}`)));
}

/** Looks at every page. */
export function checkPages(): Outcome {
  const all = pages();
  const byPath = new Map(all.map((page) => [page.path, page]));
  const found = all.flatMap((
    page,
  ) => [...deadLinks(page, byPath, exists), ...page.blocks.flatMap(objections(page.path))]);
  for (const path of unreached(byPath)) found.push(`${path}: docs/README.md does not lead there`);
  return found.length === 0 ? passed() : failed(found.join("\n"));
}

/** The pages of the documentation that no link leads to from its index. */
export function unreached(byPath: ReadonlyMap<string, Page>): string[] {
  const reached = new Set<string>();
  const visit = (path: string): void => {
    if (reached.has(path)) return;
    reached.add(path);
    for (const { target } of byPath.get(path)?.links ?? []) {
      const [file = ""] = target.split("#");
      const to = /^[a-z]+:/.test(target) || file === "" ? undefined : resolved(path, file);
      if (to?.startsWith("docs/") && byPath.has(to)) visit(to);
    }
  };
  visit("docs/README.md");
  return [...byPath.keys()].filter((path) => path.startsWith("docs/") && !reached.has(path));
}

/** The links of a page that lead nowhere; `there` says whether a path is in the repository. */
export function deadLinks(
  page: Page,
  byPath: ReadonlyMap<string, Page>,
  there: (path: string) => boolean,
): string[] {
  return page.links.flatMap(({ target, line }) => {
    const where = `${page.path}:${line}: ${target}`;
    if (/^[a-z]+:/.test(target)) {
      return /^(?:https:\/\/[\w.-]+\.\w+(?:[/?#]\S*)?|mailto:\S+@\S+)$/.test(target) ? [] : [`${where}: no address`];
    }
    const [file = "", anchor] = target.split("#", 2);
    const path = file === "" ? page.path : resolved(page.path, file);
    if (path === undefined) return [`${where}: outside of the repository`];
    if (!there(path)) return [`${where}: no such file`];
    if (anchor === undefined) return [];
    const to = byPath.get(path);
    if (to === undefined) return /^L\d+(?:-L\d+)?$/.test(anchor) ? [] : [`${where}: only pages have headings`];
    return to.anchors.has(anchor) ? [] : [`${where}: no such heading`];
  });
}

/** What is wrong with a block. */
export function objections(path: string): (block: CodeBlock) => string[] {
  return ({ language, marks, line }) => {
    const where = `${path}:${line}`;
    if (!LANGUAGES.has(language)) return [`${where}: the block does not say what it is`];
    if (language === "ts" && marks.length > 0 && marks.join(" ") !== "ignore part") {
      return [
        `${where}: "ts ${marks.join(" ")}" is not run: leave the marks away, or make it a part of the page's program`,
      ];
    }
    if (language === "text" && marks.length > 0 && marks.join(" ") !== "output") return [`${where}: unknown mark`];
    return [];
  };
}

/** A path relative to a page, as one of the repository; `undefined` if it leaves that. */
function resolved(page: string, file: string): string | undefined {
  const parts = page.split("/").slice(0, -1);
  for (const part of file.split("/")) {
    if (part === "..") {
      if (parts.pop() === undefined) return undefined;
    } else if (part !== "." && part !== "") parts.push(part);
  }
  return parts.join("/") || ".";
}

function exists(path: string): boolean {
  try {
    Deno.lstatSync(`${ROOT}/${path}`);
    return true;
  } catch {
    return false;
  }
}

if (import.meta.main) exitWith(checkPages());
