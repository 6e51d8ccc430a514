import { trappedIn } from "@giommu/core/wasm";

/** Makes a call into the core; if that traps, or has before, it is told of what could not be done. `what` is asked for only then. */
export function callCore<T>(call: () => T, what: () => string): T {
  try {
    return call();
  } catch (error) {
    throw trappedIn(what(), error);
  }
}
