// How kernels answer calls on an IOMMU: each case is a list of calls and what each of them answers, by the kind of host. The
// answers were seen on Linux 6.12 with an intel-iommu. The same cases run on the simulators (simulated_host_test.ts) and
// on a real kernel, where there is one.
import type { HostErrno } from "@giommu/vfio-sync";

/** The kinds of host that answer differently; `iommufd-split` is one with HUGE_PAGES=0, unmapped by the compatibility ioctl. */
export type HostKind = "type1" | "iommufd" | "iommufd-split";

/** All kinds. */
export const HOST_KINDS: readonly HostKind[] = ["type1", "iommufd", "iommufd-split"];

/** What a call answers: `"ok"`, how many bytes were unmapped, or an error. Of several, any will do. */
export type Answer = "ok" | bigint | HostErrno;

/** An answer for every kind of host, or one for each. */
export type Answers = Answer | readonly Answer[] | Readonly<Record<HostKind, Answer | readonly Answer[]>>;

/** One call. Sizes are in bytes; a size of 0 is a range that ends before it begins. */
export type HostRuleCall =
  | {
    readonly do: "map";
    readonly iova: bigint;
    readonly size: bigint;
    /** Where in the RAM; 0 unless given. */
    readonly at?: bigint;
    /** 3 (read and write) unless given. */
    readonly perm?: 0 | 1 | 2 | 3;
  }
  | { readonly do: "unmap" | "collect" | "unmap-collecting"; readonly iova: bigint; readonly size: bigint }
  | { readonly do: "start" | "stop" }
  /** Maps the first page of the RAM at as many pages in a row, from `iova` on, as the host has room for; 70,000 where it has no limit. */
  | { readonly do: "fill"; readonly iova: bigint };

/** Calls, one after the other on a host that has mapped nothing, each with its answer. */
export interface HostRuleCase {
  readonly name: string;
  /** For which kinds; all unless given. */
  readonly only?: readonly HostKind[];
  readonly calls: readonly (readonly [HostRuleCall, Answers])[];
}

/** How much RAM the cases map: 4 MiB. */
export const RAM_BYTES = 0x40_0000n;

const PAGE = 0x1000n;
/** Free on every IOMMU of 32 bits or more, and below the MSI hole. */
const BASE = 0x1000_0000n;

const at = (page: number): bigint => BASE + BigInt(page) * PAGE;
const map = (page: number, pages = 1, more: { at?: bigint; perm?: 0 | 1 | 2 | 3 } = {}): HostRuleCall => ({
  do: "map",
  iova: at(page),
  size: BigInt(pages) * PAGE,
  ...more,
});
const unmap = (page: number, pages = 1): HostRuleCall => ({ do: "unmap", iova: at(page), size: BigInt(pages) * PAGE });
const mapAt = (iova: bigint, size: bigint): HostRuleCall => ({ do: "map", iova, size });
/** Whatever the test left: wide enough for all of it. */
const rest = (bytes: bigint): readonly [HostRuleCall, Answers] => [unmap(0, 0x100), bytes];

const NOT_SPLIT = { type1: "EINVAL", iommufd: "ENOENT" } as const;

