import { IommuError } from "./error.ts";

/**
 * Says what a trap of one module of the core is. The other modules are not concerned.
 *
 * @param things What is made of that module.
 * @param remedy What helps against running out of memory, besides.
 * @returns What makes the error: the same `cause` each time.
 */
export function trapOf(things: string, remedy = ""): (cause: WebAssembly.RuntimeError) => IommuError {
  return (cause) =>
    new IommuError("core-trapped", `Cannot use ${things}: their part of the core has trapped, ${LIKELY}`, {
      remedy: "make a new process or realm, as what they held is lost" + remedy,
      cause,
    });
}

const LIKELY = "most likely as its memory ran out";

/**
 * The same trap, told of what could not be done.
 *
 * @param what The act and the thing: "write TCE table 0x80000000".
 * @param error Whatever was thrown.
 * @returns The trap by the other name, or `error` itself if it is none.
 */
export function trappedIn(what: string, error: unknown): unknown {
  if (!(error instanceof IommuError) || error.code !== "core-trapped") return error;
  return new IommuError("core-trapped", `Cannot ${what}: the core has trapped, ${LIKELY}`, {
    ...(error.remedy !== undefined && { remedy: error.remedy }),
    cause: error.cause,
  });
}
