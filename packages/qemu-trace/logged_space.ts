import type { AddressSpace, MemoryListener, MemorySection } from "@giommu/memory-api";
import { IommuMemoryRegion, registerNotifier, unregisterNotifier } from "@giommu/memory-api";
import { IommuNotifier, IommuNotifierFlag, type IotlbEvent } from "@giommu/notifiers";
import type { QemuLogWriter } from "./log_writer.ts";

/** An address space whose IOMMU sections are logged; dispose of it to end that. */
export type LoggedSpace = Disposable;

/**
 * Logs what QEMU's VFIO would log of an address space: its IOMMU sections as they come and go, what is replayed of each, and what
 * changes from then on.
 *
 * Where tables are logged as well, by {@linkcode logTable}, the log then shows a hotplug: each live change stands before the call
 * that made it.
 *
 * @param space The address space. Borrowed.
 * @param writer Where lines go.
 * @returns What ends it, as an unplug does.
 * @throws {IommuError} What adding a listener throws; nothing is registered then.
 *
 * @example A hotplug onto a bus with one mapping
 * ```ts
 * import { logSpace, logTable, QemuLogWriter, RebuiltMachine } from "@giommu/qemu-trace";
 * import { SpaprPhb } from "@giommu/spapr-tce";
 * import { assert, assertEquals } from "@std/assert";
 *
 * let log = "";
 * const writer = new QemuLogWriter({ write: (line) => log += line });
 * using phb = new SpaprPhb({ index: 0 });
 * const table = phb.defaultWindow;
 * assert(table);
 * const logged = logTable(table, writer);
 * logged.putTce(0x1000n, 0x440_e003n);
 * {
 *   using _device = logSpace(phb.space, writer);
 *   logged.putTce(0x2000n, 0x440_f003n);
 * }
 *
 * using machine = new RebuiltMachine();
 * assertEquals(machine.feed(new TextEncoder().encode(log), { last: true }), "hotplug");
 * assertEquals(machine.hotplugs[0]?.comparison, { replayed: 1, agreed: 1, missing: 0, extra: 0, unknown: 0 });
 * assertEquals([machine.resume(), machine.resume()], ["unplug", "end"]);
 * ```
 */
export function logSpace(space: AddressSpace, writer: QemuLogWriter): LoggedSpace {
  const listener = new SpaceLogger(writer);
  space.addListener(listener);
  return { [Symbol.dispose]: () => void space.removeListener(listener) };
}

/** Hears of sections and logs them. */
class SpaceLogger implements MemoryListener {
  readonly #writer: QemuLogWriter;
  readonly #notifiers = new Map<string, IommuNotifier>();

  constructor(writer: QemuLogWriter) {
    this.#writer = writer;
  }

  regionAdd(section: MemorySection): void {
    const { region, offsetWithinRegion, range } = section;
    if (!(region instanceof IommuMemoryRegion)) return;
    this.#writer.write({
      event: "vfio_listener_region_add_iommu",
      region: region.name,
      start: range.start,
      last: range.last,
    });
    const offset = range.start - offsetWithinRegion;
    const notifier = new IommuNotifier({
      flags: IommuNotifierFlag.IOTLB_EVENTS,
      range: { start: offsetWithinRegion, last: range.last - offset },
      notify: (event) => this.#tell(event, offset),
    });
    registerNotifier(region, notifier, { replay: true });
    this.#notifiers.set(key(section), notifier);
  }

  regionDel(section: MemorySection): void {
    const { region, range } = section;
    const notifier = this.#notifiers.get(key(section));
    if (!(region instanceof IommuMemoryRegion) || notifier === undefined) return;
    this.#notifiers.delete(key(section));
    unregisterNotifier(region, notifier);
    this.#writer.write({ event: "vfio_listener_region_del_iommu", region: region.name });
    this.#writer.write({ event: "vfio_listener_region_del", start: range.start, last: range.last });
  }

  /** QEMU tells of each page alone. */
  #tell({ type, iova, pageSize }: IotlbEvent, offset: bigint): void {
    const name = type === IommuNotifierFlag.MAP ? "MAP" : "UNMAP";
    for (let start = iova.start; start <= iova.last; start += pageSize) {
      const last = start + pageSize - 1n < iova.last ? start + pageSize - 1n : iova.last;
      this.#writer.write({ event: "vfio_iommu_map_notify", type: name, start: start + offset, last: last + offset });
    }
  }
}

function key({ range }: MemorySection): string {
  return `${range.start}-${range.last}`;
}
