/**
 * The raw WebAssembly core: machines, with their tables and their state. For giommu's own packages, and promised to nobody else.
 *
 * @module
 */

export * from "./_wasm/spapr.js";
