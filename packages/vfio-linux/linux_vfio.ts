import type { AddressRange } from "@giommu/core";
import { checkInteger, checkRange, formatRange, IommuError } from "@giommu/core";
import type { HostIommu, HostIommuInfo, HostMapAllResult, HostMapping } from "@giommu/vfio-sync";
import { Calls } from "./_calls.ts";
import { must } from "./_errno.ts";
import { Groups } from "./_groups.ts";
import type { KernelInfo } from "./_kernel_info.ts";
import { kernelInfo, sameRanges } from "./_kernel_info.ts";
import { library } from "./_library.ts";
import { askNumbers, Numbers, setRuns } from "./_numbers.ts";
import { devicesOf, groupOf, hasWriteOnly, pciAddress } from "./_pci.ts";
import type { VfioDevice } from "./vfio_device.ts";
import { deviceOf } from "./vfio_device.ts";

/** VFIO's numbers (linux/vfio.h). */
const TYPE1V2 = 3;
const DIRTY_START = 1;
const DIRTY_STOP = 2;
/** The kernel takes bitmaps of up to 2^28 bytes (DIRTY_BITMAP_SIZE_MAX of vfio_iommu_type1.c). */
const DIRTY_PAGES_MAX = 1n << 31n;

/** Which device, or which group, a {@linkcode LinuxVfio} begins with. One of them must be given. */
export interface LinuxVfioOptions {
  /** The PCI address of a device bound to vfio-pci, as `0000:00:04.0`: its group is used, and the device is opened. */
  readonly device?: string;
  /** The number of an IOMMU group; no device is opened then. */
  readonly group?: number;
}

/**
 * A VFIO container of Linux with a type 1 IOMMU (v2), and the devices in it.
 *
 * `info` is what the kernel tells: IOVA ranges, page sizes, how many mappings fit (`dma_avail`). A mapping cannot be split, so
 * that a `VfioContainer` makes one per guest page unless told otherwise.
 *
 * @example Where there is such a device, it is used; elsewhere the error says what is missing
 * ```ts
 * import { IommuError } from "@giommu/core";
 * import { LinuxVfio } from "@giommu/vfio-linux";
 * import { VfioContainer } from "@giommu/vfio-sync";
 * import { assert, assertEquals } from "@std/assert";
 *
 * try {
 *   using host = new LinuxVfio({ device: "0000:00:04.0" });
 *   using container = new VfioContainer({ host });
 *   assertEquals([container.policy.coalesce, host.devices[0]?.busMaster], ["none", false]);
 * } catch (error) {
 *   assert(error instanceof IommuError && error.code === "backend-unavailable");
 * }
 * ```
 */
export class LinuxVfio implements HostIommu, Disposable {
  /** What it can hold, as the kernel told it. */
  readonly info: HostIommuInfo;
  /** Page sizes in which the kernel tracks written pages, a bit for each; 0 where it does not. */
  readonly dirtyPageSizes: bigint;
  readonly #groups: Groups;
  readonly #devices = new Set<VfioDevice>();
  readonly #calls: Calls;
  #container: number;

