//! Reads the fields of one event by its format.

use super::kind::Kind;
use super::scan::{decimal, hexadecimal, signed};

/// The most fields that an event has.
pub(super) const FIELDS: usize = 8;

/// The numbers of an event in the order of its format; signed ones as two's complement.
pub(super) type Fields = [u64; FIELDS];

/// Reads the fields of an event by its format: all of `text`, which is what follows the name and a space.
pub(super) fn fields(kind: Kind, text: &[u8]) -> Option<(Fields, &[u8])> {
    let mut reader = Reader { fields: [0; FIELDS], count: 0, text: &[] };
    reader.read(kind.format(), text)?;
    valid(kind, &reader.fields, reader.text).then_some((reader.fields, reader.text))
}

/// Whether values that fit their format are also ones that QEMU can print.
fn valid(kind: Kind, fields: &Fields, text: &[u8]) -> bool {
    match (kind, fields) {
        (Kind::Xlate, [_, _, _, perm, ..]) => *perm <= 3,
        (Kind::PreSave, [_, _, _, shift, ..]) | (Kind::PostLoad, [_, _, _, _, shift, ..]) => *shift <= 63,
        (Kind::MapNotify, _) => matches!(text, b"MAP" | b"UNMAP"),
        // PAPR's list is one page of 512 entries.
        (Kind::Indirect | Kind::PciIndirect, [_, _, _, last, ..]) => *last < 512,
        _ => true,
    }
}

struct Reader<'a> {
    fields: Fields,
    count: usize,
    text: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads all of `text` by all of `format`.
    fn read(&mut self, mut format: &[u8], mut text: &'a [u8]) -> Option<()> {
        loop {
            match format {
                [b'%', b's', rest @ ..] => return self.read_text(rest, text),
                [b'%', conversion, rest @ ..] => {
                    let value;
                    (value, text) = number(*conversion, text)?;
                    *self.fields.get_mut(self.count)? = value;
                    self.count += 1;
                    format = rest;
                }
                [literal, rest @ ..] => {
                    let (first, others) = text.split_first()?;
                    if first != literal {
                        return None;
                    }
                    (format, text) = (rest, others);
                }
                [] => return text.is_empty().then_some(()),
            }
        }
    }

    /// Reads text of any length and what follows it. A name may hold what follows names, so the longest one counts.
    fn read_text(&mut self, after: &[u8], text: &'a [u8]) -> Option<()> {
        let Some(first) = after.first() else {
            self.text = text;
            return Some(());
        };
        let mut end = text.len();
        loop {
            end = text.get(..end)?.iter().rposition(|byte| byte == first)?;
            let (name, rest) = text.split_at_checked(end)?;
            if self.read(after, rest).is_some() {
                self.text = name;
                return Some(());
            }
            self.count = 0;
        }
    }
}

