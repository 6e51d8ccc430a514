/**
 * What tests of guest-visible IOMMUs need: recordings of real guests, played on a machine, and a model to compare with.
 *
 * {@linkcode playRecording} does to a `SpaprMachine` what a guest did to QEMU, and compares every answer;
 * {@linkcode playRecordingOn} does it to a machine of your own. A {@linkcode randomGuest} does what no recording has, and
 * a {@linkcode ModelMachine} says what it should be answered. Hosts with scripted failures are `SimulatedHost` and
 * `SimulatedSpaprHost` of `@giommu/vfio-sync`.
 *
 * @module
 */

export * from "./edu_device.ts";
export * from "./guest_machine.ts";
export * from "./logical_lan.ts";
export { ModelMachine } from "./model_machine.ts";
export { playRecording, playRecordingOn } from "./play_recording.ts";
export type { PlayedOnMachine, PlayedRecording, RecordingDifference } from "./play_recording.ts";
export { randomGuest } from "./random_guest.ts";
export type { RandomGuestInit } from "./random_guest.ts";
export type * from "./recorded_operation.ts";
export { ModelWindow } from "./model_window.ts";
export type { ModelGeometry } from "./model_window.ts";
export { parseRecording } from "./recording.ts";
export type { RecordedMachine, Recording } from "./recording.ts";
export { SpaprModel } from "./spapr_model.ts";
export type { ModelHcall, ModelRtas, SpaprModelInit } from "./spapr_model.ts";
export * from "./sparse_guest_memory.ts";
