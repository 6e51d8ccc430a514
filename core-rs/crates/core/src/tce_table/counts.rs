//! What entries count.

use core::fmt;

/// How many entries are not zero, and how many of them map: in one word, so that a store changes both in one step.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counts(u64);

impl Counts {
    pub(super) const NONE: Self = Self(0);
    /// What an entry counts that maps.
    pub(super) const MAPPED: Self = Self(1 | 1 << 32);

    pub(super) fn new(stored: u32, mapped: u32) -> Self {
        Self(u64::from(stored) | u64::from(mapped) << 32)
    }

    /// What one entry counts.
    #[inline]
    pub(super) fn of(tce: u64) -> Self {
        Self(u64::from(tce != 0) | u64::from(tce & 3 != 0) << 32)
    }

    /// Entries that are not zero.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the other half is the other count")]
    pub(super) fn stored(self) -> u32 {
        self.0 as u32
    }

    /// Entries with a permission.
    #[inline]
    pub(super) fn mapped(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Counts `new` entries where `old` ones were counted. A half never falls below 0, so that nothing is borrowed.
    #[inline]
    pub(super) fn replace(&mut self, old: Self, new: Self) {
        self.0 = self.0.wrapping_add(new.0).wrapping_sub(old.0);
    }
}

impl fmt::Debug for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counts").field("stored", &self.stored()).field("mapped", &self.mapped()).finish()
    }
}
