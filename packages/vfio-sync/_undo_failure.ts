import { IommuError } from "@giommu/core";

/** Undoes what was done before a refusal. If that fails as well, both are thrown: the refusal is the first error of the cause. */
export function undone(refusal: unknown, undo: () => void): void {
  try {
    undo();
  } catch (failure) {
    throw new IommuError("rollback-failed", `${textOf(refusal)}; and ${lower(textOf(failure))}`, {
      ...(failure instanceof IommuError && {
        ranges: failure.ranges,
        ...(failure.remedy !== undefined && { remedy: failure.remedy }),
      }),
      cause: new AggregateError([refusal, failure], textOf(refusal)),
    });
  }
}

/** What began it, and what failed when it was undone, whoever found that out. */
export function partsOf(error: unknown): { readonly refusal: unknown; readonly failures: readonly unknown[] } {
  if (!(error instanceof IommuError && error.code === "rollback-failed" && error.cause instanceof AggregateError)) {
    return { refusal: error, failures: [] };
  }
  const [first, ...failures] = error.cause.errors;
  const { refusal, failures: inner } = partsOf(first);
  return { refusal, failures: [...inner, ...failures] };
}

/** The message of whatever was thrown. */
export function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** A message in the middle of a sentence. */
export function lower(message: string): string {
  return message.replace(/^Cannot /, "cannot ");
}
