import type { QemuEventName, QemuRecord, RebuiltMachine, TableChange } from "@giommu/qemu-trace";
import { type Column, permission, type RowWriter } from "./column.ts";
import type { LogVisitor } from "./log_walk.ts";
import { MappingOrigins, type OriginRun } from "./mapping_origins.ts";

/** The columns of one row per mapping: from when to when, where it led, and which events made and ended it. */
export const LIFETIME_COLUMNS: readonly Column[] = [
  { name: "liobn", kind: "hex" },
  { name: "iova", kind: "hex" },
  { name: "last", kind: "hex" },
  { name: "pages", kind: "int" },
  { name: "target", kind: "hex" },
  { name: "perm", kind: "text" },
  { name: "from_line", kind: "int" },
  { name: "from_time_us", kind: "int" },
  { name: "from_event", kind: "text" },
  { name: "to_line", kind: "int" },
  { name: "to_time_us", kind: "int" },
  { name: "to_event", kind: "text" },
];

/** An event as rows name it. */
interface Moment {
  readonly line: number | null;
  readonly time: bigint | null;
  readonly event: string | null;
}

const NEVER: Moment = { line: null, time: null, event: null };

/** Events that make, move or remove tables. What such an event means may be known only some lines later. */
const OF_TABLES: ReadonlySet<QemuEventName> = new Set<QemuEventName>([
  "spapr_iommu_new_table",
  "spapr_iommu_ddw_create",
  "spapr_iommu_ddw_remove",
  "spapr_iommu_ddw_reset",
  "spapr_iommu_pre_save",
  "spapr_iommu_post_load",
  "vfio_listener_region_add_iommu",
]);

/**
 * Writes one row per mapping's lifetime, when it ends; those that never do, at the log's end.
 *
 * Pages that one call mapped as one run and one call unmapped are one row. A mapping whose target the log reveals only later
 * (by a translation, after a call whose list it does not tell) begins with the line that reveals it.
 */
export class LifetimeRows implements LogVisitor {
  readonly #writer: RowWriter;
  readonly #machine: RebuiltMachine;
  readonly #origins = new MappingOrigins<Moment>();
  #ofTables: Moment = NEVER;
  /** How many rows were written. */
  rows = 0;

  /**
   * Creates a visitor.
   *
   * @param writer Takes the rows.
   * @param machine The machine that the log is read into. Borrowed.
   */
  constructor(writer: RowWriter, machine: RebuiltMachine) {
    this.#writer = writer;
    this.#machine = machine;
  }

  replaced(record: QemuRecord | undefined): void {
    if (record !== undefined && OF_TABLES.has(record.event)) this.#ofTables = momentOf(record);
    for (const run of this.#origins.replace(this.#machine, momentOf(record))) this.#ended(run, this.#ofTables);
  }

  event(record: QemuRecord): void {
    if (OF_TABLES.has(record.event)) this.#ofTables = momentOf(record);
  }

  changed({ liobn, unmaps, maps }: TableChange, record: QemuRecord | undefined): void {
    const moment = momentOf(record);
    for (const range of unmaps()) {
      for (const run of this.#origins.remove(liobn, range)) this.#ended(run, moment);
    }
    for (const range of maps()) this.#origins.add(liobn, range, moment);
  }

  /** Writes what is still mapped. */
  end(): void {
    for (const run of this.#origins.all()) this.#ended(run, NEVER);
  }

  #ended({ liobn, iova, last, pages, target, origin: { perm, from } }: OriginRun<Moment>, to: Moment): void {
    this.rows++;
    const begin = [from.line, from.time, from.event];
    const place = [BigInt(liobn), iova, last, pages, target, permission(perm)];
    this.#writer.write([...place, ...begin, to.line, to.time, to.event]);
  }
}

function momentOf(record: QemuRecord | undefined): Moment {
  return record === undefined ? NEVER : { line: record.line, time: record.time ?? null, event: record.event };
}
