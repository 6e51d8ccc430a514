/**
 * The raw WebAssembly core: the walk over regions that offer `translate` alone. For giommu's own packages, and promised to nobody else.
 *
 * @module
 */

export * from "./_wasm/walker.js";
