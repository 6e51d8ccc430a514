/**
 * TCE tables without machines: {@linkcode TceTable}, and what its calls answer.
 *
 * The same is in `@giommu/spapr-tce`, which brings the machines and their part of the core as well. A program that runs
 * from its sources and makes its tables itself starts sooner with this; a bundler leaves machines out of either.
 *
 * @example
 * ```ts
 * import { Hcall, TceTable } from "@giommu/spapr-tce/table";
 * import { assertEquals } from "@std/assert";
 *
 * using table = new TceTable({ liobn: 0x8000_0000, entries: 0x4_0000 });
 * assertEquals(table.putTce(0x3000n, 0x5003n).ret, Hcall.SUCCESS);
 * assertEquals(table.translate(0x3000n)?.target, 0x5000n);
 * ```
 *
 * @module
 */

export { ExtentCursor } from "./extent_cursor.ts";
export type { ExtentCursorOptions } from "./extent_cursor.ts";
export * from "./hcall.ts";
export { DEFAULT_ENTRY_LIMIT, MAX_ENTRY_LIMIT, TceTable } from "./tce_table.ts";
export type { TceTableInit } from "./tce_table.ts";
