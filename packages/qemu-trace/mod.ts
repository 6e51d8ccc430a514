/**
 * Reads QEMU's trace logs and migration streams, and writes such logs.
 *
 * {@linkcode openInput} gives the bytes of either, {@linkcode readQemuLog} the events of a log one by one. What else such a run
 * leaves is read by {@linkcode readKernelLog}, what the host's IOMMU did, and {@linkcode readQemuStderr}, what it refused.
 * A {@linkcode RebuiltMachine} makes the guest's IOMMU tables of them, says what they leave unknown, compares them with whatever
 * else the input tells, and shows a PCI host bridge as an address space that follows the log. A {@linkcode MigrationStream} holds
 * QEMU's own tables. A {@linkcode QemuLogWriter} writes logs, and {@linkcode logTable} and {@linkcode logSpace} make a machine in
 * TypeScript write one.
 *
 * @module
 */

export * from "./event_fields.ts";
export type * from "./finding.ts";
export { TroubleKind } from "./finding.ts";
export * from "./input.ts";
export * from "./kernel_log.ts";
export { QemuLogReader, readQemuLog } from "./log_reader.ts";
export type { FeedOptions, LogCounts } from "./log_reader.ts";
export * from "./log_writer.ts";
export * from "./logged_space.ts";
export * from "./logged_table.ts";
export { MigrationStream, readMigrationStream } from "./migration_stream.ts";
export type { StreamTable } from "./migration_stream.ts";
export type * from "./log_stop.ts";
export * from "./qemu_stderr.ts";
export { RebuiltBridge } from "./rebuilt_bridge.ts";
export type { BridgeOptions } from "./rebuilt_bridge.ts";
export * from "./rebuilt_machine.ts";
export type * from "./rebuilt_table.ts";
export type * from "./record.ts";
export type * from "./table_change.ts";
