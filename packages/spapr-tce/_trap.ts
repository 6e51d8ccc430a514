import { IommuError } from "@giommu/core";

/** What ended the core, once it has. There is one core for the whole realm. */
let trap: WebAssembly.RuntimeError | undefined;

/** Whether the core has trapped. Nothing in it may be called from then on, not even to free something. */
export function isTrapped(): boolean {
  return trap !== undefined;
}

/** Throws if the core has trapped. */
export function checkCore(what: string): void {
  if (trap !== undefined) throw coreTrapped(what, trap);
}

/** Makes a call into the core; if it traps, that is remembered. `what` is asked for only then. */
export function callCore<T>(call: () => T, what: () => string): T {
  try {
    return call();
  } catch (error) {
    throw coreTrapped(what(), error);
  }
}

/** What to throw for an error that came out of the core: the same one, unless it is a trap, which is remembered. */
export function coreTrapped(what: string, error: unknown): unknown {
  if (!(error instanceof WebAssembly.RuntimeError)) return error;
  trap ??= error;
  return new IommuError("core-trapped", `Cannot ${what}: the core has trapped, most likely as its memory ran out`, {
    remedy: "make a new process or realm, as the core's state is lost; lower entryLimit",
    cause: trap,
  });
}
