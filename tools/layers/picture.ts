/** The layers, as docs and this check agree on them: what each part of the repository may import. */

/** The packages below each package, which it may import by name. */
export const BELOW: Readonly<Record<string, readonly string[]>> = {
  "core": [],
  "notifiers": ["core"],
  "memory-api": ["core", "notifiers"],
  "spapr-tce": ["core", "notifiers", "memory-api"],
  "vfio-sync": ["core", "notifiers", "memory-api"],
  "vfio-linux": ["core", "notifiers", "memory-api", "vfio-sync"],
  "testing": ["core", "notifiers", "memory-api", "spapr-tce", "vfio-sync"],
  "qemu-trace": ["core", "notifiers", "memory-api", "spapr-tce", "vfio-sync"],
  "doctor": ["core", "qemu-trace"],
  "cli": ["core", "notifiers", "memory-api", "spapr-tce", "vfio-sync", "vfio-linux", "qemu-trace", "doctor", "testing"],
};

/** Folders that may import every package, and that nobody imports. */
export const ABOVE_ALL: readonly string[] = ["examples", "tests", "bench"];

/** Third-party modules that what is published may import; everything else is for tests. */
export const PUBLISHED_THIRD_PARTY: Readonly<Record<string, readonly string[]>> = {
  "cli": ["@std/cli/parse-args", "hyparquet-writer"],
};

/** Packages for programs that run in a system, not in a browser: these alone may import `node:` modules. */
export const SYSTEM_PACKAGES: readonly string[] = ["cli", "vfio-linux"];

/** What each Rust crate may depend on; its tests may use anything but a crate above it. */
export const CRATE_DEPENDENCIES: Readonly<Record<string, readonly string[]>> = {
  "giommu-core": ["thiserror"],
  "giommu-bench": ["giommu-core"],
  "giommu-wasm": ["giommu-bench", "giommu-core", "wasm-bindgen"],
  "giommu-host": ["deno_bindgen", "iommufd-bindings", "libc", "linkme", "vfio-bindings"],
  "giommu-model-check": ["giommu-core", "stateright"],
  "giommu-vm-memory": ["giommu-core", "vm-memory"],
};
