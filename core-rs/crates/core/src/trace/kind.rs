//! The events that QEMU's log may hold, and how their lines look.

/// Names the kinds of events, and gives each its name and format in QEMU's `trace-events` files.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal, $format:literal;)*) => {
        /// A kind of event: one line of QEMU's log.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr(u8)]
        #[non_exhaustive]
        pub enum Kind {
            $($(#[$doc])* $kind,)*
        }

        impl Kind {
            /// All kinds, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$kind,)*];

            /// Name and format of each kind, by its number. A `match` over the names would be ten times the code.
            const TEXTS: &[(&[u8], &[u8])] = &[$(($name, $format),)*];

            fn texts(self) -> (&'static [u8], &'static [u8]) {
                Self::TEXTS.get(self as usize).copied().unwrap_or_default()
            }

            /// The kind with this name.
            pub(super) fn named(name: &[u8]) -> Option<Self> {
                let at = Self::TEXTS.iter().position(|(other, _)| *other == name)?;
                Self::ALL.get(at).copied()
            }

            /// Whether it tells of intel-iommu: [`Parser`](super::parser::Parser) passes over those unless it is asked not to.
            #[must_use]
            pub fn is_intel_iommu(self) -> bool {
                self as u8 >= Self::VtdReplay as u8
            }

            /// Whether it is of the few kinds that nearly all lines are of.
            #[inline]
            pub(super) fn fills_logs(self) -> bool {
                matches!(
                    self,
                    Self::Put
                        | Self::PciPut
                        | Self::Indirect
                        | Self::PciIndirect
                        | Self::Stuff
                        | Self::PciStuff
                        | Self::Xlate
                        | Self::MapNotify
                )
            }

            /// The event's name in QEMU's source.
            #[must_use]
            pub fn name(self) -> &'static str {
                core::str::from_utf8(self.texts().0).unwrap_or_default()
            }

            /// The event's format. `%P` is a hexadecimal number of 64 bits, `%X` one of 32, `%D` and `%d` are signed
            /// decimal numbers of 64 and 32 bits, `%U` and `%u` unsigned ones, `%p` is a pointer, `%s` is text.
            #[must_use]
            pub fn format(self) -> &'static [u8] {
                self.texts().1
            }
        }
    };
}

