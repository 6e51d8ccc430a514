//! Ranges of guest pages, both ends included.

use giommu_core::address::{Iova, IovaRange};

/// The page size of guest and host, as a power of two.
pub const PAGE_SHIFT: u8 = 12;

/// Consecutive pages of the bus, both ends included.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Pages {
    /// The first page.
    pub first: u32,
    /// The last page.
    pub last: u32,
}

impl Pages {
    /// One page.
    #[must_use]
    pub fn one(page: u32) -> Self {
        Self { first: page, last: page }
    }

    /// From `first` to `last`; `None` if that is nothing.
    #[must_use]
    pub fn new(first: u32, last: u32) -> Option<Self> {
        (first <= last).then_some(Self { first, last })
    }

    /// The pages that a range of bus addresses touches.
    #[must_use]
    pub fn touched(range: IovaRange) -> Self {
        let page = |address: Iova| u32::try_from(address.0 >> PAGE_SHIFT).unwrap_or(u32::MAX);
        Self { first: page(range.start()), last: page(range.last()) }
    }

    /// Their bus addresses.
    #[must_use]
    pub fn addresses(self) -> IovaRange {
        let start = Iova(u64::from(self.first) << PAGE_SHIFT);
        let last = Iova(((u64::from(self.last) + 1) << PAGE_SHIFT) - 1);
        IovaRange::new(start, last).unwrap_or(IovaRange::ALL)
    }

    /// What both share.
    #[must_use]
    pub fn intersect(self, other: Self) -> Option<Self> {
        Self::new(self.first.max(other.first), self.last.min(other.last))
    }

    /// The parts of it before and after `other`.
    #[must_use]
    pub fn outside(self, other: Self) -> [Option<Self>; 2] {
        let before = other.first.checked_sub(1).and_then(|last| Self::new(self.first, last.min(self.last)));
        let after = other.last.checked_add(1).and_then(|first| Self::new(first.max(self.first), self.last));
        [before, after]
    }

    /// Whether a page lies inside.
    #[must_use]
    pub fn contains(self, page: u32) -> bool {
        self.first <= page && page <= self.last
    }

    /// Each page.
    pub fn each(self) -> impl Iterator<Item = u32> {
        self.first..=self.last
    }
}

/// The ranges in order, with overlapping and adjoining ones joined.
#[must_use]
pub fn joined(mut ranges: Vec<Pages>) -> Vec<Pages> {
    ranges.sort_unstable();
    let mut out: Vec<Pages> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match out.last_mut() {
            Some(end) if range.first <= end.last.saturating_add(1) => end.last = end.last.max(range.last),
            _ => out.push(range),
        }
    }
    out
}
