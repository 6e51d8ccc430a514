import type { PlayedRecording, RecordingDifference } from "@giommu/testing";

/** How one recording went. */
export interface ScenarioReport extends Pick<PlayedRecording, "ops" | "passed" | "failed"> {
  /** The file. */
  readonly file: string;
}

/** A field of an operation that differs. */
export interface ConformanceDifference extends RecordingDifference {
  /** The file. */
  readonly file: string;
}

/** The report of `giommu conformance`. */
export interface ConformanceReport {
  /** The recordings, in the order of the arguments, those of a folder by name. */
  readonly scenarios: readonly ScenarioReport[];
  /** Operations of all of them that agree. */
  readonly passed: number;
  /** Operations that do not. */
  readonly failed: number;
  /** Every field that differs. */
  readonly differences: readonly ConformanceDifference[];
}
