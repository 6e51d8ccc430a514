//! What a notifier is told of.

use giommu_core::address::Gpa;
use giommu_core::extent::Extent;
use giommu_core::perm::Perm;

use crate::host::Reach;
use crate::pages::{PAGE_SHIFT, Pages};

/// A run of neighbouring pages, as a notifier is told of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct MappedRun {
    /// The pages.
    pub pages: Pages,
    /// What the first one reaches.
    pub target: Gpa,
    /// What a device may do.
    pub perm: Perm,
}

impl MappedRun {
    /// The part of it in a range.
    #[must_use]
    pub fn crop(self, range: Pages) -> Option<Self> {
        let pages = self.pages.intersect(range)?;
        let target = self.target.wrapping_add(u64::from(pages.first - self.pages.first) << PAGE_SHIFT);
        Some(Self { pages, target, ..self })
    }

    /// What one page of it reaches.
    #[must_use]
    pub fn reach(self, page: u32) -> Option<Reach> {
        self.crop(Pages::one(page)).map(|one| (one.target, one.perm))
    }

    /// The pages of an extent.
    #[must_use]
    pub fn of(extent: &Extent) -> Self {
        Self { pages: Pages::touched(extent.range()), target: extent.target, perm: extent.perm }
    }
}
