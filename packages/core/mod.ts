/**
 * What every giommu package shares: address and range aliases, checks of 64-bit values, and {@linkcode IommuError}.
 *
 * The WebAssembly core itself is behind `@giommu/core/wasm`, which is for the other giommu packages and promised to
 * nobody else.
 *
 * @module
 */

export * from "./address.ts";
export * from "./argument.ts";
export * from "./error.ts";
