import type { GuestCall } from "./guest_call.ts";

/** What the core knows of a call: its kind's name, its line, its numbers. */
export interface LoggedCall {
  readonly event: string;
  readonly line: number;
  readonly fields: readonly bigint[];
}

/**
 * Says what a logged call was.
 *
 * @param call The event.
 * @param pageSize The size of the table's pages.
 * @returns The call.
 */
export function guestCall({ event, line, fields }: LoggedCall, pageSize: bigint): GuestCall {
  const [a = 0n, b = 0n, c = 0n, d = 0n, e = 0n, f = 0n] = fields;
  const ret = (value: bigint) => Number(BigInt.asIntN(64, value));
  switch (event) {
    case "spapr_iommu_put":
    case "spapr_iommu_pci_put":
      return { line, event, name: "H_PUT_TCE", liobn: a, ioba: b, pages: 1, tce: c, ret: ret(d) };
    case "spapr_iommu_stuff":
    case "spapr_iommu_pci_stuff": {
      // Logged with the address after its range; one that failed, with the one that it failed at.
      const ioba = e === 0n ? BigInt.asUintN(64, b - d * pageSize) : b;
      return { line, event, name: "H_STUFF_TCE", liobn: a, ioba, pages: Number(d), tce: c, ret: ret(e) };
    }
    case "spapr_iommu_indirect":
    case "spapr_iommu_pci_indirect": {
      const pages = Number(d) + 1;
      return { line, event, name: "H_PUT_TCE_INDIRECT", liobn: a, ioba: b, pages, tce: e, ret: ret(f) };
    }
    case "vtd_page_walk_one":
      return { line, event, name: "page table entry", ioba: b, pages: Number(d / 4096n) + 1, tce: c | (e & 3n) };
    case "virtio_iommu_notify_map":
      return {
        line,
        event,
        name: "VIRTIO_IOMMU_T_MAP",
        ioba: a,
        pages: Number((b - a) / 4096n) + 1,
        tce: c | (d & 3n),
      };
    case "virtio_iommu_notify_unmap":
      return { line, event, name: "VIRTIO_IOMMU_T_UNMAP", ioba: a, pages: Number((b - a) / 4096n) + 1 };
    default:
      return { line, event, name: event, ioba: a, pages: 0 };
  }
}
