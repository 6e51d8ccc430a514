//! What the 64 bits of one entry say.

use super::Geometry;
use crate::address::{Gpa, Iova};
use crate::extent::Extent;
use crate::perm::Perm;

/// Reads the entries of one table: bits 0 and 1 are the permission, the bits of the page are the target (PAPR, TCE format).
#[derive(Clone, Copy, Debug)]
pub(super) struct Entries {
    bus_offset: u64,
    shift: u8,
    page: u64,
    /// Page bits and permission; everything else in an entry means nothing.
    key: u64,
}

impl Entries {
    /// The page shift of a valid geometry is at most 63.
    pub(super) fn new(geometry: &Geometry) -> Self {
        let shift = geometry.page_shift.min(63);
        let page = 1u64 << shift;
        Self { bus_offset: geometry.bus_offset.0, shift, page, key: !(page - 1) | 3 }
    }

    #[inline]
    pub(super) fn is_mapped(tce: u64) -> bool {
        tce & 3 != 0
    }

    /// The page that an entry points to.
    #[inline]
    pub(super) fn target(self, tce: u64) -> Gpa {
        Gpa(tce & !(self.page - 1))
    }

    /// Whether two values mean the same: neither maps, or both map the same page with the same permission.
    #[inline]
    pub(super) fn same(self, a: u64, b: u64) -> bool {
        (a ^ b) & self.key == 0 || (a | b) & 3 == 0
    }

    /// Whether an entry belongs to the run of the entry before it. A run never passes the top of the target's space.
    #[inline]
    pub(super) fn continues(self, before: u64, tce: u64) -> bool {
        if before & 3 == 0 {
            return tce & 3 == 0;
        }
        (before ^ tce) & 3 == 0 && (before & self.key).checked_add(self.page) == Some(tce & self.key)
    }

    /// The extent of `pages` entries from `index`, whose first is `tce`.
    #[inline]
    pub(super) fn extent(self, index: u32, pages: u32, tce: u64) -> Extent {
        let perm = Perm::from_bits(tce);
        Extent {
            iova: Iova(self.bus_offset.wrapping_add(u64::from(index) << self.shift)),
            target: self.target(tce),
            pages,
            page_shift: self.shift,
            perm,
        }
    }

    /// The value that entry `first + ahead` of a run has, up to the bits that mean nothing, if entry `first` is `tce`.
    #[inline]
    pub(super) fn ahead(self, tce: u64, ahead: u32) -> u64 {
        tce.wrapping_add(u64::from(ahead) << self.shift)
    }
}
