//! How many entries several tables may store together.

use core::sync::atomic::{AtomicI64, Ordering};
use std::sync::Arc;

use super::counts::Counts;

/// How many entries that are not zero several tables may store together.
///
/// A table joins it with [`TceTable::share`](super::TceTable::share) and counts in it from then on, whoever writes to
/// the table; a table that is dropped gives its entries back.
///
/// ```
/// use giommu_core::address::Iova;
/// use giommu_core::tce_table::{Change, EntryBudget, Geometry, TceTable};
///
/// let budget = EntryBudget::new(1);
/// let new = |liobn| TceTable::new(Geometry { liobn, bus_offset: Iova(0), page_shift: 12, entries: 8 }, u32::MAX);
/// let (mut one, mut other) = (new(1).expect("sound"), new(2).expect("sound"));
/// one.share(Some(budget.clone()));
/// other.share(Some(budget.clone()));
/// let mut change = Change::new();
/// assert!(one.put(0, 0x1003, &mut change));
/// assert!(!other.put(0, 0x1003, &mut change), "the budget is spent");
/// drop(one);
/// assert!(other.put(0, 0x1003, &mut change));
/// assert_eq!(budget.stored(), 1);
/// ```
#[derive(Debug)]
pub struct EntryBudget {
    limit: u32,
    /// How many more fit; below 0 where tables store more than the limit.
    left: AtomicI64,
}

impl EntryBudget {
    /// A budget of which nothing is spent.
    #[must_use]
    pub fn new(limit: u32) -> Arc<Self> {
        Arc::new(Self { limit, left: AtomicI64::new(i64::from(limit)) })
    }

    /// How many entries its tables may store.
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// How many they store. More than the limit if tables joined it that stored more, or if undoing a call put back
    /// what no longer fits.
    #[must_use]
    pub fn stored(&self) -> u64 {
        u64::try_from(i64::from(self.limit) - self.left.load(Ordering::Relaxed)).unwrap_or(0)
    }

    #[inline]
    fn replace(&self, old: u32, new: u32) {
        // The number alone is shared: no other memory depends on it. One step, as tables may be on several threads.
        self.left.fetch_add(i64::from(old) - i64::from(new), Ordering::Relaxed);
    }

    fn room(&self) -> u32 {
        u32::try_from(self.left.load(Ordering::Relaxed)).unwrap_or(0)
    }

    #[inline]
    fn is_full(&self) -> bool {
        self.left.load(Ordering::Relaxed) <= 0
    }
}

/// What the entries of a table count, and the budget in which they do so.
#[derive(Debug, Default)]
pub(super) struct Stored {
    counts: Counts,
    budget: Option<Arc<EntryBudget>>,
}

impl Stored {
    #[inline]
    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// Counts `new` entries where `old` ones were counted.
    #[inline]
    pub(super) fn replace(&mut self, old: Counts, new: Counts) {
        self.counts.replace(old, new);
        if let Some(budget) = &self.budget {
            budget.replace(old.stored(), new.stored());
        }
    }

    /// Counts one more entry that maps, unless it does not fit into the budget; returns whether it did.
    #[inline]
    pub(super) fn add_mapped(&mut self) -> bool {
        if let Some(budget) = &self.budget {
            if budget.is_full() {
                return false;
            }
            budget.replace(0, 1);
        }
        self.counts.replace(Counts::NONE, Counts::MAPPED);
        true
    }

    /// Whether no entry fits any more.
    #[inline]
    pub(super) fn is_full(&self, limit: u32) -> bool {
        self.counts.stored() >= limit || self.budget.as_ref().is_some_and(|budget| budget.is_full())
    }

    /// How many more entries fit, and the limit that says so.
    pub(super) fn room(&self, limit: u32) -> (u32, u32) {
        let own = (limit.saturating_sub(self.counts.stored()), limit);
        let shared = self.budget.as_ref().map(|budget| (budget.room(), budget.limit));
        shared.filter(|shared| shared.0 < own.0).unwrap_or(own)
    }

    pub(super) fn budget(&self) -> Option<&Arc<EntryBudget>> {
        self.budget.as_ref()
    }

    /// Leaves the budget, and joins another one.
    pub(super) fn share(&mut self, budget: Option<Arc<EntryBudget>>) {
        if let Some(left) = &self.budget {
            left.replace(self.counts.stored(), 0);
        }
        if let Some(joined) = &budget {
            joined.replace(0, self.counts.stored());
        }
        self.budget = budget;
    }
}

/// The copy counts for itself alone.
impl Clone for Stored {
    fn clone(&self) -> Self {
        Self { counts: self.counts, budget: None }
    }
}

impl Drop for Stored {
    fn drop(&mut self) {
        self.share(None);
    }
}
