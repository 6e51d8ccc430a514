/**
 * sPAPR translation tables, hypercalls and PCI host bridges.
 *
 * A {@linkcode TceTable} is what one LIOBN's addresses point to: a guest writes it by hypercalls, and its region shows it to
 * address spaces and notifiers. A {@linkcode SpaprPhb} is a bus with such tables as its DMA windows.
 *
 * @module
 */

export * from "./hcall.ts";
export * from "./spapr_phb.ts";
export { DEFAULT_ENTRY_LIMIT, MAX_ENTRY_LIMIT, TceTable } from "./tce_table.ts";
export type { TceTableInit } from "./tce_table.ts";
