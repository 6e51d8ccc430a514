import type { ConformanceDifference, ConformanceReport } from "./conformance_report.ts";
import { counted, type Style } from "./terminal.ts";

/** How many differences of a recording are shown. */
const SHOWN = 10;

/** How much of a value is shown, in characters. */
const WIDTH = 100;

/**
 * Writes the report of `giommu conformance`.
 *
 * @param report The report.
 * @param style How to mark what matters.
 * @returns Lines of text; the last one is `N passed, N failed`.
 */
export function renderConformance({ scenarios, passed, failed, differences }: ConformanceReport, style: Style): string {
  const width = Math.max(...scenarios.map(({ file }) => baseName(file).length));
  let text = "";
  for (const { file, ops, failed } of scenarios) {
    const verdict = failed === 0 ? style.good("all agree") : style.bad(`${failed} failed`);
    text += `${style.bold(baseName(file).padEnd(width))}  ${counted(ops, "operation").padStart(14)}: ${verdict}\n`;
    if (failed === 0) continue;
    const here = differences.filter((difference) => difference.file === file);
    for (const difference of here.slice(0, SHOWN)) text += `  ${style.bad(renderDifference(difference))}\n`;
    if (here.length > SHOWN) {
      text += style.dim(`  and ${counted(here.length - SHOWN, "more difference")}; --json has all\n`);
    }
  }
  const total = `${passed} passed, ${failed} failed`;
  return `${text}${failed === 0 ? style.good(total) : style.bad(total)}\n`;
}

function renderDifference({ n, op, field, expected, actual, via }: ConformanceDifference): string {
  const where = n === null ? "" : `n ${n}, ${name(op)}: `;
  const ways = { registers: " (in registers)", methods: " (by methods)" } as const;
  const suffix = via === undefined ? "" : ways[via];
  if (field === "op") return `${where}this machine has no such operation${suffix}`;
  if (field === "error") return `${where}threw ${cut(JSON.stringify(actual))}${suffix}`;
  const whole = { path: name(field), expected, actual };
  const part = firstDifference(whole) ?? whole;
  return `${where}${part.path} was ${shown(part.expected)} in the recording, is ${shown(part.actual)} here${suffix}`;
}

/** A part of a field, by its path. */
interface Part {
  readonly path: string;
  readonly expected: unknown;
  readonly actual: unknown;
}

/** The first part that differs, where both have the same shape down to it. */
function firstDifference({ path, expected, actual }: Part): Part | undefined {
  const parts = Array.isArray(expected) && Array.isArray(actual) && expected.length === actual.length
    ? expected.map((item, at) => ({ path: `${path}[${at}]`, expected: item, actual: actual[at] }))
    : isObject(expected) && isObject(actual) && isEqual(Object.keys(expected).sort(), Object.keys(actual).sort())
    ? Object.keys(expected).map((key) => ({
      path: `${path}.${name(key)}`,
      expected: expected[key],
      actual: actual[key],
    }))
    : undefined;
  if (parts === undefined) return expected === actual ? undefined : { path, expected, actual };
  for (const part of parts) {
    const found = firstDifference(part);
    if (found !== undefined) return found;
  }
  return undefined;
}

function isEqual(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((text, at) => text === b[at]);
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A value on one line. What only one side has is nothing on the other; so is a status that was not written. */
function shown(value: unknown): string {
  if (value === null || value === undefined) return "nothing";
  return cut(typeof value === "string" ? name(value) : JSON.stringify(value));
}

/** A name from the input: quoted where it is none, as it must not steer the terminal. */
function name(text: string): string {
  return /^[\w,@/-]+$/.test(text) ? text : cut(JSON.stringify(text));
}

function cut(text: string): string {
  return text.length > WIDTH ? `${text.slice(0, WIDTH)}…` : text;
}

function baseName(file: string): string {
  return file.split(/[\\/]/).at(-1) ?? file;
}
