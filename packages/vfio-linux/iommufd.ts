import type { AddressRange } from "@giommu/core";
import { IommuError } from "@giommu/core";
import type { HostIommu, HostIommuInfo, HostMapAllResult, HostMapping } from "@giommu/vfio-sync";
import { Calls } from "./_calls.ts";
import { must } from "./_errno.ts";
import { kernelInfo, rangesOf, sameRanges } from "./_kernel_info.ts";
import { library } from "./_library.ts";
import { askNumbers } from "./_numbers.ts";
import { deviceAddress, deviceFileOf, hasWriteOnly, pciAddress } from "./_pci.ts";
import { probeSplit } from "./_split_probe.ts";
import type { VfioDevice } from "./vfio_device.ts";
import { deviceOf } from "./vfio_device.ts";

/** How an {@linkcode Iommufd} is made. */
export interface IommufdOptions {
  /** The PCI address of a device bound to vfio-pci, as `0000:00:04.0`, or its name in `/dev/vfio/devices`, as `vfio0`. */
  readonly device: string;
  /**
   * Whether mappings may consist of huge pages; false unless given.
   *
   * Without them a part of a mapping can be unmapped while a device uses the rest (`info.split` is `"atomic"`), so that
   * mappings are coalesced freely: right for a guest with an IOMMU, whose mappings are small and come and go. With them
   * nothing can be split, and RAM is mapped faster: right for RAM that is mapped whole.
   *
   * Measured by `bench/vm/address_spaces.ts` on Linux 6.12 in a VM: to map 4 or 64 KiB costs the same in both; 64 MiB take
   * 20 to 46 ms without huge pages and 0.7 ms with them. To take a page out of 64 MiB takes 0.2 ms where it is a cut, and 7 ms,
   * in which the device reaches none of them, where everything has to go and the rests are mapped again.
   */
  readonly hugePages?: boolean;
}

/**
 * An I/O address space of Linux's iommufd, and the devices in it.
 *
 * `info` is what the kernel tells of it. Whether it splits mappings is tried out on the running kernel before anything of
 * a guest is mapped; {@linkcode splitReason} says what came of it.
 *
 * @example Where there is such a device, it is used; elsewhere the error says what is missing
 * ```ts
 * import { IommuError } from "@giommu/core";
 * import { Iommufd } from "@giommu/vfio-linux";
 * import { VfioContainer } from "@giommu/vfio-sync";
 * import { assert, assertEquals } from "@std/assert";
 *
 * try {
 *   using host = new Iommufd({ device: "0000:00:04.0" });
 *   using container = new VfioContainer({ host });
 *   assertEquals(container.policy.coalesce, host.info.split === "atomic" ? "full" : "none");
 * } catch (error) {
 *   assert(error instanceof IommuError && error.code === "backend-unavailable");
 * }
 * ```
 */
export class Iommufd implements HostIommu, Disposable {
  /** What it can hold, as the kernel told it. */
  readonly info: HostIommuInfo;
  /** Why `info.split` is what it is, for people. */
  readonly splitReason: string;
  readonly #devices = new Set<VfioDevice>();
  readonly #calls: Calls;
  readonly #isAtomic: boolean;
  readonly #ioas: number;
  #iommufd: number;

