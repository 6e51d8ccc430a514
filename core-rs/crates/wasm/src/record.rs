//! The fixed records in which batches leave WebAssembly.

use giommu_core::address::Iova;
use giommu_core::extent::Extent;

use crate::extents::IndexedRecord;

/// One extent as JavaScript reads it from the memory of WebAssembly: 24 bytes, little endian.
///
/// JavaScript's `ExtentView` reads the same layout; change both together.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExtentRecord {
    iova: u64,
    target: u64,
    pages: u32,
    /// Bits 0-7: permission; bits 8-15: page shift.
    meta: u32,
}

impl From<&Extent> for ExtentRecord {
    fn from(extent: &Extent) -> Self {
        Self {
            iova: extent.iova.0,
            target: extent.target.0,
            pages: extent.pages,
            meta: u32::from(extent.perm.bits()) | u32::from(extent.page_shift) << 8,
        }
    }
}

impl ExtentRecord {
    /// No extent.
    pub(crate) const NONE: Self = Self { iova: 0, target: 0, pages: 0, meta: 0 };

    /// What a walk found in a table whose entry 0 is at `bus_offset`.
    pub(crate) fn found(found: &IndexedRecord, bus_offset: Iova, page_shift: u8) -> Self {
        Self {
            iova: bus_offset.0.wrapping_add(u64::from(found.index()) << page_shift),
            target: found.target(),
            pages: found.pages(),
            meta: found.perm() | u32::from(page_shift) << 8,
        }
    }
}

/// Where JavaScript finds a batch of records: its address in the memory of WebAssembly.
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "WebAssembly addresses memory with 32 bits")]
pub(crate) fn pointer(records: &[ExtentRecord]) -> u32 {
    records.as_ptr() as usize as u32
}
