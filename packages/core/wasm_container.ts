/**
 * The raw WebAssembly core: a container's plans. For giommu's own packages, and promised to nobody else.
 *
 * @module
 */

export * from "./_wasm/container.js";
