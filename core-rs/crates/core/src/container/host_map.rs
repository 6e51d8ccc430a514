//! One map of the host, and all of them in order.

use std::collections::BTreeMap;

use crate::address::{Gpa, Iova, IovaRange};
use crate::perm::Perm;

/// What a host map mirrors.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    /// A section of RAM that devices reach without an IOMMU; always one map.
    Ram,
    /// Entries of a guest IOMMU, cut as the coalescing policy says.
    Iommu,
    /// Entries of a window that the caller declared never partly unmapped; one map per run.
    Static,
}

/// One map that a container made on its host.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct HostMap {
    /// The bus addresses.
    pub range: IovaRange,
    /// The guest-physical address that its first byte reaches.
    pub target: Gpa,
    /// The permission on the host.
    pub perm: Perm,
    /// What it mirrors.
    pub kind: Kind,
    /// The page size of the guest's entries, as a power of two.
    pub page_shift: u8,
    /// Where the guest's entries begin: see [`GuestRun::phase`](super::GuestRun::phase).
    pub phase: u64,
    /// The permission that the guest's entries give.
    pub asked: Perm,
    /// The caller's own number for the memory behind the target; kept, never read.
    pub backing: u32,
}

impl HostMap {
    /// The part of this map inside `range`, its target advanced; `None` if they share nothing.
    #[must_use]
    pub fn crop(&self, range: IovaRange) -> Option<Self> {
        let shared = self.range.intersection(range)?;
        let advance = shared.start().0 - self.range.start().0;
        Some(Self { range: shared, target: self.target.wrapping_add(advance), ..*self })
    }

    /// The parts of this map before and after `range`.
    pub(super) fn outside(&self, range: IovaRange) -> [Option<Self>; 2] {
        let before = range
            .start()
            .0
            .checked_sub(1)
            .and_then(|last| IovaRange::new(Iova(0), Iova(last)))
            .and_then(|side| self.crop(side));
        let after = range
            .last()
            .checked_add(1)
            .and_then(|start| IovaRange::new(start, Iova(u64::MAX)))
            .and_then(|side| self.crop(side));
        [before, after]
    }

    /// Whether the guest asked for write-only and the host could only give read-write.
    #[must_use]
    pub fn widened(&self) -> bool {
        self.asked == Perm::WRITE && self.perm == Perm::READ_WRITE
    }

    /// The part of it whose targets lie in guest memory from `first` to `last`.
    pub(super) fn targeting(&self, first: Gpa, last: Gpa) -> Option<Self> {
        let end = self.target.0.saturating_add(self.range.length_minus_1());
        let from = self.target.0.max(first.0);
        let to = end.min(last.0);
        let length_minus_1 = to.checked_sub(from)?;
        let start = self.range.start().checked_add(from - self.target.0)?;
        self.crop(IovaRange::from_length(start, length_minus_1)?)
    }

    /// How many guest pages it touches, counted from its own start.
    #[must_use]
    pub fn pages(&self) -> u64 {
        let bytes = u128::from(self.range.length_minus_1()) + 1;
        let page = 1u128 << u32::from(self.page_shift).min(64);
        u64::try_from(bytes.div_ceil(page)).unwrap_or(u64::MAX)
    }
}

/// Maps by address; they never overlap.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct HostMaps {
    by_start: BTreeMap<Iova, HostMap>,
}

impl HostMaps {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_start.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_start.is_empty()
    }

    /// All maps, in order of address.
    #[must_use]
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &HostMap> {
        self.by_start.values()
    }

    /// The maps that share an address with `range`, in order of address.
    pub fn overlapping(&self, range: IovaRange) -> impl Iterator<Item = &HostMap> {
        let before = self
            .by_start
            .range(..range.start())
            .next_back()
            .map(|(_, map)| map)
            .filter(move |map| map.range.last() >= range.start());
        before.into_iter().chain(self.by_start.range(range.start()..=range.last()).map(|(_, map)| map))
    }

    /// The map that holds `address`.
    #[must_use]
    pub fn find(&self, address: Iova) -> Option<&HostMap> {
        let (_, map) = self.by_start.range(..=address).next_back()?;
        map.range.contains(address).then_some(map)
    }

    pub(super) fn insert(&mut self, map: HostMap) {
        debug_assert!(self.overlapping(map.range).next().is_none(), "{map:?} overlaps");
        self.by_start.insert(map.range.start(), map);
    }

    pub(super) fn remove(&mut self, map: &HostMap) {
        self.by_start.remove(&map.range.start());
    }
}
