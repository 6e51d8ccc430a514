import { IommuError, type IommuErrorCode } from "@giommu/core";

/** The core's words for why it refuses a state. */
const CODES: Readonly<Record<string, IommuErrorCode>> = {
  version: "snapshot-version",
  machine: "snapshot-mismatch",
  limit: "entry-limit",
  damaged: "bad-input",
};

/** What helps against each. */
const REMEDIES: Readonly<Record<string, string>> = {
  version: "restore it with the release that saved it",
  machine: "make the machine as the one that was saved",
  limit: "raise entryLimit",
};

/** What to throw for a state that the core refuses: it says why by a word, a space and a message. */
export function stateRefused(what: string, error: unknown): unknown {
  if (!(error instanceof Error) || error instanceof IommuError) return error;
  const [word = "", ...message] = error.message.split(" ");
  const code = Object.hasOwn(CODES, word) ? CODES[word] : undefined;
  if (code === undefined) return error;
  const remedy = REMEDIES[word];
  return new IommuError(code, `Cannot ${what}: ${message.join(" ")}`, {
    ...(remedy !== undefined && { remedy }),
    cause: error,
  });
}
