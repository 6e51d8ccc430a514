/**
 * sPAPR translation tables, hypercalls and PCI host bridges.
 *
 * @module
 */

export {};
