import type { QemuRecord } from "@giommu/qemu-trace";
import { assertEquals } from "@std/assert";
import { eventCells } from "./event_rows.ts";

/** Two windows: one of 4 KiB pages at 0, one of 64 KiB pages elsewhere. */
const PLACES = new Map([
  [0x8000_0000n, { busOffset: 0n, pageShift: 12 }],
  [0x8000_0001n, { busOffset: 0x10_0000_0000n, pageShift: 16 }],
]);

function cells(record: Omit<QemuRecord, "line">): ReturnType<typeof eventCells> {
  return eventCells({ line: 1, ...record } as QemuRecord, PLACES);
}

Deno.test("a stuff line, which names the address after its range, is told by the range", () => {
  const stuff = { event: "spapr_iommu_pci_stuff", liobn: 0x8000_0001n, tcevalue: 0n, npages: 2, ret: 0 } as const;
  assertEquals(cells({ ...stuff, ioba: 0x10_0005_0000n } as QemuRecord), {
    liobn: 0x8000_0001n,
    iova: 0x10_0003_0000n,
    last: 0x10_0004_ffffn,
    pages: 2,
    value: 0n,
    perm: "",
    ret: 0,
  });
  // One that failed names the address at which it did.
  assertEquals(cells({ ...stuff, ioba: 0x10_0005_0000n, ret: -4 } as QemuRecord).iova, 0x10_0005_0000n);
});

Deno.test("a translation, which is logged by its offset in the window, is told by its bus address", () => {
  const xlate = { event: "spapr_iommu_xlate", liobn: 0x8000_0001n, address: 0x2_0000n } as const;
  const { iova, target, perm } = cells({ ...xlate, target: 0x7_0000n, perm: 1, mask: 0xffff } as QemuRecord);
  assertEquals([iova, target, perm], [0x10_0002_0000n, 0x7_0000n, "r"]);
});

Deno.test("events of all kinds use the same words", () => {
  const ranges: [Partial<QemuRecord>, ReturnType<typeof eventCells>][] = [
    [
      { event: "vfio_iommu_map_notify", type: "MAP", start: 0x1000n, last: 0x1fffn },
      { what: "MAP", iova: 0x1000n, last: 0x1fffn },
    ],
    [
      { event: "vfio_listener_region_add_iommu", region: "tce-iommu-80000001", start: 0n, last: 0xfffn },
      { liobn: 0x8000_0001n, what: "tce-iommu-80000001", iova: 0n, last: 0xfffn },
    ],
    [
      {
        event: "iommufd_backend_map_dma",
        iommufd: 3,
        ioas: 1,
        iova: 0x2000n,
        size: 0x3000n,
        address: 0x7f00n,
        readonly: false,
        ret: -22,
      },
      { iova: 0x2000n, last: 0x4fffn, ret: -22, more: { iommufd: 3, ioas: 1, address: "0x7f00", readonly: false } },
    ],
    [
      {
        event: "spapr_iommu_ddw_create",
        buid: 1n,
        addr: 0n,
        pageSize: 0x1_0000n,
        size: 0x10_0000n,
        start: 0x10_0000_0000n,
        liobn: 0x8000_0001n,
      },
      {
        liobn: 0x8000_0001n,
        iova: 0x10_0000_0000n,
        last: 0x10_000f_ffffn,
        more: { buid: "0x1", addr: "0x0", pageSize: "0x10000" },
      },
    ],
  ];
  for (const [record, expected] of ranges) assertEquals(cells(record as QemuRecord), expected);
});

Deno.test("values at their extremes stay within 64 bits", () => {
  const all = 0xffff_ffff_ffff_ffffn;
  const stuff = { event: "spapr_iommu_pci_stuff", liobn: all, ioba: 0n, tcevalue: all, npages: 2 ** 53 - 1, ret: 0 };
  for (const { iova, last } of [cells(stuff as unknown as QemuRecord)]) {
    assertEquals([BigInt.asUintN(64, iova ?? -1n), last === undefined || last <= all], [iova, true]);
  }
  const map = { event: "iommufd_backend_unmap_dma", iommufd: 1, ioas: 1, iova: all, size: all, ret: 0 };
  assertEquals(cells(map as unknown as QemuRecord).last, all - 2n);
});
