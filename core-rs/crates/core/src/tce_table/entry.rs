//! What the 64 bits of one entry say.

use super::Geometry;
use crate::address::{Gpa, Iova};
use crate::extent::Extent;
use crate::perm::Perm;

/// Reads the entries of one table: bits 0 and 1 are the permission, the bits of the page are the target (PAPR, TCE format).
///
/// What an entry means is its *key*: page and permission, or 0 where there is no permission. Equal keys mean the same.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entries {
    bus_offset: u64,
    shift: u8,
    page: u64,
    /// Page bits and permission; everything else in an entry means nothing.
    key: u64,
    /// The highest key that another one can follow: above, the target would pass the top of its space. 0 if pages are so
    /// small that their address and the permission share bits: no target adjoins another one with its permission then.
    followed: u64,
}

/// No key: it has bits and no permission.
const NO_KEY: u64 = 4;

impl Entries {
    /// The page shift of a valid geometry is at most 63.
    pub(super) fn new(geometry: &Geometry) -> Self {
        let shift = geometry.page_shift.min(63);
        let page = 1u64 << shift;
        let followed = if page < NO_KEY { 0 } else { u64::MAX - page };
        Self { bus_offset: geometry.bus_offset.0, shift, page, key: !(page - 1) | 3, followed }
    }

    /// An address, rounded down to a page.
    #[inline]
    pub(super) fn page_of(self, address: u64) -> u64 {
        address & self.page.wrapping_neg()
    }

    /// What an entry means.
    #[inline]
    pub(super) fn key_of(self, tce: u64) -> u64 {
        if tce & 3 == 0 { 0 } else { tce & self.key }
    }

    /// The key that an entry must have to belong to the run of an entry with this key: what is not mapped is a run, too.
    #[inline]
    pub(super) fn after(self, key: u64) -> u64 {
        if key > self.followed {
            NO_KEY
        } else if key == 0 {
            0
        } else {
            key + self.page
        }
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

    /// Whether pages are so small that their address and the permission share bits, which no window of a guest has.
    #[inline]
    pub(super) fn shares_bits(self) -> bool {
        self.followed == 0
    }

    /// [`Entries::continues`] in a few steps, where at least one of the two maps and address and permission share no bits:
    /// then what is not mapped differs in its permission, and an entry at the bottom of the target's space follows none.
    #[inline]
    pub(super) fn goes_on(self, before: u64, tce: u64) -> bool {
        ((before.wrapping_add(self.page) ^ tce) & self.key == 0) & (tce & self.key >= self.page)
    }

    /// Whether an entry does not belong to the run of the entry before it, where at least one of the two maps, and no target
    /// is the last page of its space ([`Entries::may_end`]).
    #[inline]
    pub(super) fn leaves_off(self, before: u64, tce: u64) -> bool {
        (before.wrapping_add(self.page) ^ tce) & self.key != 0
    }

    /// Whether one of several entries, all bits of which `union` has, may be the last page of the target's space, or its
    /// address shares bits with the permission.
    #[inline]
    pub(super) fn may_end(self, union: u64) -> bool {
        union | (self.page - 1) == u64::MAX || self.shares_bits()
    }

    /// Whether two entries, at least one of which maps, do not mean the same.
    #[inline]
    pub(super) fn differ(self, one: u64, other: u64) -> bool {
        (one ^ other) & self.key != 0
    }

    /// Whether an entry belongs to the run of the entry before it. A run never passes the top of the target's space.
    #[inline]
    pub(super) fn continues(self, before: u64, tce: u64) -> bool {
        self.after(self.key_of(before)) == self.key_of(tce)
    }

    /// The extent of `pages` entries from `index`, whose first is `tce`.
    #[inline]
    pub(super) fn extent(self, index: u32, pages: u32, tce: u64) -> Extent {
        let perm = Perm::from_bits(tce);
        Extent { iova: self.iova(index), target: self.target(tce), pages, page_shift: self.shift, perm }
    }

    /// The bus address of entry `index`.
    #[inline]
    pub(super) fn iova(self, index: u32) -> Iova {
        Iova(self.bus_offset.wrapping_add(u64::from(index) << (self.shift & 63)))
    }

    /// Makes an extent of one page that of another entry.
    #[inline]
    pub(super) fn set_page(self, extent: &mut Extent, iova: Iova, tce: u64) {
        extent.iova = iova;
        extent.target = self.target(tce);
        extent.perm = Perm::from_bits(tce);
        extent.page_shift = self.shift;
    }

    /// The value that entry `first + ahead` of a run has, up to the bits that mean nothing, if entry `first` is `tce`.
    #[inline]
    pub(super) fn ahead(self, tce: u64, ahead: u32) -> u64 {
        tce.wrapping_add(u64::from(ahead) << (self.shift & 63))
    }
}
