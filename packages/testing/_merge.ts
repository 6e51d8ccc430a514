import { type FieldDifference, isSame } from "./_answer.ts";

/** Joins what is the same in all ways of calling; what is not says in which. */
export function merged<Via extends string>(
  ways: readonly (readonly [Via, readonly FieldDifference[]])[],
): (FieldDifference & { readonly via?: Via })[] {
  const equal = (a: FieldDifference) => (b: FieldDifference) => a.field === b.field && isSame(a.actual, b.actual);
  return ways.flatMap(([via, found], at) =>
    found.flatMap((difference) => {
      const isShared = ways.every(([, others]) => others.some(equal(difference)));
      if (!isShared) return [{ ...difference, via }];
      return at === 0 ? [difference] : [];
    })
  );
}
