//! The extents that a write tells of.

use super::entry::Entries;
use crate::extent::Extent;

/// Extents in ascending order, and where the newest of them ends.
#[derive(Clone, Debug, Default)]
pub(super) struct Told {
    extents: Vec<Extent>,
    /// The entry after the newest extent; means nothing where there is none.
    next: u64,
}

/// Up to 64 consecutive entries: their values, and whether a run begins at each.
#[derive(Clone, Copy)]
pub(super) struct Word<'a> {
    pub(super) values: &'a [u64],
    pub(super) boundary: u64,
}

impl Told {
    pub(super) fn extents(&self) -> &[Extent] {
        &self.extents
    }

    pub(super) fn clear(&mut self) {
        self.extents.clear();
    }

    pub(super) fn shrink_to(&mut self, capacity: usize) {
        self.extents.shrink_to(capacity);
    }

    pub(super) fn extend(&mut self, extents: impl Iterator<Item = Extent>) {
        self.extents.extend(extents);
    }

    /// Adds a run of entries, the first of which is `tce`; `begins` says whether it cannot go on with the newest extent,
    /// even if that ends where it begins.
    #[inline]
    pub(super) fn run(&mut self, entries: Entries, index: u32, pages: u32, tce: u64, begins: bool) {
        let joins = !begins && self.next == u64::from(index);
        self.next = u64::from(index) + u64::from(pages);
        if joins && let Some(newest) = self.extents.last_mut() {
            newest.pages += pages;
            return;
        }
        self.extents.push(entries.extent(index, pages, tce));
    }

    /// Adds the runs of those of up to 64 entries from `first` on that `told` has: a step for each run, not for each entry.
    pub(super) fn word(&mut self, entries: Entries, first: u32, told: u64, word: Word<'_>) {
        if told == u64::MAX && word.boundary == u64::MAX {
            self.singles(entries, first, word.values);
            return;
        }
        // An entry that is told goes on with a run if the one before it is told, too, and is of the same run.
        let mut starts = told & (word.boundary | !(told << 1));
        let mut begins = word.boundary & 1 != 0;
        while starts != 0 {
            let at = starts.trailing_zeros();
            starts &= starts - 1;
            // The first bit above that ends its run: another run's beginning, or what is not told.
            let ends = (starts | !told) & u64::MAX << at;
            let pages = ends.trailing_zeros() - at;
            let Some(tce) = word.values.get(at as usize) else { return };
            // Only the first entry can go on with what was told before.
            self.run(entries, first + at, pages, *tce, begins || at != 0);
            begins = true;
        }
    }

    /// Adds entries that are a run each.
    pub(super) fn singles(&mut self, entries: Entries, first: u32, values: &[u64]) {
        self.extents.extend(values.iter().zip(first..).map(|(tce, index)| entries.extent(index, 1, *tce)));
        self.next = u64::from(first) + values.len() as u64;
    }
}
