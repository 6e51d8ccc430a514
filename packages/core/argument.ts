/**
 * Checks that something is an object of a class: a caller without types may have passed something else.
 *
 * @param name What it is, for the message.
 * @param value The value.
 * @param type The class.
 * @returns The same value.
 * @throws {TypeError} If it is none.
 *
 * @example
 * ```ts
 * import { checkInstance } from "@giommu/core";
 * import { assertThrows } from "@std/assert";
 *
 * assertThrows(() => checkInstance("since", "noon", Date), TypeError, "Cannot use since: expected a Date, got a string");
 * ```
 */
export function checkInstance<T>(name: string, value: unknown, type: abstract new (...args: never[]) => T): T {
  if (value instanceof type) return value;
  throw new TypeError(`Cannot use ${name}: expected ${article(type.name)}, got ${nameOf(value)}`);
}

/**
 * Checks the names of an options object: what a caller without types has misspelt would be ignored.
 *
 * @param name What the options are, for the message.
 * @param options The options.
 * @param known The names that they may have, as keys.
 * @throws {TypeError} If the options are no object, or have a name that is not known.
 *
 * @example
 * ```ts
 * import { checkOptions } from "@giommu/core";
 * import { assertThrows } from "@std/assert";
 *
 * const known = { headroom: true, coalesce: true };
 * checkOptions("options", { headroom: 0 }, known);
 * assertThrows(() => checkOptions("options", { headrom: 0 }, known), TypeError, "there is no headrom, only coalesce, headroom");
 * ```
 */
export function checkOptions(name: string, options: object, known: Readonly<Record<string, unknown>>): void {
  if (typeof options !== "object" || options === null) {
    throw new TypeError(`Cannot use ${name}: expected an object, got ${nameOf(options)}`);
  }
  for (const key of Object.keys(options)) {
    if (Object.hasOwn(known, key)) continue;
    throw new TypeError(`Cannot use ${name}: there is no ${key}, only ${Object.keys(known).sort().join(", ")}`);
  }
}

/**
 * Says what a value is, for messages.
 *
 * @param value Any value.
 * @returns `"a string"`, `"null"`, `"a Date"`, `"an object"`.
 *
 * @example
 * ```ts
 * import { nameOf } from "@giommu/core";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals([1n, null, undefined, {}, new Map()].map(nameOf), ["a bigint", "null", "nothing", "an object", "a Map"]);
 * ```
 */
export function nameOf(value: unknown): string {
  if (value === null) return "null";
  if (value === undefined) return "nothing";
  if (typeof value !== "object") return article(typeof value);
  const made: unknown = value.constructor;
  return typeof made === "function" && made !== Object && made.name !== "" ? article(made.name) : "an object";
}

function article(noun: string): string {
  return `${/^(?:[aeio]|un)/i.test(noun) ? "an" : "a"} ${noun}`;
}
