//! The guest's table: the core's own, which two states share until one of them writes.

use core::fmt;
use core::hash::{Hash, Hasher};
use std::sync::Arc;

use giommu_core::address::Iova;
use giommu_core::tce_table::{Geometry, Runs, TceTable};

use crate::host::Reach;
use crate::mapped_run::MappedRun;
use crate::pages::{PAGE_SHIFT, Pages};

/// The core's table. Two are the same if their entries are, whatever was written before.
#[derive(Clone)]
pub struct Table(Arc<TceTable>);

impl Table {
    /// An empty one.
    ///
    /// # Panics
    /// If a table of so many pages cannot be made.
    #[must_use]
    pub fn new(pages: u32) -> Self {
        let geometry = Geometry { liobn: 0x8000_0000, bus_offset: Iova(0), page_shift: PAGE_SHIFT, entries: pages };
        Self(Arc::new(TceTable::new(geometry, pages).expect("a sound geometry")))
    }

    /// How many pages it has.
    #[must_use]
    pub fn pages(&self) -> u32 {
        self.0.geometry().entries
    }

    /// The raw entry.
    #[must_use]
    pub fn entry(&self, page: u32) -> u64 {
        self.0.get(page)
    }

    /// A number that grows whenever entries may have changed.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.0.version()
    }

    /// What a page reaches.
    #[must_use]
    pub fn translate(&self, page: u32) -> Option<Reach> {
        let found = self.0.translate(u64::from(page) << PAGE_SHIFT)?;
        (!found.perm.is_none()).then_some((found.target, found.perm))
    }

    /// What is mapped in a range, in runs.
    #[must_use]
    pub fn runs(&self, range: Pages) -> Vec<MappedRun> {
        let mut runs = Vec::new();
        let mut from = Some(range.first);
        while let Some((_, extent)) = from.and_then(|from| self.0.next_extent(from, range.last, Runs::Full)) {
            let run = MappedRun::of(&extent);
            runs.push(run);
            from = run.pages.last.checked_add(1);
        }
        runs
    }

    /// The core's table, for a guest call to be made on.
    pub(crate) fn raw_mut(&mut self) -> &mut TceTable {
        Arc::make_mut(&mut self.0)
    }

    fn entries(&self) -> impl Iterator<Item = u64> {
        (0..self.pages()).map(|page| self.0.get(page))
    }
}

impl PartialEq for Table {
    fn eq(&self, other: &Self) -> bool {
        self.entries().eq(other.entries())
    }
}

impl Eq for Table {}

impl Hash for Table {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.entries().for_each(|entry| entry.hash(state));
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.entries().map(|entry| format!("{entry:#x}"))).finish()
    }
}
