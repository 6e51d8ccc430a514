import { library } from "./_library.ts";
import { Numbers } from "./_numbers.ts";

/** What is tried out. */
export interface SplitProbe {
  /** The library's number. */
  readonly iommufd: number;
  /** The kernel's number of the address space; its compatibility requests are about it, and nothing is mapped. */
  readonly ioas: number;
  /** Whether huge pages were asked for. */
  readonly hugePages: boolean;
  /** Whether the kernel switched them off. */
  readonly isSmall: boolean;
  /** A bus address where can be mapped. */
  readonly at: bigint;
}

/** What came of it. */
export interface SplitResult {
  readonly isAtomic: boolean;
  /** For people. */
  readonly reason: string;
}

const PAGE = 0x1000n;

/**
 * Tries out whether the kernel unmaps a part of a mapping, and only that.
 *
 * iommufd's own unmap never does. Its compatibility request (VFIO_IOMMU_UNMAP_DMA on the iommufd, vfio_compat.c) cuts mappings
 * where huge pages are off. Seen on Linux 6.12: a device that reads the neighbours meanwhile never misses one.
 */
export function probeSplit({ iommufd, ioas, hugePages, isSmall, at }: SplitProbe): SplitResult {
  if (hugePages) return no("huge pages were asked for, and mappings of them cannot be split");
  if (!isSmall) return no("this kernel does not switch huge pages off (IOMMU_OPTION_HUGE_PAGES)");
  const host = library();
  const told = new Uint8Array(256);
  const release = new TextDecoder().decode(told.subarray(0, Math.max(0, host.giommu_kernel_release(told))));
  if (!isRepaired(release)) {
    // CVE-2023-52801: the rests of a split mapping were not found again, and stayed in use after they were freed.
    return no(`Linux ${release} has an error in splitting: use 6.7, 6.6.3 or newer`);
  }
  const memory = host.giommu_memory_new(Numbers.of(2n * PAGE), 0);
  if (memory < 0) return no("there is no memory to try it out");
  try {
    const map = Numbers.of(0n, at, 2n * PAGE, BigInt(memory), 0n, 3n);
    if (host.giommu_ioas_map(iommufd, ioas, map) < 0) return no("the kernel does not map two pages");
    const first = unmapped((batch) => host.giommu_iommufd_compat_unmap(iommufd, batch), at, PAGE);
    // The rest, which must be a mapping of its own now.
    const rest = unmapped((batch) => host.giommu_ioas_unmap(iommufd, ioas, batch), at + PAGE, PAGE);
    if (first === PAGE && rest === PAGE) return { isAtomic: true, reason: `tried out on Linux ${release}` };
    unmapped((batch) => host.giommu_ioas_unmap(iommufd, ioas, batch), at, 2n * PAGE);
    return no(`Linux ${release} does not split a mapping`);
  } finally {
    host.giommu_close(memory);
  }
}

/** Whether a kernel has "iommufd: Fix missing update of domains_itree after splitting iopt_area": 6.7, 6.6.3, 6.5.13. */
export function isRepaired(release: string): boolean {
  const [major = 0, minor = 0, patch = 0] = (/^(\d+)\.(\d+)(?:\.(\d+))?/.exec(release) ?? []).slice(1).map((part) =>
    Number(part ?? 0)
  );
  if (major !== 6) return major > 6;
  return minor >= 7 || (minor === 6 && patch >= 3) || (minor === 5 && patch >= 13);
}

function unmapped(unmap: (batch: Uint8Array) => number, start: bigint, size: bigint): bigint {
  const batch = new Numbers(3);
  batch.set(1, start);
  batch.set(2, size);
  return unmap(batch.bytes) === 0 ? batch.get(2) : 0n;
}

function no(reason: string): SplitResult {
  return { isAtomic: false, reason };
}