  /**
   * Makes an I/O address space and puts a device into it.
   *
   * @param options The device, and whether there are huge pages.
   * @throws {TypeError} If a field has the wrong type.
   * @throws {RangeError} If the device is neither.
   * @throws {IommuError} `"backend-unavailable"` with what is missing and what helps: not Linux, no library, no iommufd in the
   * kernel, no permission, device not bound to vfio-pci or in use.
   */
  constructor(options: IommufdOptions) {
    const { hugePages = false } = options;
    if (typeof hugePages !== "boolean") throw new TypeError("Cannot open iommufd: hugePages is no boolean");
    const address = deviceAddress("device", options.device);
    const host = library();
    this.#ioas = 0;
    this.#iommufd = must(host.giommu_iommufd_open(new TextEncoder().encode("/dev/iommu")), {
      what: "Cannot open iommufd",
      call: "open of /dev/iommu",
      remedies: {
        ENOENT: "use a kernel with CONFIG_IOMMUFD and modprobe iommufd, or LinuxVfio",
        EACCES: "let this user read and write /dev/iommu",
      },
    });
    const iommufd = this.#iommufd;
    try {
      this.#ioas = must(host.giommu_ioas_alloc(iommufd), { what: "Cannot open iommufd", call: "IOMMU_IOAS_ALLOC" });
      const ioas = this.#ioas;
      must(host.giommu_ioas_set_compat(iommufd, ioas), { what: "Cannot open iommufd", call: "IOMMU_VFIO_IOAS" });
      // Before a device is in: with one, it can be switched off only as long as nothing is mapped.
      const isSmall = !hugePages && host.giommu_ioas_set_huge_pages(iommufd, ioas, 0) === 0;
      this.#add(address);
      const iovaRanges = Object.freeze(this.#ranges());
      const split = probeSplit({ iommufd, ioas, hugePages, isSmall, at: iovaRanges[0]?.start ?? 0n });
      if (!split.isAtomic && isSmall) host.giommu_ioas_set_huge_pages(iommufd, ioas, 1);
      this.#isAtomic = split.isAtomic;
      this.splitReason = split.reason;
      this.info = Object.freeze({
        name: "iommufd",
        pageSizes: this.#pageSizes(),
        iovaRanges,
        split: split.isAtomic ? "atomic" : "none",
        unmapWide: true,
        writeOnly: hasWriteOnly(address),
      });
      this.#calls = new Calls(
        this.info,
        (batch) => host.giommu_ioas_map(iommufd, ioas, batch),
        this.#isAtomic
          ? (batch) => host.giommu_iommufd_compat_unmap(iommufd, batch)
          : (batch) => host.giommu_ioas_unmap(iommufd, ioas, batch),
      );
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
   * @throws {IommuError} `"disposed"`; `"backend-unavailable"` as the constructor, or if it narrows where can be mapped.
   */
  addDevice(address: string): VfioDevice {
    if (this.#iommufd === 0) throw new IommuError("disposed", "Cannot use the host: it was disposed");
    return this.#add(pciAddress("address", address), this.info.iovaRanges);
  }

  /**
   * Maps a range of guest memory, which is pinned then.
   *
   * @param mapping What to map where; its RAM must be a {@linkcode PinnedMemory}.
   * @throws {HostError} If the kernel refuses, with the errno's name and a remedy: `EEXIST`, `EINVAL`, `ENOMEM`, `EFAULT`;
   * `EBADF` after dispose.
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
   * Unmaps what is in a range; parts of mappings too where `info.split` is `"atomic"`.
   *
   * @param range The bus addresses.
   * @returns How many bytes were unmapped; 0 where nothing is and it splits.
   * @throws {HostError} If the kernel refuses: `ENOENT` if it does not split, and nothing is there or a mapping is only partly
   * in the range. Whole mappings before that one may be gone then.
   */
  unmap(range: AddressRange): bigint {
    // Where every part can be unmapped, ENOENT is what some kernels answer where nothing is.
    return this.#calls.unmap(range, this.#isAtomic);
  }

  /** Unplugs all devices and closes the iommufd; what is mapped is unmapped. Twice is fine. */
  dispose(): void {
    for (const device of this.devices) device.dispose();
    if (this.#iommufd === 0) return;
    library().giommu_iommufd_destroy(this.#iommufd, this.#ioas);
    library().giommu_close(this.#iommufd);
    this.#iommufd = 0;
  }

  /** The same as {@linkcode dispose}. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  /** Opens a device, which must not narrow where can be mapped, if that is known already. */
  #add(name: string, ranges?: readonly AddressRange[]): VfioDevice {
    const path = deviceFileOf(name);
    const host = library();
    const what = `Cannot use device ${name}`;
    const number = must(host.giommu_device_open(new TextEncoder().encode(path)), {
      what,
      call: `open of ${path}`,
      remedies: { EACCES: `let this user read and write ${path}` },
    });
    try {
      must(host.giommu_device_bind(number, this.#iommufd), {
        what,
        call: "VFIO_DEVICE_BIND_IOMMUFD",
        // EINVAL: another file of the device is bound; EBUSY: its group is open.
        remedies: { "": "dispose of its mapped regions and of whoever else has it, or its group, open" },
      });
      must(host.giommu_device_attach(number, this.#ioas), {
        what,
        call: "VFIO_DEVICE_ATTACH_IOMMUFD_PT",
        remedies: {
          EADDRINUSE: "unmap what lies where this device cannot reach",
          "": "use a host of its own for this device: its IOMMU cannot hold what is mapped here",
        },
      });
      if (ranges !== undefined && !sameRanges(this.#ranges(), ranges)) {
        throw new IommuError("backend-unavailable", `${what}: it narrows where iommufd can map`, {
          remedy: "use a host of its own for this device",
        });
      }
    } catch (error) {
      host.giommu_device_detach(number);
      host.giommu_close(number);
      throw error;
    }
    const device = deviceOf({
      address: name,
      number,
      leave: () => {
        this.#devices.delete(device);
        host.giommu_device_detach(number);
      },
      left: () => {},
    });
    this.#devices.add(device);
    return device;
  }

  /** Where can be mapped; each device may narrow it. */
  #ranges(): AddressRange[] {
    const [, ...ranges] = askNumbers(
      { what: "Cannot ask iommufd where it can map", call: "IOMMU_IOAS_IOVA_RANGES" },
      (out) => library().giommu_ioas_ranges(this.#iommufd, this.#ioas, out),
    );
    return rangesOf(ranges);
  }

  /** iommufd itself tells an alignment only; its compatibility request tells the sizes. */
  #pageSizes(): bigint {
    return kernelInfo(askNumbers(
      { what: "Cannot ask iommufd for its page sizes", call: "VFIO_IOMMU_GET_INFO" },
      (out) => library().giommu_iommufd_compat_info(this.#iommufd, out),
    )).pageSizes;
  }
}
