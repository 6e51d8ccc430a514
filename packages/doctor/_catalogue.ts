import { type FindingId, Severity } from "./finding.ts";

/** What is the same for all findings of a kind. */
export interface Entry {
  readonly severity: Severity;
  /** Why it happens, with where to read it. */
  readonly why: string;
  /** What to do. */
  readonly remedy: string;
}

const TYPE1 = "Linux, drivers/vfio/vfio_iommu_type1.c";
const LISTENER = "QEMU, hw/vfio/common.c";

/** Severity, reason and remedy of each kind. */
export const CATALOGUE: Readonly<Record<FindingId, Entry>> = {
  "stale-mapping": {
    severity: Severity.ERROR,
    why:
      `QEMU turns a changed entry into a map alone, without an unmap before it (vfio_iommu_map_notify, ${LISTENER}). ` +
      `The kernel refuses to map over what is mapped (EEXIST, vfio_dma_do_map, ${TYPE1}) and keeps the old page; the guest is told success.`,
    remedy: "Let the guest clear the entry before it writes another page there (Linux does). " +
      "Until the entry is cleared, the device reads and writes the old page: stop it, or unplug and plug it again.",
  },
  "wrong-target": {
    severity: Severity.ERROR,
    why: "While memory is pinned, a page of the guest is one page of the host. " +
      `Two mappings of it that go to two pages cannot both be right: one was not changed when the guest's memory was (pinning: vfio_pin_pages_remote, ${TYPE1}).`,
    remedy: "Unplug the device and plug it in again, so that all is mapped anew. " +
      "Look for memory of the guest that QEMU replaced or discarded (balloon, virtio-mem) while the device was plugged in.",
  },
  "mapping-left-behind": {
    severity: Severity.ERROR,
    why:
      `An unmap that fails, or that QEMU never asked for, leaves the device its access; QEMU only logs it (vfio_iommu_map_notify, ${LISTENER}). ` +
      `The kernel refuses a range that would part a mapping (EINVAL, vfio_dma_do_unmap, ${TYPE1}).`,
    remedy: "The guest may have given the page to somebody else: stop the device, unplug it. " +
      "Where it was a part of a larger mapping, map in the pieces in which it is unmapped.",
  },
  "mapping-unexplained": {
    severity: Severity.ERROR,
    why: "The kernel mapped this for QEMU's process, and no line of QEMU's log asked for it. " +
      "Either the log is not whole, or something else in that process uses the container.",
    remedy: "Record QEMU's log from its start with -trace 'vfio_*' -trace 'iommufd_*'. " +
      "If it is whole, look for another user of the container in that process (a second device, vhost-vdpa).",
  },
  "wrong-permission": {
    severity: Severity.ERROR,
    why: "The guest changed what a device may do, and the host still allows what it allowed before: " +
      `a mapping cannot be changed in place (EEXIST, vfio_dma_do_map, ${TYPE1}), and QEMU does not unmap it first (${LISTENER}).`,
    remedy: "Let the guest clear the entry before it writes another permission there. " +
      "Until then the device may write where it should not, or faults where it should not.",
  },
  "mapping-limit": {
    severity: Severity.ERROR,
    why:
      `A container of the type 1 driver holds so many mappings and no more (dma_entry_limit, ${TYPE1}, 65535 by default; ENOSPC). ` +
      `QEMU makes one for each page that a guest's entry maps (vfio_iommu_map_notify, ${LISTENER}) and goes on when it fails.`,
    remedy: "Raise the limit on the host: options vfio_iommu_type1 dma_entry_limit=N in /etc/modprobe.d. " +
      "Or let the guest map larger pages (a DMA window of 64 KiB or 16 MiB pages), or use iommufd, which has no such limit.",
  },
  "window-outside-host": {
    severity: Severity.ERROR,
    why:
      "The window lies where the host's IOMMU translates nothing, so that the kernel refuses every map in it (EINVAL, " +
      `vfio_iommu_iova_dma_valid, ${TYPE1}). QEMU does not compare a window with the host's IOVA ranges (vfio_listener_region_add, ${LISTENER}).`,
    remedy: "Put the window within the host's ranges: -global spapr-pci-host-bridge.dma64_win_addr=0x1000000000, " +
      "or switch the second window off (ddw=off). The host tells its ranges in VFIO_IOMMU_GET_INFO.",
  },
  "page-too-fine": {
    severity: Severity.ERROR,
    why:
      "The guest's pages are smaller than the smallest that the host's IOMMU maps, and the kernel refuses what is not aligned " +
      `to those (EINVAL, vfio_dma_do_map, ${TYPE1}). QEMU does not compare the sizes when a device is plugged in (${LISTENER}).`,
    remedy: "Let the guest use a window with pages as large as the host's (64 KiB where the host has 64 KiB pages), " +
      "or run a host kernel with smaller pages.",
  },
  "mapping-missing": {
    severity: Severity.ERROR,
    why:
      `QEMU prints a failed map and goes on: neither the guest nor who plugs the device is told (vfio_iommu_map_notify, ${LISTENER}). ` +
      "The device's access to these pages does not arrive.",
    remedy:
      "See why the host refused (errno). After that is mended, unplug the device and plug it in again: what failed is not tried again.",
  },
  "hotplug-incomplete": {
    severity: Severity.ERROR,
    why: "The result of a map does not reach the hotplug: the listener logs it and the replay goes on " +
      `(vfio_iommu_map_notify, ${LISTENER}; memory_region_iommu_replay, QEMU, system/memory.c). device_add says success.`,
    remedy: "Do not trust the device: unplug it, mend what the other findings say, and plug it in again.",
  },
  "dma-fault": {
    severity: Severity.ERROR,
    why:
      "The device used an address that the guest has mapped, and the host's IOMMU refused it: the host lacks the mapping or " +
      "its permission (io_page_fault, Linux, include/trace/events/iommu.h).",
    remedy: "See the findings about the same address: they say since when the host lacks it.",
  },
  "change-unproved": {
    severity: Severity.WARNING,
    why: `A map was refused since something is mapped there (EEXIST, ${TYPE1}). ` +
      "That is a lost change if the entry points elsewhere now, and harmless if it is the same; the log does not tell which.",
    remedy: "Record again with -trace 'spapr_iommu_xlate' as well: the lines of a replay tell what the entries are.",
  },
  "target-not-memory": {
    severity: Severity.WARNING,
    why:
      `The guest's entry points to what is no memory of the guest, and QEMU does not map it (vfio_get_xlat_addr, ${LISTENER}). ` +
      "It may be the register space of another device, or a mistake of the guest's driver.",
    remedy:
      "Peer to peer access by guest IOMMUs does not work in QEMU; else look at the driver that mapped the address.",
  },
  "failure-unmatched": {
    severity: Severity.WARNING,
    why:
      "QEMU printed a failure, and no line of its log is about the same address. The log may have begun later, or lack events.",
    remedy: "Record both from QEMU's start, the log with -trace 'vfio_*'.",
  },
  "dma-fault-unmapped": {
    severity: Severity.WARNING,
    why: "A device used an address that nobody had mapped, and the host's IOMMU refused it, as it should " +
      "(io_page_fault, Linux, include/trace/events/iommu.h).",
    remedy: "Look at the guest's driver: it gave the device an address before mapping it, or after unmapping it. " +
      "Or the fault is of another device of the host.",
  },
  "mapping-limit-near": {
    severity: Severity.WARNING,
    why:
      `The container holds nearly as many mappings as the type 1 driver allows by default (dma_entry_limit, ${TYPE1}, 65535). ` +
      "The next ones will fail, and nobody will be told.",
    remedy: "Raise the limit on the host: options vfio_iommu_type1 dma_entry_limit=N in /etc/modprobe.d.",
  },
  "permission-widened": {
    severity: Severity.WARNING,
    why:
      `QEMU maps everything readable: what the guest lets a device write only, it may read as well (vfio_container_dma_map, QEMU, hw/vfio/container.c). ` +
      "The kernel could map it write-only (VFIO_DMA_MAP_FLAG_WRITE).",
    remedy: "Nothing to do, unless the guest relies on the device not reading those pages.",
  },
  "maps-adjoin": {
    severity: Severity.COST,
    why:
      `QEMU makes one call to the kernel for each page (vfio_iommu_map_notify, ${LISTENER}), also where pages adjoin in bus and memory.`,
    remedy: "Larger pages in the guest's window make fewer calls; giommu replay says what coalescing would save.",
  },
  "unmap-without-effect": {
    severity: Severity.COST,
    why:
      `QEMU asks the kernel to unmap each entry that a guest clears, empty ones too (vfio_iommu_map_notify, ${LISTENER}). ` +
      `The kernel says success and 0 bytes, which QEMU does not look at (vfio_dma_do_unmap, ${TYPE1}).`,
    remedy: "Nothing is wrong; a guest that clears only what it mapped saves these calls.",
  },
  "replay-of-empty-window": {
    severity: Severity.COST,
    why:
      "QEMU's replay looks up every entry of a window, mapped or not (spapr_tce_replay, QEMU, hw/ppc/spapr_iommu.c), " +
      "and a spapr_iommu_xlate line for each costs more than the replay itself.",
    remedy:
      "Smaller windows or larger pages shorten it; without -trace 'spapr_iommu_xlate' it is about 20 times as fast.",
  },
};

