/** What a field of an event is in a record: a bigint, a number, a boolean, or the event's text. */
export type QemuFieldKind = "hex" | "number" | "flag" | "text";

/**
 * The fields of each kind of event, in the order in which its line shows them (QEMU 10.0, the `trace-events` files of hw/ppc,
 * hw/vfio, backends, hw/virtio and hw/i386).
 *
 * `hex` is a bigint (addresses, sizes, TCEs, LIOBNs), `number` a number, `flag` a boolean, `text` a string. Names are those of
 * QEMU's formats where they have some.
 *
 * @example
 * ```ts
 * import { QEMU_EVENT_FIELDS } from "@giommu/qemu-trace";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(QEMU_EVENT_FIELDS.vfio_iommu_map_notify, { type: "text", start: "hex", last: "hex" });
 * ```
 */
export const QEMU_EVENT_FIELDS = {
  spapr_iommu_put: { liobn: "hex", ioba: "hex", tce: "hex", ret: "number" },
  spapr_iommu_pci_put: { liobn: "hex", ioba: "hex", tce: "hex", ret: "number" },
  spapr_iommu_get: { liobn: "hex", ioba: "hex", ret: "number", tce: "hex" },
  spapr_iommu_pci_get: { liobn: "hex", ioba: "hex", ret: "number", tce: "hex" },
  spapr_iommu_indirect: { liobn: "hex", ioba: "hex", tcelist: "hex", iobaN: "number", tceN: "hex", ret: "number" },
  spapr_iommu_pci_indirect: { liobn: "hex", ioba: "hex", tcelist: "hex", iobaN: "number", tceN: "hex", ret: "number" },
  spapr_iommu_stuff: { liobn: "hex", ioba: "hex", tcevalue: "hex", npages: "number", ret: "number" },
  spapr_iommu_pci_stuff: { liobn: "hex", ioba: "hex", tcevalue: "hex", npages: "number", ret: "number" },
  spapr_iommu_xlate: { liobn: "hex", address: "hex", target: "hex", perm: "number", mask: "number" },
  spapr_iommu_new_table: { liobn: "hex", table: "hex", fd: "number" },
  spapr_iommu_pre_save: { liobn: "hex", entries: "number", busOffset: "hex", pageShift: "number" },
  spapr_iommu_post_load: {
    liobn: "hex",
    entriesBefore: "number",
    entries: "number",
    busOffset: "hex",
    pageShift: "number",
  },
  spapr_iommu_ddw_query: { buid: "hex", addr: "hex", windows: "number", maxWindowSize: "hex", mask: "number" },
  spapr_iommu_ddw_create: { buid: "hex", addr: "hex", pageSize: "hex", size: "hex", start: "hex", liobn: "hex" },
  spapr_iommu_ddw_remove: { liobn: "hex" },
  spapr_iommu_ddw_reset: { buid: "hex", addr: "hex" },
  vfio_iommu_map_notify: { type: "text", start: "hex", last: "hex" },
  vfio_iommu_map_dirty_notify: { start: "hex", last: "hex" },
  vfio_listener_region_skip: { what: "text", start: "hex", last: "hex" },
  vfio_listener_region_add_iommu: { region: "text", start: "hex", last: "hex" },
  vfio_listener_region_del_iommu: { region: "text" },
  vfio_listener_region_add_ram: { start: "hex", last: "hex", pointer: "hex" },
  vfio_listener_region_del: { start: "hex", last: "hex" },
  vfio_listener_region_add_no_dma_map: { region: "text", start: "hex", size: "hex", pageSize: "hex" },
  vfio_known_safe_misalignment: { region: "text", iova: "hex", offsetWithinRegion: "hex", hostPageSize: "hex" },
  vfio_spapr_group_attach: { groupFd: "number", tableFd: "number" },
  vfio_legacy_dma_unmap_overflow_workaround: {},
  vfio_disconnect_container: { fd: "number" },
  vfio_get_dirty_bitmap: { iova: "hex", size: "hex", bitmapSize: "hex", start: "hex", dirtyPages: "hex" },
  vfio_reset_handler: {},
  vfio_device_dirty_tracking_update: { start: "hex", last: "hex", min: "hex", max: "hex" },
  vfio_device_dirty_tracking_start: {
    ranges: "number",
    min32: "hex",
    max32: "hex",
    min64: "hex",
    max64: "hex",
    minPci64: "hex",
    maxPci64: "hex",
  },
  vfio_prereg_listener_region_add_skip: { start: "hex", last: "hex" },
  vfio_prereg_listener_region_del_skip: { start: "hex", last: "hex" },
  vfio_prereg_register: { address: "hex", size: "hex", ret: "number" },
  vfio_prereg_unregister: { address: "hex", size: "hex", ret: "number" },
  vfio_spapr_create_window: { pageShift: "number", levels: "number", size: "hex", offset: "hex" },
  vfio_spapr_remove_window: { offset: "hex" },
  iommufd_backend_map_dma: {
    iommufd: "number",
    ioas: "number",
    iova: "hex",
    size: "hex",
    address: "hex",
    readonly: "flag",
    ret: "number",
  },
  iommufd_backend_unmap_dma: { iommufd: "number", ioas: "number", iova: "hex", size: "hex", ret: "number" },
  iommufd_backend_unmap_dma_non_exist: { iommufd: "number", ioas: "number", iova: "hex", size: "hex", ret: "number" },
  virtio_iommu_notify_map: { region: "text", start: "hex", last: "hex", target: "hex", flags: "number" },
  virtio_iommu_notify_unmap: { region: "text", start: "hex", last: "hex" },
  virtio_iommu_remap: { region: "text", start: "hex", last: "hex", target: "hex" },
  vtd_replay_ce_valid: { context: "text", domain: "hex", high: "hex", low: "hex" },
  vtd_page_walk_level: { base: "hex", level: "number", start: "hex", end: "hex" },
  vtd_page_walk_one: { domain: "hex", iova: "hex", target: "hex", mask: "hex", perm: "number" },
  vtd_page_walk_one_skip_map: { iova: "hex", mask: "hex", target: "hex" },
  vtd_page_walk_one_skip_unmap: { iova: "hex", mask: "hex" },
  vtd_switch_address_space: { device: "text", enabled: "flag" },
} as const;
