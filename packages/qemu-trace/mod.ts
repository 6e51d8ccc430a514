/**
 * Reads and writes QEMU trace logs and migration streams.
 *
 * @module
 */

export {};
