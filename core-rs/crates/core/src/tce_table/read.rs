//! What single entries say.

use super::TceTable;
use super::block::{BLOCK_MASK, BLOCK_SHIFT};
use super::leaf::{LEAF_MASK, LEAF_SHIFT};
use crate::address::Gpa;
use crate::perm::Perm;

/// What an entry says about one address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Translation {
    /// The page that the entry points to. It means something only where there is a permission.
    pub target: Gpa,
    /// What a device may do there.
    pub perm: Perm,
    /// The page size, as a power of two.
    pub page_shift: u8,
}

impl TceTable {
    /// The raw entry; 0 beyond the end.
    #[must_use]
    #[inline]
    pub fn get(&self, index: u32) -> u64 {
        self.directory.get(index)
    }

    /// The entry for a bus address; `None` outside the window.
    #[must_use]
    #[inline]
    pub fn index_of(&self, ioba: u64) -> Option<u32> {
        // Below the window it wraps, to more than any window has: none passes the top of the space.
        self.index_at(ioba.wrapping_sub(self.geometry.bus_offset.0))
    }

    /// The entry for the page that a bus address is on: QEMU rounds before it looks where the window begins.
    pub(crate) fn index_of_page(&self, ioba: u64) -> Option<u32> {
        self.index_of(self.read.page_of(ioba))
    }

    #[inline]
    fn index_at(&self, offset: u64) -> Option<u32> {
        let index = offset >> (self.geometry.page_shift & 63);
        #[expect(clippy::cast_possible_truncation, reason = "it is below another number of 32 bits")]
        (index < u64::from(self.geometry.entries)).then_some(index as u32)
    }

    /// What the table says about an address, given relative to the window's start; `None` outside the window.
    #[must_use]
    #[inline]
    pub fn translate(&self, offset: u64) -> Option<Translation> {
        let tce = self.get(self.index_at(offset)?);
        Some(Translation {
            target: self.read.target(tce),
            perm: Perm::from_bits(tce),
            page_shift: self.geometry.page_shift,
        })
    }

    /// The first entry at or after `from` that is not zero.
    ///
    /// Costs what is stored there, however large the table.
    #[must_use]
    pub fn next_stored(&self, from: u32) -> Option<u32> {
        let mut next = from;
        loop {
            let number = self.directory.next_present(next >> LEAF_SHIFT)?;
            let base = number << LEAF_SHIFT;
            let at = next.max(base) - base;
            if let Some(ahead) =
                self.directory.leaf(number)?.entries.part(at, LEAF_MASK).iter().position(|tce| *tce != 0)
            {
                return Some(base + at + u32::try_from(ahead).unwrap_or(0));
            }
            next = base.checked_add(1 << LEAF_SHIFT)?;
        }
    }

    /// Whether another guest call stored this entry than the one before it, whose run it continues.
    #[must_use]
    pub fn is_call_start(&self, index: u32) -> bool {
        let Some(block) = self.directory.block(index >> BLOCK_SHIFT) else { return false };
        let word = block.word((index & BLOCK_MASK) >> 6);
        (word.note & !word.boundary) >> (index & 63) & 1 != 0
    }
}
