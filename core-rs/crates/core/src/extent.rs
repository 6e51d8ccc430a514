//! A run of neighbouring guest entries with one permission and adjoining targets.

use crate::address::{Gpa, Iova, IovaRange};
use crate::perm::Perm;

/// A run of neighbouring pages of one guest IOMMU: equal permission, and each page's target follows the one before it.
///
/// An extent of permission [`Perm::NONE`] says that pages hold no mapping; its target means nothing and is 0.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Extent {
    /// Where the run begins, as a bus address.
    pub iova: Iova,
    /// Where its first page points to.
    pub target: Gpa,
    /// How many pages it has; at least one.
    pub pages: u32,
    /// The page size of the entries, as a power of two (12 = 4 KiB); at most 63.
    pub page_shift: u8,
    /// What a device may do.
    pub perm: Perm,
}

impl Extent {
    /// The addresses of the run; it stops at the top of the 64-bit space, where no table of the core can pass.
    #[must_use]
    pub fn range(&self) -> IovaRange {
        let bytes_minus_1 = (u128::from(self.pages) << self.page_shift).saturating_sub(1);
        let bytes_minus_1 = u64::try_from(bytes_minus_1).unwrap_or(u64::MAX);
        IovaRange::new(self.iova, Iova(self.iova.0.saturating_add(bytes_minus_1))).unwrap_or(IovaRange::ALL)
    }
}
