/**
 * The IOMMUs of a pseries machine as its guest sees them: translation tables, PCI host bridges, VIO devices, calls.
 *
 * A {@linkcode TceTable} is what one LIOBN's addresses point to: a guest writes it by hypercalls, and its region shows it to
 * address spaces and notifiers. A {@linkcode SpaprPhb} is a bus with such tables as its DMA windows, for who wants to
 * lay them out freely. A {@linkcode SpaprMachine} has bridges and VIO devices whose windows are the guest's to create and
 * remove, and answers every hypercall and RTAS call as QEMU does.
 *
 * @module
 */

export type { DeviceTreeProperties } from "./device_tree.ts";
export { MachinePhb } from "./machine_phb.ts";
export type { MachinePhbInit } from "./machine_phb.ts";
export * from "./qemu_sections.ts";
export * from "./rtas.ts";
export { SpaprMachine } from "./spapr_machine.ts";
export type { SpaprMachineInit, SpaprMachineOptions } from "./spapr_machine.ts";
export * from "./spapr_phb.ts";
export { SpaprVioDevice } from "./spapr_vio_device.ts";
export type { SpaprVioInit } from "./spapr_vio_device.ts";
export * from "./table.ts";
