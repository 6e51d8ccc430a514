//! Says the mappings of a table as runs.

use core::ops::ControlFlow;

use super::TceTable;
use super::batch::Batch;
use super::entry::Entries;
use super::marks::Marks;
use super::walk::Walk;
use crate::extent::Extent;

/// How mappings are cut into extents.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Runs {
    /// As long as targets adjoin and permissions are equal.
    Full,
    /// The same, but an extent never holds entries that different guest calls stored.
    Call,
    /// One extent per entry.
    Page,
}

impl Runs {
    fn marks(self) -> Marks {
        match self {
            Self::Full | Self::Page => Marks::BOUNDARY,
            Self::Call => Marks::CUT,
        }
    }
}

impl TceTable {
    /// The first extent at or after entry `from`, with the index of its first entry; cropped to `from..=last`.
    #[must_use]
    pub fn next_extent(&self, from: u32, last: u32, runs: Runs) -> Option<(u32, Extent)> {
        let last = last.min(self.geometry.entries - 1);
        if from > last {
            return None;
        }
        let mut first = from;
        let mut tce = self.get(first);
        if !Entries::is_mapped(tce) {
            // What is not mapped is one run; the next one is mapped.
            first = self.directory.next(Marks::BOUNDARY, first.checked_add(1)?).filter(|first| *first <= last)?;
            tce = self.get(first);
        }
        let end = match runs {
            Runs::Page => first,
            Runs::Full | Runs::Call => self.run_last(first, last, runs.marks()),
        };
        Some((first, self.read.extent(first, end - first + 1, tce)))
    }

    fn run_last(&self, first: u32, last: u32, marks: Marks) -> u32 {
        let next = first.checked_add(1).and_then(|after| self.directory.next(marks, after));
        next.map_or(last, |next| last.min(next - 1))
    }

    /// Calls `visit` for every extent of entries `from` to `last`, in ascending order; it gets the first entry's index.
    ///
    /// Costs what is mapped there, however large the table. If `visit` breaks, the index after the extent it broke at
    /// is returned, so that the walk can go on from there.
    pub fn each_extent(
        &self,
        from: u32,
        last: u32,
        runs: Runs,
        mut visit: impl FnMut(u32, Extent) -> ControlFlow<()>,
    ) -> Option<u32> {
        let read = self.read;
        // Where to go on after a break.
        let mut next = None;
        self.each_run(from, last, runs.marks(), |first, pages, tce| {
            if pages != 1 && runs == Runs::Page {
                next = each_page(read, first, pages, tce, &mut visit);
                return next.is_some();
            }
            let stop = visit(first, read.extent(first, pages, tce)).is_break();
            if stop {
                next = Some(first.checked_add(pages));
            }
            stop
        });
        next.flatten()
    }

    /// Calls `emit` for every mapped run of entries `from` to `last`: first entry, number of entries, value of the first.
    /// It returns whether to stop.
    #[inline]
    fn each_run(&self, from: u32, last: u32, marks: Marks, mut emit: impl FnMut(u32, u32, u64) -> bool) {
        let mut walk = Walk::new(self, from, last, marks);
        loop {
            match walk.next(self) {
                Batch::Runs(places, tces) => {
                    if places.iter().zip(tces).any(|(place, tce)| emit(place.first(), place.pages(), *tce)) {
                        return;
                    }
                }
                Batch::Leaf(before, base, words, leaf) => {
                    if let Some((place, tce)) = before
                        && emit(place.first(), place.pages(), tce)
                    {
                        return;
                    }
                    for (word, at) in words.iter().zip((0u32..).step_by(64)) {
                        if word.any(at, |at, pages| emit(base + at, pages, leaf.get(at))) {
                            return;
                        }
                    }
                }
                Batch::Singles(first, tces) => {
                    if (first..).zip(tces).any(|(first, tce)| emit(first, 1, *tce)) {
                        return;
                    }
                }
                Batch::End => return,
            }
        }
    }

    /// How many extents the whole table has.
    ///
    /// Takes no time for [`Runs::Page`], else a step for each 64 entries among which one begins.
    #[must_use]
    pub fn count_runs(&self, runs: Runs) -> u32 {
        match runs {
            Runs::Page => self.mapped(),
            Runs::Full | Runs::Call => self.directory.blocks().map(|(_, block)| block.count_runs(runs.marks())).sum(),
        }
    }
}

/// Calls `visit` for each page of a run; if it breaks, returns the entry after the one it broke at.
#[inline(never)]
fn each_page(
    read: Entries,
    first: u32,
    pages: u32,
    tce: u64,
    visit: &mut impl FnMut(u32, Extent) -> ControlFlow<()>,
) -> Option<Option<u32>> {
    (0..pages).find_map(|ahead| {
        let index = first + ahead;
        let stop = visit(index, read.extent(index, 1, read.ahead(tce, ahead))).is_break();
        stop.then(|| index.checked_add(1))
    })
}
