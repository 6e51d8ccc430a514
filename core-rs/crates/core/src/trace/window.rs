//! What a table's geometry is where the input does not say it.

use crate::address::Iova;
use crate::tce_table::Geometry;

/// The bit that tells the LIOBNs of PCI host bridges from those of VIO devices (QEMU, `include/hw/ppc/spapr.h`).
const PCI: u32 = 1 << 31;
/// The part of a PCI LIOBN that numbers a host bridge's windows.
const WINDOW: u32 = 0xff;
/// QEMU's BUID of host bridge 0; those of the others follow.
const BUID: u64 = 0x800_0000_2000_0000;

/// Whether a LIOBN belongs to a PCI host bridge.
#[must_use]
pub fn is_pci(liobn: u32) -> bool {
    liobn & PCI != 0
}

/// The LIOBN that stands for all of a device's tables: window 0 of a PCI host bridge, or the one table of a VIO device.
#[must_use]
pub fn owner(liobn: u32) -> u32 {
    if is_pci(liobn) { liobn & !WINDOW } else { liobn }
}

/// The number of a PCI window at its host bridge.
pub(super) fn window_number(liobn: u32) -> u32 {
    liobn & WINDOW
}

/// The LIOBN of window 0 of the host bridge with this BUID.
pub(super) fn owner_of_buid(buid: u64) -> Option<u32> {
    let index = u32::try_from(buid.checked_sub(BUID)?).ok()?;
    (index <= 0xffff).then_some(PCI | index << 8)
}

/// QEMU's default: a host bridge has 1 GiB, a VIO device 256 MiB, of 4 KiB pages at bus address 0.
#[must_use]
#[inline(never)]
pub fn default_geometry(liobn: u32) -> Geometry {
    let entries = if is_pci(liobn) { 1 << 18 } else { 1 << 16 };
    Geometry { liobn, bus_offset: Iova(0), page_shift: 12, entries }
}

/// The geometry of a window of `size` bytes; `None` if it is not one that a table can have.
#[must_use]
#[inline(never)]
pub fn sized(liobn: u32, bus_offset: u64, page_shift: u32, size: u64) -> Option<Geometry> {
    let entries = u32::try_from(size.checked_shr(page_shift)?).ok()?;
    let geometry =
        Geometry { liobn, bus_offset: Iova(bus_offset), page_shift: u8::try_from(page_shift).ok()?, entries };
    geometry.size_minus_1().is_ok().then_some(geometry)
}

/// The LIOBN in the name that QEMU gives a table's region.
#[inline(never)]
pub(crate) fn named_table(name: &[u8]) -> Option<u32> {
    let digits = name.strip_prefix(b"tce-iommu-")?;
    let (liobn, rest) = super::scan::hexadecimal(digits)?;
    rest.is_empty().then(|| u32::try_from(liobn).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_lead_to_tables() {
        assert_eq!(named_table(b"tce-iommu-80000001"), Some(0x8000_0001));
        assert_eq!(named_table(b"tce-iommu-180000001"), None);
        assert_eq!(named_table(b"vtd-04.0-dmar"), None);
        assert_eq!(owner_of_buid(0x800_0000_2000_0001), Some(0x8000_0100));
        assert_eq!(owner_of_buid(5), None);
        assert_eq!((owner(0x8000_0101), owner(0x7100_0003)), (0x8000_0100, 0x7100_0003));
    }

    #[test]
    fn impossible_windows_have_no_geometry() {
        assert!(sized(1, 0, 12, 1 << 30).is_some());
        for (bus_offset, shift, size) in
            [(0, 64, 1), (0, 12, 0xfff), (0, 12, u64::MAX), (u64::MAX - 0xfff, 12, 0x2000), (0, u32::MAX, 1)]
        {
            assert_eq!(sized(1, bus_offset, shift, size), None);
        }
    }
}
