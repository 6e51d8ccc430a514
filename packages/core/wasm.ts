/**
 * The raw WebAssembly core, for giommu's own packages. It is promised to nobody else: names and layouts change with the core.
 *
 * @module
 */

export * from "./_wasm/giommu_wasm.js";
export { put } from "./feed.ts";
export type { RawSink } from "./feed.ts";
export { ExtentView } from "./extent_view.ts";
export { RecordView } from "./record_view.ts";
