/** A page of Markdown, as far as checks look at it: code blocks, headings, links. */

/** A fenced block of code. */
export interface CodeBlock {
  /** The first word behind the fence: `ts`, `sh`, `text`; empty if there is none. */
  readonly language: string;
  /** The words after it. */
  readonly marks: readonly string[];
  /** The lines between the fences, indented as the first fence was, without that. */
  readonly code: string;
  /** The line of the first fence, from 1. */
  readonly line: number;
}

/** A link, or an image. */
export interface Link {
  /** Where it leads, as written. */
  readonly target: string;
  /** The line that it is in, from 1. */
  readonly line: number;
}

/** One page. */
export interface Page {
  /** Its path in the repository. */
  readonly path: string;
  readonly blocks: readonly CodeBlock[];
  readonly links: readonly Link[];
  /** What `#…` may name: the anchors that forges give to headings, and `<a id="…">`. */
  readonly anchors: ReadonlySet<string>;
}

/** Reads a page. */
export function readPage(path: string, text: string): Page {
  const blocks: CodeBlock[] = [];
  const links: Link[] = [];
  const anchors = new Set<string>();
  const lines = text.split("\n");
  for (let at = 0; at < lines.length; at++) {
    const fence = /^(\s*)(`{3,}|~{3,})(.*)$/.exec(lines[at] ?? "");
    if (fence !== null) {
      const [, indent = "", mark = "", info = ""] = fence;
      const start = at;
      const code: string[] = [];
      while (++at < lines.length && lines[at]?.trim() !== mark) code.push((lines[at] ?? "").slice(indent.length));
      const [language = "", ...marks] = info.trim().split(/\s+/);
      blocks.push({ language, marks, code: code.map((one) => `${one}\n`).join(""), line: start + 1 });
      continue;
    }
    const line = lines[at] ?? "";
    const heading = /^#{1,6}\s+(.*?)\s*#*$/.exec(line);
    if (heading !== null) anchors.add(unique(slug(heading[1] ?? ""), anchors));
    for (const [, id = ""] of line.matchAll(/<a (?:id|name)="([^"]+)"/g)) anchors.add(id);
    const prose = line.replaceAll(/`[^`]*`/g, (code) => "`".padEnd(code.length, "`"));
    for (const [, target = ""] of prose.matchAll(/\]\(\s*<?([^)\s>]+)>?(?:\s+"[^"]*")?\s*\)/g)) {
      links.push({ target, line: at + 1 });
    }
    const reference = /^\s*\[[^\]]+\]:\s+<?([^`\s]+?)>?\s*$/.exec(prose);
    if (reference !== null) links.push({ target: reference[1] ?? "", line: at + 1 });
  }
  return { path, blocks, links, anchors };
}

/** The anchor that a forge gives to a heading: lower case, no punctuation, hyphens for spaces. */
export function slug(heading: string): string {
  const plain = heading.replaceAll(/!?\[([^\]]*)\]\([^)]*\)/g, "$1").replaceAll(/[`*]/g, "");
  return plain.toLowerCase().replaceAll(/[^\p{L}\p{N}\s_-]/gu, "").replaceAll(/\s/g, "-");
}

function unique(anchor: string, taken: ReadonlySet<string>): string {
  if (!taken.has(anchor)) return anchor;
  let n = 1;
  while (taken.has(`${anchor}-${n}`)) n++;
  return `${anchor}-${n}`;
}
