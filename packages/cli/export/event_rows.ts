import { QEMU_EVENT_FIELDS, type QemuRecord, type RebuiltTable } from "@giommu/qemu-trace";
import { type Cell, type Column, permission, type Row, type RowWriter } from "./column.ts";
import type { LogVisitor } from "./log_walk.ts";

/** The columns of one row per event. */
export const EVENT_COLUMNS: readonly Column[] = [
  { name: "line", kind: "int" },
  { name: "time_us", kind: "int" },
  { name: "thread", kind: "int" },
  { name: "event", kind: "text" },
  { name: "liobn", kind: "hex" },
  { name: "iova", kind: "hex" },
  { name: "last", kind: "hex" },
  { name: "pages", kind: "int" },
  { name: "target", kind: "hex" },
  { name: "perm", kind: "text" },
  { name: "value", kind: "hex" },
  { name: "ret", kind: "int" },
  { name: "what", kind: "text" },
  { name: "more", kind: "object" },
];

/** What an event says, in the same words for all events. */
export interface EventCells {
  /** The table. */
  liobn?: bigint;
  /** The first bus address. */
  iova?: bigint;
  /** The last one, included. */
  last?: bigint;
  /** How many pages of the table. */
  pages?: number;
  /** Where the first page points to. */
  target?: bigint;
  /** What a device may do there. */
  perm?: string;
  /** The entry with all its bits. */
  value?: bigint;
  /** The return code. */
  ret?: number;
  /** `MAP` or `UNMAP`, or the name of a region. */
  what?: string;
  /** Everything else, named as in QEMU's formats. */
  more?: Record<string, string | number | boolean>;
}

/** Where a table lies; of one that is not there yet, as QEMU makes it. */
type Place = Pick<RebuiltTable, "busOffset" | "pageShift">;
const DEFAULT: Place = { busOffset: 0n, pageShift: 12 };

/** Writes one row per event of a log. */
export class EventRows implements LogVisitor {
  readonly #writer: RowWriter;
  readonly #tables: () => readonly RebuiltTable[];
  #places = new Map<bigint, Place>();
  /** How many rows were written. */
  rows = 0;

  /**
   * Creates a visitor.
   *
   * @param writer Takes the rows.
   * @param tables The tables as they are now.
   */
  constructor(writer: RowWriter, tables: () => readonly RebuiltTable[]) {
    this.#writer = writer;
    this.#tables = tables;
  }

  replaced(): void {
    this.#places = new Map(this.#tables().map((table) => [BigInt(table.liobn), table]));
  }

  event(record: QemuRecord): void {
    this.rows++;
    this.#writer.write(eventRow(record, this.#places));
  }

  changed(): void {}
}

function eventRow(record: QemuRecord, places: ReadonlyMap<bigint, Place>): Row {
  const { line, time, thread, event } = record;
  const { liobn, iova, last, pages, target, perm, value, ret, what, more } = eventCells(record, places);
  const cells = [line, time, thread, event, liobn, iova, last, pages, target, perm, value, ret, what, more];
  return cells.map((cell): Cell => cell ?? null);
}

/**
 * Says an event in the words of {@linkcode EventCells}: bus addresses and ranges also where QEMU logs an offset in a window
 * (`spapr_iommu_xlate`) or the address after the range (`spapr_iommu_stuff`).
 *
 * @param record The event.
 * @param places Where the tables lie.
 * @returns What it says.
 */