  /**
   * Opens a container with the group of a device.
   *
   * @param options The device or the group.
   * @throws {TypeError} If neither is given, or one has the wrong type.
   * @throws {RangeError} If the address or the number is none.
   * @throws {IommuError} `"backend-unavailable"` with what is missing and what helps: not Linux, no library, no permission,
   * device not bound to vfio-pci, group not viable or in use.
   */
  constructor(options: LinuxVfioOptions) {
    const { device, group } = options;
    const address = device === undefined ? undefined : pciAddress("device", device);
    if (address === undefined && group === undefined) {
      throw new TypeError("Cannot open VFIO: neither device nor group is given");
    }
    if (group !== undefined) checkInteger("group", group);
    const host = library();
    this.#container = must(host.giommu_container_open(new TextEncoder().encode("/dev/vfio/vfio")), {
      what: "Cannot open VFIO",
      call: "open of /dev/vfio/vfio",
      remedies: {
        ENOENT: "modprobe vfio-pci",
        ENODEV: "modprobe vfio",
        EACCES: "let this user read and write /dev/vfio/vfio",
      },
    });
    this.#groups = new Groups(this.#container);
    try {
      if (host.giommu_container_check_extension(this.#container, TYPE1V2) <= 0) {
        throw new IommuError("backend-unavailable", "Cannot open VFIO: this kernel has no type 1 IOMMU", {
          remedy:
            "modprobe vfio_iommu_type1; POWER has another kind of IOMMU, for which there is only a simulated host",
        });
      }
      const number = group ?? groupOf(address as string);
      const first = this.#groups.join(number, () => {});
      if (group !== undefined) first.users++;
      must(host.giommu_container_set_iommu(this.#container, TYPE1V2), {
        what: "Cannot open VFIO",
        call: "VFIO_SET_IOMMU of TYPE1v2",
      });
      const told = this.#ask();
      this.dirtyPageSizes = told.dirtyPageSizes;
      this.info = Object.freeze({
        name: "type1",
        pageSizes: told.pageSizes,
        iovaRanges: Object.freeze(told.iovaRanges),
        ...(told.available !== undefined && { maxMappings: told.available }),
        split: "none",
        unmapWide: true,
        writeOnly: hasWriteOnly(address ?? devicesOf(number)[0]),
      });
      const container = this.#container;
      this.#calls = new Calls(
        this.info,
        (batch) => host.giommu_container_map(container, batch),
        (batch) => host.giommu_container_unmap(container, batch),
      );
      if (address !== undefined) this.addDevice(address);
    } catch (error) {
      this.dispose();
      throw error;
    }
  }

  /** The devices that are open, in the order in which they came. */
  get devices(): readonly VfioDevice[] {
    return [...this.#devices];
  }

  /**
   * Opens one more device: it reaches what is mapped already.
   *
   * @param address Its PCI address.
   * @returns The device; it is disposed with this host, or before.
   * @throws {TypeError} If the address is no string.
   * @throws {RangeError} If it is no PCI address.
   * @throws {IommuError} `"disposed"`; `"backend-unavailable"` as the constructor, or if its group narrows where can be
   * mapped.
   */
  addDevice(address: string): VfioDevice {
    this.#live();
    const name = pciAddress("address", address);
    const number = groupOf(name);
    const group = this.#groups.join(number, () => this.#checkSame(number));
    try {
      const device = deviceOf({
        address: name,
        number: must(library().giommu_group_device(group.handle, new TextEncoder().encode(name)), {
          what: `Cannot open device ${name}`,
          call: "VFIO_GROUP_GET_DEVICE_FD",
          remedies: {
            EBUSY: "dispose of its mapped regions and of whoever else has it open",
            "": "look what the kernel says: dmesg",
          },
        }),
        leave: () => {
          this.#devices.delete(device);
          group.users--;
        },
        left: () => this.#groups.leaveUnused(),
      });
      group.users++;
      this.#devices.add(device);
      return device;
    } finally {
      this.#groups.leaveUnused();
    }
  }

  /**
   * Maps a range of guest memory, which is pinned then.
   *
   * @param mapping What to map where; its RAM must be a {@linkcode PinnedMemory}.
   * @throws {HostError} If the kernel refuses, with the errno's name and a remedy: `EEXIST`, `EINVAL`, `ENOSPC`, `ENOMEM`,
   * `EFAULT`; `EBADF` after dispose.
   */
  map(mapping: HostMapping): void {
    this.#calls.map(mapping);
  }

  /**
   * Maps several ranges with one call into the library; see `HostIommu.mapAll`.
   *
   * @param mappings What to map where.
   * @returns How many were mapped, and why the next one was not.
   */
  mapAll(mappings: readonly HostMapping[]): HostMapAllResult {
    return this.#calls.mapAll(mappings);
  }

  /**
   * Unmaps whole mappings.
   *
   * @param range The bus addresses.
   * @returns How many bytes were unmapped; 0 where nothing is.
   * @throws {HostError} If the kernel refuses: `EINVAL` if a mapping is only partly in the range, and nothing is unmapped.
   */
  unmap(range: AddressRange): bigint {
    return this.#calls.unmap(range);
  }

  /**
   * Starts to note which pages devices write, for a migration. A kernel whose IOMMU does not tell takes every page that is
   * pinned for written.
   *
   * @throws {IommuError} `"disposed"`; `"host-refused"` if the kernel does not note (`dirtyPageSizes` is 0).
   */
  startDirtyTracking(): void {
    this.#trackDirty("start", DIRTY_START);
  }

  /**
   * Which pages were written since tracking began, or since they were asked for last.
   *
   * @param range Bus addresses: whole mappings.
   * @returns Runs of written pages, ascending.
   * @throws {TypeError} If an end is no bigint.
   * @throws {RangeError} If the range has no whole pages, or more than the kernel takes at once.
   * @throws {IommuError} `"disposed"`; `"host-refused"` with `EINVAL` where nothing is tracked, or a mapping is only partly in
   * the range.
   */
  dirtyRanges(range: AddressRange): AddressRange[] {
    this.#live();
    const { start, last } = checkRange("range", range);
    const page = this.dirtyPageSizes & -this.dirtyPageSizes || 0x1000n;
    const pages = (last - start + 1n) / page;
    if (start % page !== 0n || pages * page !== last - start + 1n || pages > DIRTY_PAGES_MAX) {
      throw new RangeError(
        `Cannot ask for written pages of ${formatRange(range)}: it is not 1 to 2^31 pages of ${page}`,
      );
    }
    const bitmap = new Numbers(Number((pages + 63n) / 64n));
    must(
      library().giommu_container_dirty(this.#container, Numbers.of(start, last - start + 1n, page), bitmap.bytes),
      {
        what: `Cannot ask for written pages of ${formatRange(range)}`,
        call: "VFIO_IOMMU_DIRTY_PAGES",
        code: "host-refused",
        remedies: { EINVAL: "start tracking before, and ask for whole mappings" },
      },
    );
    return setRuns(bitmap, Number(pages)).map(([first, end]) => ({
      start: start + BigInt(first) * page,
      last: start + BigInt(end) * page - 1n,
    }));
  }

  /**
   * Stops to note which pages devices write.
   *
   * @throws {IommuError} `"disposed"`; `"host-refused"` if the kernel does not note.
   */
  stopDirtyTracking(): void {
    this.#trackDirty("stop", DIRTY_STOP);
  }

  /** Unplugs all devices and closes the container; what is mapped is unmapped. Twice is fine. */
  dispose(): void {
    for (const device of this.devices) device.dispose();
    this.#groups.leaveAll();
    if (this.#container === 0) return;
    library().giommu_close(this.#container);
    this.#container = 0;
  }

  /** The same as {@linkcode dispose}. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  /** `info` never changes: a group whose IOMMU can less is refused. */
  #checkSame(number: number): void {
    const { pageSizes, iovaRanges } = this.#ask();
    if (pageSizes === this.info.pageSizes && sameRanges(iovaRanges, this.info.iovaRanges)) return;
    throw new IommuError(
      "backend-unavailable",
      `Cannot use IOMMU group ${number}: its IOMMU has other addresses or page sizes than that of ${this.info.name}`,
      { remedy: "use a host of its own for this device" },
    );
  }

  #ask(): KernelInfo {
    return kernelInfo(askNumbers(
      { what: "Cannot ask VFIO what the IOMMU can", call: "VFIO_IOMMU_GET_INFO" },
      (out) => library().giommu_container_info(this.#container, out),
    ));
  }

  #trackDirty(verb: string, flags: number): void {
    this.#live();
    must(library().giommu_container_track_dirty(this.#container, flags), {
      what: `Cannot ${verb} to track written pages`,
      call: "VFIO_IOMMU_DIRTY_PAGES",
      code: "host-refused",
      remedies: { "": "take everything that is mapped for written" },
    });
  }

  #live(): void {
    if (this.#container === 0) throw new IommuError("disposed", "Cannot use the host: it was disposed");
  }
}