/** Error numbers of Linux: name and what they mean to a map. */
const ERRORS: Readonly<Record<number, readonly [name: string, meaning: string]>> = {
  1: ["EPERM", "not permitted"],
  2: ["ENOENT", "nothing is mapped there as a whole"],
  12: ["ENOMEM", "out of memory, or over the limit of locked memory"],
  14: ["EFAULT", "the memory cannot be pinned"],
  16: ["EBUSY", "busy"],
  17: ["EEXIST", "something is mapped there"],
  22: ["EINVAL", "not a range that the host maps"],
  28: ["ENOSPC", "as many mappings as the container may hold"],
  34: ["ERANGE", "out of range"],
  75: ["EOVERFLOW", "the range wraps"],
  95: ["EOPNOTSUPP", "not supported"],
};

/**
 * Writes an error number.
 *
 * @param errno The number, positive.
 * @returns For example `-17 EEXIST`.
 */
export function errorName(errno: number): string {
  const [name] = ERRORS[errno] ?? [];
  return name === undefined ? `-${errno}` : `-${errno} ${name}`;
}

/** What an error number means to a map; undefined where that is not known. */
export function errorMeaning(errno: number): string | undefined {
  return ERRORS[errno]?.[1];
}

/** What helps against a failed map with an error number. */
export function errorRemedy(errno: number): string | undefined {
  switch (errno) {
    case 12:
      return "Raise QEMU's limit of locked memory (ulimit -l, LimitMEMLOCK=) above the guest's memory, then plug the device in again.";
    case 14:
      return "Look at the memory behind these pages: a device's registers, or a file that is shorter than it was mapped. Then plug the device in again.";
    case 22:
      return "Compare the addresses with the host's IOVA ranges and page size (VFIO_IOMMU_GET_INFO tells both), then plug the device in again.";
    case 28:
      return "See mapping-limit; what failed is mapped only when the device is plugged in again.";
    default:
      return undefined;
  }
}
