import type { QEMU_EVENT_FIELDS } from "./event_fields.ts";

/** The name of an event in QEMU's source. */
export type QemuEventName = keyof typeof QEMU_EVENT_FIELDS;

/** What a field is in a record: addresses, sizes, TCEs and LIOBNs are bigints, everything else is a number or text. */
export interface QemuFieldTypes {
  /** A number that QEMU prints in hexadecimal. */
  readonly hex: bigint;
  /** A small number: a return code, a count, an index, a shift. */
  readonly number: number;
  /** Yes or no. */
  readonly flag: boolean;
  /** A name. */
  readonly text: string;
}

/** The fields of one kind of event, named as in QEMU's formats where those have names. */
export type QemuEventFields<Name extends QemuEventName> = {
  readonly [Field in keyof typeof QEMU_EVENT_FIELDS[Name]]: typeof QEMU_EVENT_FIELDS[Name][Field] extends
    keyof QemuFieldTypes ? QemuFieldTypes[typeof QEMU_EVENT_FIELDS[Name][Field]]
    : never;
};

/** Where an event stands in its log. */
export interface QemuRecordPlace {
  /** Its line, from 1. */
  readonly line: number;
  /** When it was logged, in microseconds, where the line says so (`-msg timestamp=on`). */
  readonly time?: bigint;
  /** The thread that logged it, where the line says so. */
  readonly thread?: number;
}

/** One event of a log of the given kind. */
export type QemuRecordOf<Name extends QemuEventName> =
  & { readonly event: Name }
  & QemuRecordPlace
  & QemuEventFields<Name>;

/**
 * One event of a QEMU log: told apart by {@linkcode QemuRecordOf.event | event}.
 *
 * @example
 * ```ts
 * import type { QemuRecord } from "@giommu/qemu-trace";
 * import { assertEquals } from "@std/assert";
 *
 * function pages(record: QemuRecord): number {
 *   switch (record.event) {
 *     case "spapr_iommu_pci_put":
 *       return 1;
 *     case "spapr_iommu_pci_stuff":
 *       return record.npages;
 *     default:
 *       return 0;
 *   }
 * }
 * const stuff = { event: "spapr_iommu_pci_stuff", line: 1, liobn: 0x8000_0000n, ioba: 0x5010000n, tcevalue: 0n } as const;
 * assertEquals(pages({ ...stuff, npages: 16, ret: 0 }), 16);
 * ```
 */
export type QemuRecord = { [Name in QemuEventName]: QemuRecordOf<Name> }[QemuEventName];

/** An event as a {@linkcode QemuLogWriter} takes it: its line is where it is written. */
export type QemuEvent = {
  [Name in QemuEventName]:
    & { readonly event: Name }
    & Partial<Omit<QemuRecordPlace, "line">>
    & QemuEventFields<Name>;
}[QemuEventName];
