/**
 * The raw WebAssembly core: the doctor. For giommu's own packages, and promised to nobody else.
 *
 * @module
 */

export * from "./_wasm/doctor.js";
