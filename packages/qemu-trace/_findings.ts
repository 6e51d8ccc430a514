/** Reads the flat arrays of numbers in which the core tells what it found. */

import { Numbers } from "@giommu/core/wasm";
import type { IommuPerm } from "@giommu/notifiers";
import type {
  Agreement,
  Disagreement,
  LogHotplug,
  LogProblem,
  StateComparison,
  StateDifference,
  TableAnswer,
  UsagePeak,
} from "./finding.ts";
import { TroubleKind } from "./finding.ts";

const TROUBLES = [
  TroubleKind.OUTSIDE_WINDOW,
  TroubleKind.NO_TABLE,
  TroubleKind.OTHER_GEOMETRY,
  TroubleKind.BAD_GEOMETRY,
  TroubleKind.TOO_MUCH,
] as const;

function list<T>(numbers: BigUint64Array | Numbers, read: (numbers: Numbers) => T): T[] {
  const rest = numbers instanceof Numbers ? numbers : new Numbers(numbers);
  const found: T[] = [];
  while (rest.more) found.push(read(rest));
  return found;
}

/** Of translations and of reads. */
export function agreements(numbers: BigUint64Array): [translations: Agreement, reads: Agreement] {
  const rest = new Numbers(numbers);
  const one = (): Agreement => ({ agreed: rest.number(), disagreed: rest.number(), learned: rest.number() });
  return [one(), one()];
}

export function disagreements(numbers: BigUint64Array): Disagreement[] {
  const answer = (rest: Numbers): TableAnswer => ({
    target: rest.big(),
    perm: rest.number() as IommuPerm,
    mask: rest.number(),
  });
  return list(numbers, (rest) => ({
    line: rest.number(),
    liobn: rest.number(),
    iova: rest.big(),
    by: rest.number() === 1 ? "get" : "xlate",
    rebuilt: answer(rest),
    logged: answer(rest),
  }));
}

/** How many there were, and the first. */
export function problems(numbers: BigUint64Array): { count: number; shown: LogProblem[] } {
  const rest = new Numbers(numbers);
  const count = rest.number();
  const shown = list(rest, () => ({
    kind: TROUBLES[rest.number()] ?? TroubleKind.TOO_MUCH,
    line: rest.number(),
    liobn: rest.big(),
    iova: rest.big(),
  }));
  return { count, shown };
}

export function hotplugs(numbers: BigUint64Array): LogHotplug[] {
  return list(numbers, (all) => {
    const rest = all.part(all.number());
    const line = rest.number();
    const [events, last, compared] = [rest.number(), rest.number(), rest.number()];
    const comparison = {
      replayed: rest.number(),
      agreed: rest.number(),
      missing: rest.number(),
      extra: rest.number(),
      unknown: rest.number(),
    };
    return {
      line,
      liobns: list(rest, () => rest.number()),
      ...(compared === 1 && { comparison }),
      ...(last !== 0 && { unplug: { line: last, events } }),
    };
  });
}

export function peaks(numbers: BigUint64Array): UsagePeak[] {
  return list(numbers, (rest) => ({
    index: (rest.number() & 0x7fff_ffff) >>> 8,
    inUse: rest.number(),
    peak: rest.number(),
    line: rest.number(),
  }));
}

export function stateComparisons(numbers: BigUint64Array): StateComparison[] {
  const difference = (rest: Numbers): StateDifference => ({ iova: rest.big(), log: rest.big(), stream: rest.big() });
  return list(numbers, (all) => {
    const rest = all.part(all.number());
    return {
      liobn: rest.number(),
      entries: rest.number(),
      agreed: rest.number(),
      differing: rest.number(),
      unknown: rest.number(),
      differences: list(rest, difference),
    };
  });
}

export { list };
