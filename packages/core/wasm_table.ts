/**
 * The raw WebAssembly core: TCE tables. For giommu's own packages, and promised to nobody else.
 *
 * @module
 */

export * from "./_wasm/table.js";
