/** Reads the flat arrays of numbers in which the core tells what it found: see core-rs/crates/wasm/src/doctor.rs. */

import { Numbers } from "@giommu/core/wasm";
import type { AddressRange } from "@giommu/core";
import type { LoggedCall } from "./_logged_call.ts";
import type { FindingId, FindingRound, LogName, Proof } from "./finding.ts";

/** A finding as the core knows it. */
export interface RawFinding {
  readonly id: FindingId;
  readonly errno: number;
  readonly window: bigint;
  readonly source: LogName;
  readonly first: number;
  readonly last: number;
  readonly open: number;
  readonly count: number;
  readonly replayed: number;
  readonly saved: number;
  readonly pages: number;
  readonly pageShift: number;
  readonly proof: Proof;
  readonly calls: number;
  readonly measure: readonly [number, number, number];
  readonly cut: boolean;
  readonly iova: bigint;
  readonly before: bigint | undefined;
  readonly now: bigint | undefined;
  readonly host: bigint | undefined;
  readonly other: bigint | undefined;
  readonly heldSince: number;
  readonly kernelLine: number;
  readonly stderrLine: number;
  readonly call: LoggedCall | undefined;
  readonly hull: AddressRange;
  readonly ranges: readonly AddressRange[];
  readonly rounds: readonly FindingRound[];
}

/** The kinds by the core's numbers: `FindingKind` in core-rs/crates/core/src/doctor/finding.rs. */
const IDS: readonly FindingId[] = [
  "stale-mapping",
  "wrong-permission",
  "mapping-missing",
  "mapping-left-behind",
  "mapping-unexplained",
  "wrong-target",
  "hotplug-incomplete",
  "mapping-limit",
  "mapping-limit-near",
  "dma-fault",
  "dma-fault-unmapped",
  "change-unproved",
  "target-not-memory",
  "failure-unmatched",
  "permission-widened",
  "unmap-without-effect",
  "maps-adjoin",
  "replay-of-empty-window",
  "window-outside-host",
  "page-too-fine",
];
const SOURCES: readonly LogName[] = ["log", "kernel", "stderr"];
/** What findings rest on, by the core's numbers. */
export const PROOFS: readonly Proof[] = ["derived", "log", "stderr", "kernel"];

/** The findings in the core's numbers. `name` tells a kind of event by its number. */
export function rawFindings(list: BigUint64Array, name: (kind: number) => string): RawFinding[] {
  const rest = new Numbers(list);
  const found: RawFinding[] = [];
  while (rest.more) {
    rest.number();
    found.push(rawFinding(rest, name));
  }
  return found;
}

function rawFinding(rest: Numbers, name: (kind: number) => string): RawFinding {
  const fixed = {
    id: IDS[rest.number()] ?? "failure-unmatched",
    errno: rest.signed(),
    window: rest.big(),
    source: SOURCES[rest.number()] ?? "log",
    first: rest.number(),
    last: rest.number(),
    open: rest.number(),
    count: rest.number(),
    replayed: rest.number(),
    saved: rest.number(),
    pages: rest.number(),
    pageShift: rest.number(),
    proof: PROOFS[rest.number()] ?? "derived",
    calls: rest.number(),
    measure: [rest.number(), rest.number(), rest.number()] as const,
    cut: rest.number() !== 0,
    iova: rest.big(),
  };
  const known = rest.number();
  const [before, now, host, other] = rest.times(4, () => rest.big()).map((value, at) =>
    (known >> at & 1) === 0 ? undefined : value
  );
  const [heldSince, kernelLine, stderrLine] = [rest.number(), rest.number(), rest.number()];
  const called = rest.number() !== 0;
  const call: LoggedCall = { event: name(rest.number()), line: rest.number(), fields: rest.times(8, () => rest.big()) };
  const range = (): AddressRange => ({ start: rest.big(), last: rest.big() });
  const hull = range();
  const ranges = rest.times(rest.number(), range);
  const rounds = rest.times(rest.number(), () => {
    const round = { hotplug: rest.number(), first: rest.number(), last: rest.number(), count: rest.number() };
    rest.number();
    return round;
  });
  return {
    ...fixed,
    before,
    now,
    host,
    other,
    heldSince,
    kernelLine,
    stderrLine,
    call: called ? call : undefined,
    hull,
    ranges,
    rounds,
  };
}
