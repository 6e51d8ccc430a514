/** What a check or a run of tests came to. */

/** Counts, and what to show a person. A part that could not run here is skipped, which is never a pass. */
export interface Outcome {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  /** Empty if there is nothing to say. */
  readonly report: string;
}

/** One check that found nothing. */
export function passed(report = ""): Outcome {
  return { passed: 1, failed: 0, skipped: 0, report };
}

/** One check that found what `report` says. */
export function failed(report: string): Outcome {
  return { passed: 0, failed: 1, skipped: 0, report };
}

/** One check that this machine cannot make, for the reason in `report`. */
export function skipped(report: string): Outcome {
  return { passed: 0, failed: 0, skipped: 1, report };
}

/** Adds outcomes up. */
export function sum(outcomes: readonly Outcome[]): Outcome {
  const add = (count: (outcome: Outcome) => number): number =>
    outcomes.reduce((total, outcome) => total + count(outcome), 0);
  return {
    passed: add((outcome) => outcome.passed),
    failed: add((outcome) => outcome.failed),
    skipped: add((outcome) => outcome.skipped),
    report: outcomes.map((outcome) => outcome.report).filter((report) => report !== "").join("\n"),
  };
}

/** `N passed, N failed`, and how many were skipped if any were. */
export function closingLine(outcome: Outcome): string {
  const counts = `${outcome.passed} passed, ${outcome.failed} failed`;
  return outcome.skipped === 0 ? counts : `${counts}, ${outcome.skipped} skipped`;
}

/** True in CI and with `--no-skip`: what this machine cannot do is then a failure, not a remark. */
export function skipsFail(args: readonly string[] = Deno.args): boolean {
  return args.includes("--no-skip") || Deno.env.get("CI") === "true";
}

/** Turns skips into failures if `strict`. */
export function judged(outcome: Outcome, strict: boolean): Outcome {
  return strict ? { ...outcome, failed: outcome.failed + outcome.skipped, skipped: 0 } : outcome;
}

/** Prints a lone check's report and its closing line, and ends the process as its outcome demands. */
export function exitWith(outcome: Outcome, strict: boolean = skipsFail()): never {
  const final = judged(outcome, strict);
  if (final.report !== "") console.log(final.report);
  console.log(closingLine(final));
  Deno.exit(final.failed === 0 ? 0 : 1);
}
