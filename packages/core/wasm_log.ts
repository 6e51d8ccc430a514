/**
 * The raw WebAssembly core: QEMU's logs and streams, and the tables that they tell of. For giommu's own packages, and promised to nobody else.
 *
 * @module
 */

export * from "./_wasm/log.js";