export function eventCells(record: QemuRecord, places: ReadonlyMap<bigint, Place>): EventCells {
  switch (record.event) {
    case "spapr_iommu_put":
    case "spapr_iommu_pci_put": {
      const { liobn, ioba, tce, ret } = record;
      const place = places.get(liobn) ?? DEFAULT;
      return { liobn, ...pagesFrom(ioba, 1, place), ...entry(tce, place), ret };
    }
    case "spapr_iommu_get":
    case "spapr_iommu_pci_get": {
      const { liobn, ioba, tce, ret } = record;
      const place = places.get(liobn) ?? DEFAULT;
      return { liobn, ...pagesFrom(ioba, 1, place), ...(ret === 0 && entry(tce, place)), ret };
    }
    case "spapr_iommu_stuff":
    case "spapr_iommu_pci_stuff": {
      const { liobn, ioba, tcevalue, npages, ret } = record;
      const place = places.get(liobn) ?? DEFAULT;
      // Logged is the address after the range; of a call that failed, the one at which it did.
      const range = ret === 0
        ? pagesFrom(ioba - (BigInt(npages) << BigInt(place.pageShift)), npages, place)
        : { iova: ioba, pages: npages };
      return { liobn, ...range, ...entry(tcevalue, place), ret };
    }
    case "spapr_iommu_indirect":
    case "spapr_iommu_pci_indirect": {
      const { liobn, ioba, tcelist, iobaN, tceN, ret } = record;
      const range = pagesFrom(ioba, iobaN + 1, places.get(liobn) ?? DEFAULT);
      return { liobn, ...range, ret, more: { tcelist: hexText(tcelist), tceN: hexText(tceN) } };
    }
    case "spapr_iommu_xlate": {
      const { liobn, address, target, perm, mask } = record;
      const iova = BigInt.asUintN(64, (places.get(liobn) ?? DEFAULT).busOffset + address);
      return { liobn, iova, target, perm: permission(perm), more: { mask: hexText(BigInt(mask)) } };
    }
    default:
      return otherCells(record);
  }
}

/** The range of some pages; without its end where that is beyond all addresses, or there are none. */
function pagesFrom(ioba: bigint, pages: number, { pageShift }: Place): Pick<EventCells, "iova" | "last" | "pages"> {
  const shift = BigInt(pageShift);
  const iova = BigInt.asUintN(64, ioba >> shift << shift);
  const last = pages < 1 ? -1n : iova + (BigInt(pages) << shift) - 1n;
  return { iova, pages, ...(last === BigInt.asUintN(64, last) && { last }) };
}

/** What an entry says. */
function entry(value: bigint, { pageShift }: Place): Pick<EventCells, "value" | "target" | "perm"> {
  const perm = Number(value & 3n);
  if (perm === 0) return { value, perm: "" };
  return { value, target: value >> BigInt(pageShift) << BigInt(pageShift), perm: permission(perm) };
}

function hexText(value: bigint): string {
  return `0x${value.toString(16)}`;
}

/** Any other event: fields of the same name mean the same in all of QEMU's formats. */
function otherCells(record: QemuRecord): EventCells {
  const fields = record as unknown as Readonly<Record<string, bigint | number | boolean | string>>;
  const names: Readonly<Record<string, string>> = QEMU_EVENT_FIELDS[record.event];
  const begin = "iova" in names ? "iova" : "start" in names ? "start" : undefined;
  const cells: EventCells = {};
  const more: Record<string, string | number | boolean> = {};
  for (const [name, kind] of Object.entries(names)) {
    const field = fields[name];
    if (field === undefined) continue;
    if (kind === "text") cells.what = String(field);
    else if (name === begin) cells.iova = BigInt(field);
    else if (name === "size" && begin !== undefined) {
      if (BigInt(field) > 0n) cells.last = BigInt.asUintN(64, BigInt(fields[begin] ?? 0n) + BigInt(field) - 1n);
    } else if (name === "last" && begin === "start") cells.last = BigInt(field);
    else if (name === "liobn") cells.liobn = BigInt(field);
    else if (name === "target") cells.target = BigInt(field);
    else if (name === "ret") cells.ret = Number(field);
    else more[name] = typeof field === "bigint" ? hexText(field) : field;
  }
  const table = /^tce-iommu-([0-9a-f]{1,8})$/.exec(cells.what ?? "");
  if (table !== null && cells.liobn === undefined) cells.liobn = BigInt(`0x${table[1]}`);
  if (Object.keys(more).length > 0) cells.more = more;
  return cells;
}
