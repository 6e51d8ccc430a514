/**
 * What tests of guest-visible IOMMUs need: recordings of real guests, played on a machine, and a model to compare with.
 *
 * {@linkcode playRecording} does to a `SpaprMachine` what a guest did to QEMU, and compares every answer.
 *
 * @module
 */

export * from "./edu_device.ts";
export * from "./logical_lan.ts";
export { playRecording } from "./play_recording.ts";
export type { PlayedRecording, RecordingDifference } from "./play_recording.ts";
export type * from "./recorded_operation.ts";
export { ModelWindow } from "./model_window.ts";
export type { ModelGeometry } from "./model_window.ts";
export { parseRecording } from "./recording.ts";
export type { RecordedMachine, Recording } from "./recording.ts";
export { SpaprModel } from "./spapr_model.ts";
export type { ModelHcall, ModelRtas, SpaprModelInit } from "./spapr_model.ts";
export * from "./sparse_guest_memory.ts";
