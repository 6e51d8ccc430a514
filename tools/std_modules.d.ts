// What this project uses of @std, typed. The import map takes @std from an npm copy that carries no types; an
// ambient module is preferred over what an import resolves to, so the same declarations serve JSR's own @std too.

declare module "@std/assert" {
  // deno-lint-ignore no-explicit-any
  type AnyClass<E> = abstract new (...args: any[]) => E;

  /** What every assertion throws. */
  export class AssertionError extends Error {
    constructor(message: string, options?: ErrorOptions);
  }

  export function equal(a: unknown, b: unknown): boolean;
  export function fail(message?: string): never;
  export function unreachable(reason?: string): never;
  export function unimplemented(message?: string): never;

  export function assert(condition: unknown, message?: string): asserts condition;
  export function assertFalse(condition: unknown, message?: string): asserts condition is false;
  export function assertExists<T>(actual: T, message?: string): asserts actual is NonNullable<T>;
  export function assertInstanceOf<E>(actual: unknown, type: AnyClass<E>, message?: string): asserts actual is E;
  export function assertNotInstanceOf<A, E>(
    actual: A,
    type: AnyClass<E>,
    message?: string,
  ): asserts actual is Exclude<A, E>;

  export function assertEquals<T>(actual: T, expected: T, message?: string): void;
  export function assertNotEquals<T>(actual: T, expected: T, message?: string): void;
  export function assertStrictEquals<T>(actual: unknown, expected: T, message?: string): asserts actual is T;
  export function assertNotStrictEquals<T>(actual: T, expected: T, message?: string): void;
  export function assertAlmostEquals(actual: number, expected: number, tolerance?: number, message?: string): void;
  export function assertGreater<T>(actual: T, expected: T, message?: string): void;
  export function assertGreaterOrEqual<T>(actual: T, expected: T, message?: string): void;
  export function assertLess<T>(actual: T, expected: T, message?: string): void;
  export function assertLessOrEqual<T>(actual: T, expected: T, message?: string): void;

  export function assertArrayIncludes<T>(actual: ArrayLike<T>, expected: ArrayLike<T>, message?: string): void;
  export function assertObjectMatch(actual: object, expected: object, message?: string): void;
  export function assertStringIncludes(actual: string, expected: string, message?: string): void;
  export function assertMatch(actual: string, expected: RegExp, message?: string): void;
  export function assertNotMatch(actual: string, expected: RegExp, message?: string): void;

  export function assertIsError<E extends Error = Error>(
    error: unknown,
    type?: AnyClass<E>,
    messageMatches?: string | RegExp,
    message?: string,
  ): asserts error is E;
  export function assertThrows(fn: () => unknown, message?: string): unknown;
  export function assertThrows<E extends Error = Error>(
    fn: () => unknown,
    type: AnyClass<E>,
    messageIncludes?: string,
    message?: string,
  ): E;
  export function assertRejects(fn: () => PromiseLike<unknown>, message?: string): Promise<unknown>;
  export function assertRejects<E extends Error = Error>(
    fn: () => PromiseLike<unknown>,
    type: AnyClass<E>,
    messageIncludes?: string,
    message?: string,
  ): Promise<E>;
}

declare module "@std/cli/parse-args" {
  type Value<T, K, Defaults> = K extends keyof Defaults ? T : T | undefined;

  /** The arguments found: one key per option that was declared, and `_` for what is not an option. */
  export type ParsedArgs<Booleans extends string, Strings extends string, Collected extends string, Defaults> =
    & { _: Array<"_" extends Strings ? string : string | number>; "--"?: string[] }
    & { [K in Exclude<Booleans, "_">]: boolean }
    & { [K in Exclude<Strings, Collected | "_">]: Value<string, K, Defaults> }
    & { [K in Exclude<Collected, "_">]: string[] };

  export interface ParseOptions<
    Booleans extends string = never,
    Strings extends string = never,
    Collected extends string = never,
    Defaults = Record<never, never>,
  > {
    /** Options without a value. */
    boolean?: readonly Booleans[];
    /** Options whose value stays text; `"_"` keeps positional arguments from being turned into numbers. */
    string?: readonly Strings[];
    /** Options that may be given several times. */
    collect?: readonly Collected[];
    /** Boolean options that `--no-…` sets to false. */
    negatable?: readonly string[];
    default?: Defaults;
    alias?: Record<string, string | readonly string[]>;
    /** Everything after the first positional argument is positional. */
    stopEarly?: boolean;
    /** Puts what follows `--` into a field of that name instead of `_`. */
    "--"?: boolean;
    /** Called for what was not declared; `false` leaves it out. */
    unknown?: (arg: string, key?: string, value?: unknown) => unknown;
  }

  export function parseArgs<
    const Booleans extends string = never,
    const Strings extends string = never,
    const Collected extends string = never,
    Defaults = Record<never, never>,
  >(
    args: readonly string[],
    options?: ParseOptions<Booleans, Strings, Collected, Defaults>,
  ): ParsedArgs<Booleans, Strings, Collected, Defaults>;
}
