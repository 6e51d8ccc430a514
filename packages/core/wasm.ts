/**
 * How giommu's own packages read what the WebAssembly core left in its memory. It is promised to nobody else: names and
 * layouts change with the core. The core's modules themselves are beside it: `@giommu/core/wasm/spapr` and others.
 *
 * @module
 */

export { put } from "./feed.ts";
export type { RawSink } from "./feed.ts";
export { Numbers } from "./numbers.ts";
export { ExtentView } from "./extent_view.ts";
export { RecordView } from "./record_view.ts";
export type { CoreMemory } from "./record_view.ts";
export { trappedIn } from "./trap.ts";
