/**
 * The raw WebAssembly core: TCE tables. For giommu's own packages, and promised to nobody else.
 *
 * @module
 */

import { onTrap } from "./_wasm/table.js";
import { trapOf } from "./trap.ts";

onTrap(trapOf("TCE tables", "; lower entryLimit"));

export * from "./_wasm/table.js";
