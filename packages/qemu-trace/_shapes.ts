import { RawLogReader } from "@giommu/core/wasm/log";
import { QEMU_EVENT_FIELDS, type QemuFieldKind } from "./event_fields.ts";
import type { QemuEventName } from "./record.ts";

/** A kind of event: its name, the format of its lines, its fields in the order of the format. */
export interface Shape {
  readonly event: QemuEventName;
  /** `%P` and `%X` are hexadecimal, `%D`, `%d`, `%U` and `%u` decimal, `%p` is a pointer, `%s` text. */
  readonly format: string;
  readonly fields: readonly (readonly [name: string, kind: QemuFieldKind])[];
}

let read: readonly Shape[] | undefined;

/** The kinds of events by the core's numbers; asked of the core on first use. */
export function shapes(): readonly Shape[] {
  return read ??= readShapes();
}

function readShapes(): readonly Shape[] {
  const list: Shape[] = [];
  for (let name = RawLogReader.kindName(0); name !== undefined; name = RawLogReader.kindName(list.length)) {
    const event = name as QemuEventName;
    const format = RawLogReader.kindFormat(list.length) ?? "";
    list.push({ event, format, fields: Object.entries(QEMU_EVENT_FIELDS[event]) as [string, QemuFieldKind][] });
  }
  return list;
}
