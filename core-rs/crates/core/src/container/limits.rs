//! What a host IOMMU can hold, and how a container uses it.

use thiserror::Error;

use crate::address::{Gpa, IovaRange};
use crate::perm::Perm;

/// Whether a host can take a part out of one of its maps.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Split {
    /// A part can be unmapped while a device goes on using the rest (iommufd with `HUGE_PAGES=0`; sPAPR).
    Atomic,
    /// Only whole maps can be unmapped (VFIO type1: `EINVAL`; iommufd with huge pages: `ENOENT`).
    None,
}

/// How neighbouring guest pages share host maps. `auto` is resolved by the caller.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Coalesce {
    /// One host map per guest IOMMU page.
    None,
    /// One host map per run that one guest call stored.
    Call,
    /// One host map per maximal run.
    Full,
}

/// What happens when a part of a map must go and the host can only unmap the whole.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum HolePolicy {
    /// It is refused: no neighbour is ever without its translation.
    Forbid,
    /// The whole is unmapped and the rest mapped again; the pages that were without translation meanwhile are counted.
    Allow,
    /// As [`HolePolicy::Allow`], but the device is stopped first by a [`HostOp::Quiesce`](super::HostOp::Quiesce).
    Quiesce,
}

/// The limits of a host IOMMU, as its kernel tells them.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct HostLimits {
    /// Page sizes: bit `n` set means that pages of `1 << n` bytes exist. The smallest one counts for alignment.
    pub page_sizes: u64,
    /// Where mappings may lie. A map must lie inside one of them; adjoining ranges are joined.
    pub iova_ranges: Vec<IovaRange>,
    /// How many maps fit (`dma_avail` of VFIO type1); `None` for as many as memory holds.
    pub max_mappings: Option<u32>,
    /// Whether a part of a map can be unmapped.
    pub split: Split,
    /// Whether one UNMAP may cover several whole maps and the gaps between them.
    pub unmap_wide: bool,
    /// Whether a mapping can be written but not read. Where it cannot, write-only is widened to read-write and counted.
    pub write_only: bool,
    /// Whether a MAP over maps puts itself in their place, so that no address is without translation meanwhile (sPAPR);
    /// counts only where the host splits.
    pub exchange: bool,
}

/// Why a container cannot be made.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Error)]
#[non_exhaustive]
pub enum LimitsError {
    /// No bit of [`HostLimits::page_sizes`] is set.
    #[error("the host offers no page size")]
    NoPageSize,
    /// Coalesced maps on a host that cannot split them, and holes are forbidden.
    #[error("coalesced maps on a host that cannot split them need holes or a way to stop the device")]
    HolesForbidden,
}

impl HostLimits {
    /// A host with pages of these sizes that does the least: it maps anywhere and as often as it is asked, unmaps whole maps one by
    /// one, and has neither write-only mappings nor exchanges. What a host does beyond that is set in the fields.
    ///
    /// ```
    /// use giommu_core::container::HostLimits;
    ///
    /// // Linux's VFIO type1: 65535 maps, one UNMAP may cover many.
    /// let type1 = HostLimits { max_mappings: Some(65535), unmap_wide: true, ..HostLimits::new(!0xfff) };
    /// assert_eq!(type1.page_shift(), 12);
    /// ```
    #[must_use]
    pub fn new(page_sizes: u64) -> Self {
        Self {
            page_sizes,
            iova_ranges: vec![IovaRange::ALL],
            max_mappings: None,
            split: Split::None,
            unmap_wide: false,
            write_only: false,
            exchange: false,
        }
    }

    /// The limits with their ranges in order, overlapping and adjoining ones joined.
    pub(super) fn normalized(mut self) -> Result<Self, LimitsError> {
        if self.page_sizes == 0 {
            return Err(LimitsError::NoPageSize);
        }
        self.iova_ranges = merged(core::mem::take(&mut self.iova_ranges));
        self.exchange &= self.split == Split::Atomic;
        Ok(self)
    }

    /// The smallest page size, as a power of two.
    #[must_use]
    pub fn page_shift(&self) -> u32 {
        self.page_sizes.trailing_zeros().min(63)
    }

    /// Guest memory from `first` to `last`, grown to whole pages of the host.
    pub(super) fn memory_hull(&self, first: Gpa, last: Gpa) -> (Gpa, Gpa) {
        let mask = (1u64 << self.page_shift()) - 1;
        (Gpa(first.0 & !mask), Gpa(last.0 | mask))
    }

    /// `range`, grown to whole pages of the host.
    pub(super) fn page_hull(&self, range: IovaRange) -> IovaRange {
        let mask = (1u64 << self.page_shift()) - 1;
        IovaRange::new(crate::address::Iova(range.start().0 & !mask), crate::address::Iova(range.last().0 | mask))
            .unwrap_or(range)
    }

    /// The first part of `range` that lies outside every IOVA range or beyond the one that holds its start.
    pub(super) fn outside(&self, range: IovaRange) -> Option<IovaRange> {
        let Some(home) = self.iova_ranges.iter().find(|usable| usable.contains(range.start())) else {
            let last = self
                .iova_ranges
                .iter()
                .filter_map(|usable| usable.intersection(range))
                .map(|inside| inside.start().0.saturating_sub(1))
                .min()
                .unwrap_or(range.last().0);
            return IovaRange::new(range.start(), crate::address::Iova(last));
        };
        if home.covers(range) {
            return None;
        }
        let start = home.last().checked_add(1)?;
        let last = self
            .iova_ranges
            .iter()
            .map(|usable| usable.start())
            .filter(|other| *other > start && *other <= range.last())
            .min()
            .map_or(range.last().0, |next| next.0 - 1);
        IovaRange::new(start, crate::address::Iova(last))
    }

    /// What the host gives where a guest asks for `perm`: read-only is never widened.
    pub(super) fn permission(&self, perm: Perm) -> Perm {
        if perm == Perm::WRITE && !self.write_only { Perm::READ_WRITE } else { perm }
    }
}

/// The ranges in order, with overlapping and adjoining ones joined.
pub(super) fn merged(mut ranges: Vec<IovaRange>) -> Vec<IovaRange> {
    ranges.sort_unstable_by_key(|range| (range.start(), range.last()));
    let mut out: Vec<IovaRange> = Vec::with_capacity(ranges.len());
    for range in ranges {
        if let Some(end) = out.last_mut() {
            let touches = end.last().checked_add(1).is_none_or(|next| range.start() <= next);
            if touches {
                *end = IovaRange::new(end.start(), end.last().max(range.last())).unwrap_or(*end);
                continue;
            }
        }
        out.push(range);
    }
    out
}
