/** What an operation was answered, by the recordings' names of fields: JSON values, 64-bit numbers as hexadecimal text. */
export type Answer = ReadonlyMap<string, unknown>;

/** A field in which two answers differ; what one of them does not have is `null`. */
export interface FieldDifference {
  readonly field: string;
  readonly expected: unknown;
  readonly actual: unknown;
}

/** Compares a recorded answer with another, both ways: a field that only one has is a difference. */
export function compareAnswers(recorded: Readonly<Record<string, unknown>>, answer: Answer): FieldDifference[] {
  const names = new Set([...Object.keys(recorded), ...answer.keys()]);
  return [...names].flatMap((field) => {
    const there = Object.hasOwn(recorded, field);
    const [expected, actual] = [there ? recorded[field] : null, answer.get(field) ?? null];
    return there && answer.has(field) && isSame(expected, actual) ? [] : [{ field, expected, actual }];
  });
}

/** Whether two JSON values are the same; numbers in hexadecimal by their value. */
export function isSame(a: unknown, b: unknown): boolean {
  if (typeof a === "string" && typeof b === "string") return a === b || isHex(a) && isHex(b) && BigInt(a) === BigInt(b);
  if (Array.isArray(a)) return Array.isArray(b) && a.length === b.length && a.every((item, at) => isSame(item, b[at]));
  if (!isObject(a) || !isObject(b) || Array.isArray(b)) return a === b;
  const names = Object.keys(a);
  return names.length === Object.keys(b).length &&
    names.every((name) => Object.hasOwn(b, name) && isSame(a[name], b[name]));
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null;
}

function isHex(text: string): boolean {
  return /^0x[0-9a-f]{1,16}$/i.test(text);
}
