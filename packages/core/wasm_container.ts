/**
 * The raw WebAssembly core: a container's plans. For giommu's own packages, and promised to nobody else.
 *
 * @module
 */

import { onTrap } from "./_wasm/container.js";
import { trapOf } from "./trap.ts";

onTrap(trapOf("containers"));

export * from "./_wasm/container.js";
