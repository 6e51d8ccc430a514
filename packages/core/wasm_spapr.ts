/**
 * The raw WebAssembly core: machines, with their tables and their state. For giommu's own packages, and promised to nobody else.
 *
 * @module
 */

import { onTrap } from "./_wasm/spapr.js";
import { trapOf } from "./trap.ts";

onTrap(trapOf("sPAPR machines", "; lower entryLimit"));

export * from "./_wasm/spapr.js";
