import { IommuError } from "@giommu/core";
import * as bindings from "./_bindings.ts";

/** The functions of the library, by deno_bindgen; each answers with a number, an error's with a minus. */
export type Library = Omit<typeof bindings, "load">;

/** Names another library file than the one that `deno task build:host` makes. */
const VARIABLE = "GIOMMU_HOST_LIBRARY";

let isLoaded = false;

/**
 * The library, loaded at the first use.
 *
 * @throws {IommuError} `"backend-unavailable"`, with what is missing: Linux, Deno, a permission, the library.
 */
export function library(): Library {
  if (!isLoaded) {
    load();
    isLoaded = true;
  }
  return bindings;
}

function load(): void {
  if (typeof Deno === "undefined") throw unavailable("this is not Deno", "run the program with Deno on Linux");
  if (Deno.build.os !== "linux") {
    throw unavailable(`this is ${Deno.build.os}`, "run the program on Linux, or use a SimulatedHost");
  }
  const path = libraryPath();
  try {
    bindings.load(path);
  } catch (cause) {
    if (cause instanceof Deno.errors.NotCapable || cause instanceof Deno.errors.PermissionDenied) {
      throw unavailable("it may not load a library", `run the program with --allow-ffi=${path}`, cause);
    }
    const why = cause instanceof Error ? cause.message : String(cause);
    throw unavailable(
      `the library cannot be loaded: ${why}`,
      `build it in a checkout with deno task build:host, or name it in ${VARIABLE}`,
      cause,
    );
  }
}

function libraryPath(): string {
  const named = variable();
  if (named !== undefined && named !== "") return named;
  const built = new URL("../../target/release/libgiommu_host.so", import.meta.url);
  if (built.protocol === "file:") return decodeURIComponent(built.pathname);
  throw unavailable(
    "its library is not part of the package",
    `build it in a checkout with deno task build:host, and name it in ${VARIABLE}`,
  );
}

function variable(): string | undefined {
  try {
    return Deno.env.get(VARIABLE);
  } catch (error) {
    // Without the permission to read it, there is none.
    if (error instanceof Deno.errors.NotCapable) return undefined;
    throw error;
  }
}

function unavailable(state: string, remedy: string, cause?: unknown): IommuError {
  return new IommuError("backend-unavailable", `Cannot use VFIO: ${state}`, {
    remedy,
    ...(cause !== undefined && { cause }),
  });
}