/** The cases. */
export const HOST_RULE_CASES: readonly HostRuleCase[] = [
  {
    name: "a MAP of the same range is EEXIST",
    calls: [[map(1), "ok"], [map(1, 1, { at: PAGE }), "EEXIST"], rest(PAGE)],
  },
  {
    name: "a MAP of an overlapping range is EEXIST, and nothing of it is mapped",
    calls: [[map(1), "ok"], [map(0, 2), "EEXIST"], [map(1, 2), "EEXIST"], [map(0, 4), "EEXIST"], rest(PAGE)],
  },
  {
    name: "a MAP inside of a mapping is EEXIST",
    calls: [[map(0, 16), "ok"], [map(5), "EEXIST"], rest(16n * PAGE)],
  },
  {
    name: "MAPs that adjoin stay two mappings",
    calls: [[map(0), "ok"], [map(1, 1, { at: PAGE }), "ok"], [unmap(0), PAGE], [unmap(1), PAGE]],
  },
  {
    name: "an UNMAP inside of one mapping is refused, or cuts just that out",
    calls: [
      [map(0, 16), "ok"],
      [unmap(5), { ...NOT_SPLIT, "iommufd-split": PAGE }],
      [unmap(0, 16), { type1: 16n * PAGE, iommufd: 16n * PAGE, "iommufd-split": 15n * PAGE }],
    ],
  },
  {
    name: "an UNMAP of the first half of one mapping is refused, or cuts it off",
    calls: [
      [map(0, 16), "ok"],
      [unmap(0, 8), { ...NOT_SPLIT, "iommufd-split": 8n * PAGE }],
      [unmap(0, 16), { type1: 16n * PAGE, iommufd: 16n * PAGE, "iommufd-split": 8n * PAGE }],
    ],
  },
  {
    name: "an UNMAP of the last page of one mapping is refused, or cuts it off",
    calls: [
      [map(0, 16), "ok"],
      [unmap(15), { ...NOT_SPLIT, "iommufd-split": PAGE }],
      [unmap(0, 16), { type1: 16n * PAGE, iommufd: 16n * PAGE, "iommufd-split": 15n * PAGE }],
    ],
  },
  {
    name: "what was cut out can be mapped to something else, and the rests are mappings of their own",
    only: ["iommufd-split"],
    calls: [
      [map(0, 16), "ok"],
      [unmap(5), PAGE],
      [map(5, 1, { at: 0x20_0000n }), "ok"],
      [unmap(0, 5), 5n * PAGE],
      [unmap(6, 10), 10n * PAGE],
      [unmap(5), PAGE],
    ],
  },
  {
    name: "an UNMAP across the seam of two mappings takes a part of both",
    only: ["iommufd-split"],
    calls: [[map(0, 4), "ok"], [map(4, 4, { at: 0x4000n }), "ok"], [unmap(3, 2), 2n * PAGE], rest(6n * PAGE)],
  },
  {
    name: "an UNMAP that begins inside of a mapping and ends beyond takes what is there",
    calls: [
      [map(0, 4), "ok"],
      [unmap(2, 8), { ...NOT_SPLIT, "iommufd-split": 2n * PAGE }],
      [unmap(0, 16), { type1: 4n * PAGE, iommufd: 4n * PAGE, "iommufd-split": 2n * PAGE }],
    ],
  },
  {
    name: "an UNMAP of one mapping and half of the next: ENOENT of iommufd, and the first one is gone all the same",
    calls: [
      [map(0, 16), "ok"],
      [map(16, 16), "ok"],
      [unmap(0, 24), { ...NOT_SPLIT, "iommufd-split": 24n * PAGE }],
      [unmap(0, 32), { type1: 32n * PAGE, iommufd: 16n * PAGE, "iommufd-split": 8n * PAGE }],
    ],
  },
  {
    name: "an UNMAP wider than the mappings in it tells the bytes that were really unmapped",
    calls: [[map(1), "ok"], [map(3, 4), "ok"], [unmap(0, 16), 5n * PAGE], [map(1), "ok"], rest(PAGE)],
  },
  {
    name: "an UNMAP of nothing succeeds with no bytes on type1, and is ENOENT on iommufd",
    calls: [
      // Kernels before "Make vfio_compat's unmap succeed if the range is already empty" say ENOENT here as well.
      [unmap(3), { type1: 0n, iommufd: "ENOENT", "iommufd-split": [0n, "ENOENT"] }],
      [map(0), "ok"],
      [unmap(3), { type1: 0n, iommufd: "ENOENT", "iommufd-split": [0n, "ENOENT"] }],
      rest(PAGE),
    ],
  },
  {
    name: "a MAP of no bytes, of no whole pages or without permission is EINVAL",
    calls: [
      [mapAt(at(0), 0n), "EINVAL"],
      [mapAt(at(0) + 0x800n, PAGE), "EINVAL"],
      [mapAt(at(0), 0x800n), "EINVAL"],
      [map(0, 1, { perm: 0 }), "EINVAL"],
      [map(0), "ok"],
      rest(PAGE),
    ],
  },
  {
    name: "a MAP may be read-only or write-only",
    calls: [[map(0, 1, { perm: 1 }), "ok"], [map(1, 1, { perm: 2 }), "ok"], rest(2n * PAGE)],
  },
  {
    name: "a MAP into the MSI hole, across it, or beyond the IOVA ranges is EINVAL",
    calls: [
      [mapAt(0xfee0_0000n, PAGE), "EINVAL"],
      [mapAt(0xfedf_f000n, 2n * PAGE), "EINVAL"],
      [mapAt(1n << 59n, PAGE), "EINVAL"],
      [mapAt(0xfedf_f000n, PAGE), "ok"],
      [{ do: "unmap", iova: 0xfedf_f000n, size: PAGE }, PAGE],
    ],
  },
  {
    name: "a MAP over a mapping and into the MSI hole: type1 looks for the mapping first",
    calls: [
      [mapAt(0xfedf_f000n, PAGE), "ok"],
      [mapAt(0xfedf_f000n, 2n * PAGE), { type1: "EEXIST", iommufd: "EINVAL", "iommufd-split": "EINVAL" }],
      [{ do: "unmap", iova: 0xfedf_f000n, size: PAGE }, PAGE],
    ],
  },
  {
    name: "a MAP that wraps is EINVAL on type1 and EOVERFLOW on iommufd",
    calls: [
      [
        mapAt(2n ** 64n - PAGE, 2n * PAGE),
        { type1: "EINVAL", iommufd: "EOVERFLOW", "iommufd-split": "EOVERFLOW" },
      ],
    ],
  },
  {
    name: "a MAP of memory that is not there is EFAULT, and nothing of it is mapped",
    calls: [[map(0, 2, { at: RAM_BYTES - PAGE }), "EFAULT"], [map(0), "ok"], rest(PAGE)],
  },
  {
    name: "an UNMAP of no bytes or of no whole pages is EINVAL, and everything stays mapped",
    calls: [
      [map(0, 4), "ok"],
      [{ do: "unmap", iova: at(0), size: 0n }, "EINVAL"],
      [{ do: "unmap", iova: at(2), size: 0n }, "EINVAL"],
      [{ do: "unmap", iova: at(0), size: 0x800n }, "EINVAL"],
      [{ do: "unmap", iova: at(0) + 0x800n, size: PAGE }, "EINVAL"],
      rest(4n * PAGE),
    ],
  },
  {
    name: "a full host is ENOSPC, usable again after an UNMAP, and full again",
    only: ["type1"],
    calls: [
      [{ do: "fill", iova: 0x2000_0000n }, "ok"],
      [map(0), "ENOSPC"],
      [{ do: "unmap", iova: 0x2000_7000n, size: PAGE }, PAGE],
      [map(0), "ok"],
      [map(1), "ENOSPC"],
      [unmap(0), PAGE],
      // Also one that was full counts what is there anew.
      [map(0), "ok"],
      [{ do: "unmap", iova: 0x2000_0000n, size: 0x2000_0000n }, 65534n * PAGE],
      rest(PAGE),
    ],
  },
  {
    name: "70,000 mappings are no limit",
    only: ["iommufd", "iommufd-split"],
    calls: [
      [{ do: "fill", iova: 0x2000_0000n }, "ok"],
      [{ do: "unmap", iova: 0x2000_0000n, size: 0x2000_0000n }, 70000n * PAGE],
    ],
  },
  {
    name: "dirty pages are told between START and STOP only, and iommufd tells none on this IOMMU",
    only: ["type1", "iommufd"],
    calls: [
      [map(0, 4), "ok"],
      [{ do: "collect", iova: at(0), size: 4n * PAGE }, {
        type1: "EINVAL",
        iommufd: "EOPNOTSUPP",
        "iommufd-split": "ok",
      }],
      [{ do: "start" }, { type1: "ok", iommufd: "EOPNOTSUPP", "iommufd-split": "ok" }],
      [{ do: "start" }, { type1: "ok", iommufd: "EOPNOTSUPP", "iommufd-split": "ok" }],
      [{ do: "collect", iova: at(0), size: 4n * PAGE }, { type1: "ok", iommufd: "EOPNOTSUPP", "iommufd-split": "ok" }],
      [{ do: "stop" }, { type1: "ok", iommufd: "EOPNOTSUPP", "iommufd-split": "ok" }],
      [{ do: "collect", iova: at(0), size: 4n * PAGE }, {
        type1: "EINVAL",
        iommufd: "EOPNOTSUPP",
        "iommufd-split": "ok",
      }],
      rest(4n * PAGE),
    ],
  },
  {
    name: "dirty pages of a part of a mapping are not told, and gaps do not matter",
    only: ["type1"],
    calls: [
      [map(0, 4), "ok"],
      [map(6, 2), "ok"],
      [{ do: "start" }, "ok"],
      [{ do: "collect", iova: at(0), size: 2n * PAGE }, "EINVAL"],
      [{ do: "collect", iova: at(0), size: 16n * PAGE }, "ok"],
      [{ do: "stop" }, "ok"],
      rest(6n * PAGE),
    ],
  },
  {
    name: "an UNMAP that tells dirty pages needs the START, and is an UNMAP in all else",
    only: ["type1"],
    calls: [
      [map(0, 4), "ok"],
      [{ do: "unmap-collecting", iova: at(0), size: 4n * PAGE }, "EINVAL"],
      [{ do: "start" }, "ok"],
      [{ do: "unmap-collecting", iova: at(0), size: 2n * PAGE }, "EINVAL"],
      [{ do: "unmap-collecting", iova: at(0), size: 4n * PAGE }, 4n * PAGE],
      [{ do: "stop" }, "ok"],
      rest(0n),
    ],
  },
];