kinds! {
    // hw/ppc/trace-events
    /// H_PUT_TCE on a table of a VIO device. Fields: LIOBN, bus address, TCE, return code.
    Put = b"spapr_iommu_put", b"liobn=0x%P ioba=0x%P tce=0x%P ret=%D";
    /// H_PUT_TCE on a table of a PCI host bridge. Fields as [`Kind::Put`].
    PciPut = b"spapr_iommu_pci_put", b"liobn=0x%P ioba=0x%P tce=0x%P ret=%D";
    /// H_GET_TCE on a VIO table. Fields: LIOBN, bus address, return code, TCE.
    Get = b"spapr_iommu_get", b"liobn=0x%P ioba=0x%P ret=%D tce=0x%P";
    /// H_GET_TCE on a PCI table. Fields as [`Kind::Get`].
    PciGet = b"spapr_iommu_pci_get", b"liobn=0x%P ioba=0x%P ret=%D tce=0x%P";
    /// H_PUT_TCE_INDIRECT on a VIO table. Fields: LIOBN, first bus address, address of the list, index of the last
    /// entry of the list, its TCE, return code.
    Indirect = b"spapr_iommu_indirect", b"liobn=0x%P ioba=0x%P tcelist=0x%P iobaN=0x%P tceN=0x%P ret=%D";
    /// H_PUT_TCE_INDIRECT on a PCI table. Fields as [`Kind::Indirect`].
    PciIndirect = b"spapr_iommu_pci_indirect", b"liobn=0x%P ioba=0x%P tcelist=0x%P iobaN=0x%P tceN=0x%P ret=%D";
    /// H_STUFF_TCE on a VIO table. Fields: LIOBN, bus address *after* the range, TCE, pages, return code.
    Stuff = b"spapr_iommu_stuff", b"liobn=0x%P ioba=0x%P tcevalue=0x%P npages=%D ret=%D";
    /// H_STUFF_TCE on a PCI table. Fields as [`Kind::Stuff`].
    PciStuff = b"spapr_iommu_pci_stuff", b"liobn=0x%P ioba=0x%P tcevalue=0x%P npages=%D ret=%D";
    /// QEMU's answer to where an address goes. Fields: LIOBN, address relative to the window, target, permission, page
    /// mask cut to 32 bits.
    Xlate = b"spapr_iommu_xlate", b"liobn=0x%X 0x%P -> 0x%P perm=%u mask=0x%X";
    /// A table was allocated. Fields: LIOBN, pointer, file descriptor.
    NewTable = b"spapr_iommu_new_table", b"liobn=0x%X table=%p fd=%d";
    /// A table is about to be sent in a migration stream. Fields: LIOBN, entries, bus offset, page shift.
    PreSave = b"spapr_iommu_pre_save", b"liobn=%X %X bus_offset=0x%P ps=%u";
    /// A table came from a migration stream. Fields: LIOBN, entries before, entries, bus offset, page shift.
    PostLoad = b"spapr_iommu_post_load", b"liobn=%X %X => 0x%X bus_offset=0x%P ps=%u";
    /// ibm,query-pe-dma-window. Fields: BUID, address, windows, largest window, page size mask.
    DdwQuery = b"spapr_iommu_ddw_query", b"buid=0x%P addr=0x%X, %u windows available, max window size=0x%P, mask=0x%X";
    /// ibm,create-pe-dma-window. Fields: BUID, address, page size, window size, bus address, LIOBN.
    DdwCreate = b"spapr_iommu_ddw_create", b"buid=0x%P addr=0x%X, page size=0x%P, requested=0x%P, start addr=0x%P, liobn=0x%X";
    /// ibm,remove-pe-dma-window. Fields: LIOBN.
    DdwRemove = b"spapr_iommu_ddw_remove", b"liobn=0x%X";
    /// ibm,reset-pe-dma-window. Fields: BUID, address.
    DdwReset = b"spapr_iommu_ddw_reset", b"buid=0x%P addr=0x%X";

    // hw/vfio/trace-events
    /// VFIO is told of a change, or of a mapping by a replay. Text: MAP or UNMAP. Fields: first and last bus address.
    MapNotify = b"vfio_iommu_map_notify", b"iommu %s @ 0x%P - 0x%P";
    /// Dirty pages are looked up behind an IOMMU. Fields: first and last bus address.
    MapDirtyNotify = b"vfio_iommu_map_dirty_notify", b"iommu dirty @ 0x%P - 0x%P";
    /// VFIO skips a section. Text: what is skipped. Fields: first and last address.
    RegionSkip = b"vfio_listener_region_skip", b"SKIPPING %s 0x%P - 0x%P";
    /// VFIO gets an IOMMU section. Text: the region's name. Fields: first and last bus address.
    RegionAddIommu = b"vfio_listener_region_add_iommu", b"region_add [iommu] %s 0x%P - 0x%P";
    /// VFIO loses an IOMMU section. Text: the region's name.
    RegionDelIommu = b"vfio_listener_region_del_iommu", b"region_del [iommu] %s";
    /// VFIO gets a RAM section. Fields: first and last address, pointer.
    RegionAddRam = b"vfio_listener_region_add_ram", b"region_add [ram] 0x%P - 0x%P [%p]";
    /// VFIO loses a section. Fields: first and last address.
    RegionDel = b"vfio_listener_region_del", b"region_del 0x%P - 0x%P";
    /// A device's memory cannot be mapped. Text: the region's name. Fields: address, size, page size.
    RegionAddNoDmaMap = b"vfio_listener_region_add_no_dma_map",
        b"Region \"%s\" 0x%P size=0x%P is not aligned to 0x%P and cannot be mapped for DMA";
    /// A misaligned region that is known to be harmless. Text: its name. Fields: address, offset in the region, page
    /// size.
    KnownSafeMisalignment = b"vfio_known_safe_misalignment",
        b"Region \"%s\" iova=0x%P offset_within_region=0x%P qemu_real_host_page_size=0x%P";
    /// A table is tied to a group. Fields: file descriptors of the group and of the table.
    SpaprGroupAttach = b"vfio_spapr_group_attach", b"Attached groupfd %d to liobn fd %d";
    /// An unmap up to the top of the space is made one page shorter.
    UnmapOverflowWorkaround = b"vfio_legacy_dma_unmap_overflow_workaround", b"";
    /// A container goes. Fields: its file descriptor.
    DisconnectContainer = b"vfio_disconnect_container", b"close container->fd=%d";
    /// A dirty bitmap was read. Fields: address, size, bitmap size, bitmap address, dirty pages.
    GetDirtyBitmap = b"vfio_get_dirty_bitmap",
        b"iova=0x%P size= 0x%P bitmap_size=0x%P start=0x%P dirty_pages=%U";
    /// The machine resets its VFIO devices.
    ResetHandler = b"vfio_reset_handler", b"";
    /// A range joins dirty tracking. Fields: first and last address of the section, then of the tracked range.
    DirtyTrackingUpdate = b"vfio_device_dirty_tracking_update", b"section 0x%P - 0x%P -> update [0x%P - 0x%P]";
    /// Dirty tracking starts. Fields: ranges, then first and last address of the 32-bit, 64-bit and PCI ranges.
    DirtyTrackingStart = b"vfio_device_dirty_tracking_start",
        b"nr_ranges %d 32:[0x%P - 0x%P], 64:[0x%P - 0x%P], pci64:[0x%P - 0x%P]";
    /// A section is not registered beforehand. Fields: first and last address.
    PreregAddSkip = b"vfio_prereg_listener_region_add_skip", b"0x%P - 0x%P";
    /// The same when it goes. Fields: first and last address.
    PreregDelSkip = b"vfio_prereg_listener_region_del_skip", b"0x%P - 0x%P";
    /// Memory is registered beforehand. Fields: address, size, return code.
    PreregRegister = b"vfio_prereg_register", b"va=0x%P size=0x%P ret=%d";
    /// Memory is unregistered. Fields: address, size, return code.
    PreregUnregister = b"vfio_prereg_unregister", b"va=0x%P size=0x%P ret=%d";
    /// A window is made on an sPAPR host. Fields: page shift, levels, size, bus address.
    SpaprCreateWindow = b"vfio_spapr_create_window", b"pageshift=0x%X levels=%u winsize=0x%P offset=0x%P";
    /// A window goes from an sPAPR host. Fields: bus address.
    SpaprRemoveWindow = b"vfio_spapr_remove_window", b"offset=0x%P";

    // backends/trace-events
    /// iommufd maps. Fields: file descriptor, IOAS, bus address, size, memory address, whether read-only, return code.
    IommufdMap = b"iommufd_backend_map_dma",
        b" iommufd=%d ioas=%d iova=0x%P size=0x%P addr=%p readonly=%d (%d)";
    /// iommufd unmaps. Fields: file descriptor, IOAS, bus address, size, return code.
    IommufdUnmap = b"iommufd_backend_unmap_dma", b" iommufd=%d ioas=%d iova=0x%P size=0x%P (%d)";
    /// iommufd has nothing to unmap. Fields as [`Kind::IommufdUnmap`].
    IommufdUnmapNonExist = b"iommufd_backend_unmap_dma_non_exist",
        b" Unmap nonexistent mapping: iommufd=%d ioas=%d iova=0x%P size=0x%P (%d)";

    // hw/virtio/trace-events
    /// virtio-iommu tells of a mapping. Text: the region. Fields: first and last address, target, flags.
    VirtioNotifyMap = b"virtio_iommu_notify_map",
        b"mr=%s virt_start=0x%P virt_end=0x%P phys_start=0x%P flags=%d";
    /// virtio-iommu tells that a mapping went. Text: the region. Fields: first and last address.
    VirtioNotifyUnmap = b"virtio_iommu_notify_unmap", b"mr=%s virt_start=0x%P virt_end=0x%P";
    /// virtio-iommu replays a mapping. Text: the region. Fields: first and last address, target.
    VirtioRemap = b"virtio_iommu_remap", b"mr=%s virt_start=0x%P virt_end=0x%P phys_start=0x%P";

    // hw/i386/trace-events
    /// intel-iommu replays to a device whose context is valid. Text: which. Fields: domain, context entry.
    VtdReplay = b"vtd_replay_ce_valid", b"%s domain 0x%P hi 0x%P lo 0x%P";
    /// intel-iommu walks a level of a page table. Fields: its address, the level, first address, address after the last.
    VtdWalkLevel = b"vtd_page_walk_level", b"walk (base=0x%P, level=%u) iova range 0x%P - 0x%P";
    /// It tells of an entry that appeared, changed, or went (permission 0). Fields: domain, address, target, mask,
    /// permission.
    VtdWalkOne = b"vtd_page_walk_one", b"domain 0x%P iova 0x%P -> gpa 0x%P mask 0x%P perm %d";
    /// It passes over an entry that is as it was. Fields: address, mask, target.
    VtdSkipMap = b"vtd_page_walk_one_skip_map", b"iova 0x%P mask 0x%P translated 0x%P";
    /// It passes over an entry that is as empty as it was. Fields: address, mask.
    VtdSkipUnmap = b"vtd_page_walk_one_skip_unmap", b"iova 0x%P mask 0x%P";
    /// A device sees memory directly, or by its IOMMU. Text: the device. Fields: whether by its IOMMU.
    VtdSwitch = b"vtd_switch_address_space", b"Device %s switching address space (iommu enabled=%d)";
}
