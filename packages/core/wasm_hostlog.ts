/**
 * The raw WebAssembly core: the kernel's log, and what QEMU printed. For giommu's own packages, and promised to nobody else.
 *
 * @module
 */

export * from "./_wasm/hostlog.js";
