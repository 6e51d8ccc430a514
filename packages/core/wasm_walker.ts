/**
 * The raw WebAssembly core: the walk over regions that offer `translate` alone. For giommu's own packages, and promised to nobody else.
 *
 * @module
 */

import { onTrap } from "./_wasm/walker.js";
import { trapOf } from "./trap.ts";

onTrap(trapOf("replays"));

export * from "./_wasm/walker.js";
