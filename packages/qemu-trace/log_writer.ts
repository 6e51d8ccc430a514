import { hex } from "@giommu/core";
import type { QemuFieldKind } from "./event_fields.ts";
import { type Shape, shapes } from "./_shapes.ts";
import type { QemuEvent, QemuEventName } from "./record.ts";

/** The latest time that a reader takes for one, in microseconds: 12 digits of seconds. */
const TIME_MAX = 10n ** 18n - 1n;

/** How a {@linkcode QemuLogWriter} writes. */
export interface QemuLogWriterInit {
  /** Takes each line, with its end. */
  write(line: string): void;
  /** Gives the time of an event that has none, in microseconds; without it such lines have no prefix. */
  now?(): bigint;
  /** The thread of events that have none; 1 unless given. */
  readonly thread?: number;
}

/**
 * Writes events as QEMU logs them, so that a machine in TypeScript can be examined by whatever reads QEMU's logs.
 *
 * @example What is written can be read
 * ```ts
 * import { QemuLogReader, QemuLogWriter } from "@giommu/qemu-trace";
 * import { assertEquals } from "@std/assert";
 *
 * let log = "";
 * const writer = new QemuLogWriter({ write: (line) => log += line, now: () => 1_000_002n });
 * writer.write({ event: "spapr_iommu_pci_put", liobn: 0x8000_0000n, ioba: 0x1000n, tce: 0x440_e003n, ret: 0 });
 * assertEquals(log, "1@1.000002:spapr_iommu_pci_put liobn=0x80000000 ioba=0x1000 tce=0x440e003 ret=0\n");
 *
 * using reader = new QemuLogReader();
 * const [record] = reader.feed(new TextEncoder().encode(log), { last: true });
 * assertEquals(record?.event === "spapr_iommu_pci_put" && record.tce, 0x440_e003n);
 * ```
 */
export class QemuLogWriter {
  readonly #init: QemuLogWriterInit;
  readonly #byName: ReadonlyMap<QemuEventName, Shape>;

  /**
   * Creates a writer.
   *
   * @param init Where lines go, and when and by whom they are logged.
   */
  constructor(init: QemuLogWriterInit) {
    this.#init = init;
    this.#byName = new Map(shapes().map((shape) => [shape.event, shape]));
  }

  /**
   * Writes one event.
   *
   * @param event The event with all its fields.
   * @throws {TypeError} If there is no such kind of event, or a field has the wrong type.
   * @throws {RangeError} If a number does not fit its field, or a text holds a line end.
   */
  write(event: QemuEvent): void {
    const shape = this.#byName.get(event.event);
    if (shape === undefined) throw new TypeError(`Cannot write an event named ${event.event}: there is none`);
    this.#init.write(`${this.#prefix(event)}${shape.event} ${text(shape, event as unknown as Fields)}\n`);
  }

  #prefix(event: QemuEvent): string {
    const time = event.time ?? this.#init.now?.();
    if (time === undefined) return "";
    integer("time", time, 0n, TIME_MAX);
    const thread = event.thread ?? this.#init.thread ?? 1;
    const fraction = (time % 1_000_000n).toString().padStart(6, "0");
    return `${integer("thread", thread, 0n, 0x7fff_ffffn)}@${time / 1_000_000n}.${fraction}:`;
  }
}

type Fields = Readonly<Record<string, unknown>>;

/** The text of an event by its format. */
function text(shape: Shape, event: Fields): string {
  const numbers = shape.fields.filter(([, kind]) => kind !== "text");
  const name = shape.fields.find(([, kind]) => kind === "text")?.[0];
  let next = 0;
  return shape.format.replaceAll(/%([A-Za-z])/g, (_, conversion: string) => {
    if (conversion === "s") return words(name ?? "", event[name ?? ""]);
    const [field, kind] = numbers[next++] ?? ["", "number"];
    return number(conversion, field, kind, event[field]);
  });
}

function words(field: string, value: unknown): string {
  if (typeof value !== "string") throw new TypeError(`Cannot write ${field}: expected text, got ${typeof value}`);
  if (/[\r\n]/.test(value)) throw new RangeError(`Cannot write ${field}: it holds a line end`);
  return value;
}

function number(conversion: string, field: string, kind: QemuFieldKind, value: unknown): string {
  const plain = kind === "flag" ? Number(value) : value;
  switch (conversion) {
    case "P":
      return integer(field, plain, 0n, 0xffff_ffff_ffff_ffffn, 16);
    case "X":
      return integer(field, plain, 0n, 0xffff_ffffn, 16);
    case "p":
      return plain === 0n ? "(nil)" : `0x${integer(field, plain, 0n, 0xffff_ffff_ffff_ffffn, 16)}`;
    case "U":
      return integer(field, plain, 0n, 0xffff_ffff_ffff_ffffn);
    case "u":
      return integer(field, plain, 0n, 0xffff_ffffn);
    case "d":
      return integer(field, plain, -0x8000_0000n, 0x7fff_ffffn);
    default:
      return integer(field, plain, -0x8000_0000_0000_0000n, 0x7fff_ffff_ffff_ffffn);
  }
}

function integer(field: string, value: unknown, min: bigint, max: bigint, radix = 10): string {
  if (typeof value !== "bigint" && typeof value !== "number") {
    throw new TypeError(`Cannot write ${field}: expected a number, got ${typeof value}`);
  }
  if (typeof value === "number" && !Number.isSafeInteger(value)) {
    throw new RangeError(`Cannot write ${field}: ${value} is not a whole number`);
  }
  const exact = BigInt(value);
  if (exact < min || exact > max) {
    throw new RangeError(`Cannot write ${field}: ${hex(exact)} is not from ${hex(min)} to ${hex(max)}`);
  }
  return exact.toString(radix);
}