/// Reads one number by its conversion.
fn number(conversion: u8, text: &[u8]) -> Option<(u64, &[u8])> {
    match conversion {
        b'P' => hexadecimal(text),
        b'X' => hexadecimal(text).filter(|(value, _)| u32::try_from(*value).is_ok()),
        b'U' => decimal(text),
        b'u' => decimal(text).filter(|(value, _)| u32::try_from(*value).is_ok()),
        b'D' => signed(text).map(|(value, rest)| (value.cast_unsigned(), rest)),
        b'd' => signed(text)
            .filter(|(value, _)| i32::try_from(*value).is_ok())
            .map(|(value, rest)| (value.cast_unsigned(), rest)),
        b'p' => match text.strip_prefix(b"(nil)") {
            Some(rest) => Some((0, rest)),
            None => hexadecimal(text.strip_prefix(b"0x")?),
        },
        _ => None,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// One line of each kind, as QEMU prints it, and its numbers.
    pub(in crate::trace) const LINES: &[(&str, &[u64], &str)] = &[
        ("spapr_iommu_put liobn=0x71000003 ioba=0x1000 tce=0x4407003 ret=0", &[0x7100_0003, 0x1000, 0x440_7003, 0], ""),
        (
            "spapr_iommu_pci_put liobn=0x80000000 ioba=0x0 tce=0x0 ret=-4",
            &[0x8000_0000, 0, 0, (-4i64).cast_unsigned()],
            "",
        ),
        ("spapr_iommu_get liobn=0x1 ioba=0x2 ret=0 tce=0x3", &[1, 2, 0, 3], ""),
        ("spapr_iommu_pci_get liobn=0x1 ioba=0x2 ret=-4 tce=0x0", &[1, 2, (-4i64).cast_unsigned(), 0], ""),
        (
            "spapr_iommu_indirect liobn=0x71000003 ioba=0x30000000 tcelist=0x21f0000 iobaN=0xf tceN=0x222f003 ret=0",
            &[0x7100_0003, 0x3000_0000, 0x21f_0000, 0xf, 0x222_f003, 0],
            "",
        ),
        (
            "spapr_iommu_pci_indirect liobn=0x80000001 ioba=0x800000000000000 tcelist=0x2210000 iobaN=0x3f tceN=0x3f000003 ret=0",
            &[0x8000_0001, 1 << 59, 0x221_0000, 0x3f, 0x3f00_0003, 0],
            "",
        ),
        (
            "spapr_iommu_stuff liobn=0x71000003 ioba=0x200000 tcevalue=0x0 npages=512 ret=0",
            &[0x7100_0003, 0x20_0000, 0, 512, 0],
            "",
        ),
        (
            "spapr_iommu_pci_stuff liobn=0x1 ioba=0x2 tcevalue=0x3 npages=-1 ret=-4",
            &[1, 2, 3, u64::MAX, (-4i64).cast_unsigned()],
            "",
        ),
        (
            "spapr_iommu_xlate liobn=0x80000000 0x3000f000 -> 0x222f000 perm=3 mask=0xfff",
            &[0x8000_0000, 0x3000_f000, 0x222_f000, 3, 0xfff],
            "",
        ),
        (
            "spapr_iommu_new_table liobn=0x80000000 table=0x7f7bbc6ab010 fd=-1",
            &[0x8000_0000, 0x7f7b_bc6a_b010, u64::MAX],
            "",
        ),
        ("spapr_iommu_new_table liobn=0x80000000 table=(nil) fd=12", &[0x8000_0000, 0, 12], ""),
        ("spapr_iommu_pre_save liobn=80000000 40000 bus_offset=0x0 ps=12", &[0x8000_0000, 0x40000, 0, 12], ""),
        (
            "spapr_iommu_post_load liobn=80000000 40000 => 0x20 bus_offset=0x800000000000000 ps=24",
            &[0x8000_0000, 0x40000, 0x20, 1 << 59, 24],
            "",
        ),
        (
            "spapr_iommu_ddw_query buid=0x800000020000000 addr=0x0, 1 windows available, max window size=0x80000000, mask=0x107",
            &[0x800_0000_2000_0000, 0, 1, 0x8000_0000, 0x107],
            "",
        ),
        (
            "spapr_iommu_ddw_create buid=0x800000020000000 addr=0x0, page size=0x1000000, requested=0x40000000, start addr=0x800000000000000, liobn=0x80000001",
            &[0x800_0000_2000_0000, 0, 0x100_0000, 0x4000_0000, 1 << 59, 0x8000_0001],
            "",
        ),
        ("spapr_iommu_ddw_remove liobn=0x80000001", &[0x8000_0001], ""),
        ("spapr_iommu_ddw_reset buid=0x800000020000000 addr=0x0", &[0x800_0000_2000_0000, 0], ""),
        ("vfio_iommu_map_notify iommu MAP @ 0x0 - 0xfff", &[0, 0xfff], "MAP"),
        ("vfio_iommu_map_notify iommu UNMAP @ 0xff000000 - 0xffffffff", &[0xff00_0000, 0xffff_ffff], "UNMAP"),
        ("vfio_iommu_map_dirty_notify iommu dirty @ 0x0 - 0xfff", &[0, 0xfff], ""),
        (
            "vfio_listener_region_skip SKIPPING region_add 0x40000000000 - 0x40000000fff",
            &[0x400_0000_0000, 0x400_0000_0fff],
            "region_add",
        ),
        (
            "vfio_listener_region_add_iommu region_add [iommu] tce-iommu-80000000 0x0 - 0x3fffffff",
            &[0, 0x3fff_ffff],
            "tce-iommu-80000000",
        ),
        (
            "vfio_listener_region_add_iommu region_add [iommu] a name 0x1 - 0x2 0xfef00000 - 0xffffffffffffffff",
            &[0xfef0_0000, u64::MAX],
            "a name 0x1 - 0x2",
        ),
        ("vfio_listener_region_del_iommu region_del [iommu] tce-iommu-80000000", &[], "tce-iommu-80000000"),
        (
            "vfio_listener_region_add_ram region_add [ram] 0x0 - 0x3fffffff [0x7f6498e00000]",
            &[0, 0x3fff_ffff, 0x7f64_98e0_0000],
            "",
        ),
        ("vfio_listener_region_del region_del 0x0 - 0x3fffffff", &[0, 0x3fff_ffff], ""),
        (
            "vfio_listener_region_add_no_dma_map Region \"a \"b\"\" 0x1 size=0x2 is not aligned to 0x1000 and cannot be mapped for DMA",
            &[1, 2, 0x1000],
            "a \"b\"",
        ),
        (
            "vfio_known_safe_misalignment Region \"tpm-crb-cmd\" iova=0x1 offset_within_region=0x2 qemu_real_host_page_size=0x1000",
            &[1, 2, 0x1000],
            "tpm-crb-cmd",
        ),
        ("vfio_spapr_group_attach Attached groupfd 12 to liobn fd -1", &[12, u64::MAX], ""),
        ("vfio_legacy_dma_unmap_overflow_workaround ", &[], ""),
        ("vfio_disconnect_container close container->fd=13", &[13], ""),
        (
            "vfio_get_dirty_bitmap iova=0x0 size= 0x1000 bitmap_size=0x8 start=0x0 dirty_pages=18446744073709551615",
            &[0, 0x1000, 8, 0, u64::MAX],
            "",
        ),
        ("vfio_reset_handler ", &[], ""),
        ("vfio_device_dirty_tracking_update section 0x0 - 0xfff -> update [0x0 - 0x1fff]", &[0, 0xfff, 0, 0x1fff], ""),
        (
            "vfio_device_dirty_tracking_start nr_ranges 1 32:[0x0 - 0xfff], 64:[0xffffffffffffffff - 0x0], pci64:[0x1 - 0x2]",
            &[1, 0, 0xfff, u64::MAX, 0, 1, 2],
            "",
        ),
        ("vfio_prereg_listener_region_add_skip 0x1 - 0x2", &[1, 2], ""),
        ("vfio_prereg_listener_region_del_skip 0x1 - 0x2", &[1, 2], ""),
        ("vfio_prereg_register va=0x1 size=0x2 ret=-12", &[1, 2, (-12i64).cast_unsigned()], ""),
        ("vfio_prereg_unregister va=0x1 size=0x2 ret=0", &[1, 2, 0], ""),
        ("vfio_spapr_create_window pageshift=0xc levels=1 winsize=0x40000000 offset=0x0", &[12, 1, 0x4000_0000, 0], ""),
        ("vfio_spapr_remove_window offset=0x800000000000000", &[1 << 59], ""),
        (
            "iommufd_backend_map_dma  iommufd=10 ioas=2 iova=0x0 size=0x1000 addr=0x7f64 readonly=0 (-17)",
            &[10, 2, 0, 0x1000, 0x7f64, 0, (-17i64).cast_unsigned()],
            "",
        ),
        ("iommufd_backend_unmap_dma  iommufd=10 ioas=2 iova=0x0 size=0x1000 (0)", &[10, 2, 0, 0x1000, 0], ""),
        (
            "iommufd_backend_unmap_dma_non_exist  Unmap nonexistent mapping: iommufd=10 ioas=2 iova=0x0 size=0x1000 (-2)",
            &[10, 2, 0, 0x1000, (-2i64).cast_unsigned()],
            "",
        ),
        (
            "virtio_iommu_notify_map mr=virtio-iommu-memory-region-8-0 virt_start=0x0 virt_end=0xfff phys_start=0x1000 flags=3",
            &[0, 0xfff, 0x1000, 3],
            "virtio-iommu-memory-region-8-0",
        ),
        ("virtio_iommu_notify_unmap mr=x virt_start=0x0 virt_end=0xfff", &[0, 0xfff], "x"),
        ("virtio_iommu_remap mr=x virt_start=0x0 virt_end=0xfff phys_start=0x1000", &[0, 0xfff, 0x1000], "x"),
        (
            "vtd_replay_ce_valid legacy mode: replay valid context device 00:04.00 domain 0x6 hi 0x602 lo 0x82d001",
            &[6, 0x602, 0x82_d001],
            "legacy mode: replay valid context device 00:04.00",
        ),
        (
            "vtd_page_walk_level walk (base=0x82d000, level=4) iova range 0x0 - 0x1000000000000",
            &[0x82_d000, 4, 0, 1 << 48],
            "",
        ),
        (
            "vtd_page_walk_one domain 0x6 iova 0x1000 -> gpa 0xce1000 mask 0xfff perm 3",
            &[6, 0x1000, 0xce_1000, 0xfff, 3],
            "",
        ),
        (
            "vtd_page_walk_one_skip_map iova 0x300000000 mask 0xfff translated 0x5ff0000",
            &[3 << 32, 0xfff, 0x5ff_0000],
            "",
        ),
        ("vtd_page_walk_one_skip_unmap iova 0x8000000000 mask 0x7fffffffff", &[1 << 39, 0x7f_ffff_ffff], ""),
        ("vtd_switch_address_space Device 00:04.0 switching address space (iommu enabled=1)", &[1], "00:04.0"),
    ];

    fn split(line: &str) -> (Kind, &[u8]) {
        let (name, rest) = line.split_once(' ').expect("a name");
        (Kind::named(name.as_bytes()).expect("a known name"), rest.as_bytes())
    }

    #[test]
    fn every_kind_is_read_by_its_format() {
        let mut seen = Vec::new();
        for (line, numbers, name) in LINES {
            let (kind, rest) = split(line);
            let (read, text) = fields(kind, rest).unwrap_or_else(|| panic!("{line}"));
            assert_eq!(&read[..numbers.len()], *numbers, "{line}");
            assert_eq!(text, name.as_bytes(), "{line}");
            assert_eq!(kind.name(), line.split(' ').next().unwrap());
            seen.push(kind);
        }
        for kind in Kind::ALL {
            assert!(seen.contains(kind), "no line of {kind:?}");
        }
    }

    #[test]
    fn no_shorter_line_reads_as_the_whole() {
        for (line, ..) in LINES {
            let (kind, rest) = split(line);
            for length in 0..rest.len() {
                if let Some((read, _)) = fields(kind, &rest[..length]) {
                    // Only the last number or name may be cut and still be one.
                    assert!(kind.format().ends_with(b"%P") || rest[length..].len() < 24, "{line} {read:?}");
                }
            }
            let longer = [rest, b" "].concat();
            assert!(fields(kind, &longer).is_none() || kind.format().ends_with(b"%s"), "{line}");
        }
    }

    #[test]
    fn numbers_beyond_their_width_do_not_parse() {
        for line in [
            "spapr_iommu_put liobn=0x80000000000000000 ioba=0x0 tce=0x0 ret=0",
            "spapr_iommu_put liobn=0x8 ioba=0x0 tce=0x0 ret=9223372036854775808",
            "spapr_iommu_put liobn=0x8 ioba=0x tce=0x0 ret=0",
            "spapr_iommu_put liobn=8 ioba=0x0 tce=0x0 ret=0",
            "spapr_iommu_put liobn=0x8 ioba=0xG tce=0x0 ret=0",
            "spapr_iommu_put liobn=0x8 ioba=0xA tce=0x0 ret=0",
            "spapr_iommu_put liobn=0x8  ioba=0xa tce=0x0 ret=0",
            "spapr_iommu_xlate liobn=0x80000000 0x0 -> 0x0 perm=4 mask=0xfff",
            "spapr_iommu_xlate liobn=0x80000000 0x0 -> 0x0 perm=0 mask=0x100000000",
            "spapr_iommu_xlate liobn=0x180000000 0x0 -> 0x0 perm=0 mask=0xfff",
            "spapr_iommu_new_table liobn=0x80000000 table=7f fd=-1",
            "spapr_iommu_new_table liobn=0x80000000 table=0x7f fd=2147483648",
            "spapr_iommu_indirect liobn=0x1 ioba=0x0 tcelist=0x0 iobaN=0x200 tceN=0x0 ret=0",
            "spapr_iommu_pre_save liobn=80000000 40000 bus_offset=0x0 ps=64",
            "vfio_iommu_map_notify iommu REMAP @ 0x0 - 0xfff",
        ] {
            let (kind, rest) = split(line);
            assert_eq!(fields(kind, rest), None, "{line}");
        }
    }
}
