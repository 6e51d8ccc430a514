//! Says the mappings of a table as runs.

use core::ops::ControlFlow;

use super::TceTable;
use super::directory::Marks;
use super::entry::Entries;
use super::leaf::{LEAF_MASK, LEAF_SHIFT, bits};
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
            Self::Full | Self::Page => Marks::Boundary,
            Self::Call => Marks::Cut,
        }
    }
}

/// Up to so many runs in a leaf are few: their entries are read ahead.
const AHEAD: u32 = 64;

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
            first = self.directory.next(Marks::Boundary, first.checked_add(1)?).filter(|first| *first <= last)?;
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
        if runs != Runs::Page {
            return self.each_run(from, last, runs.marks(), |first, pages, key| {
                visit(first, read.extent(first, pages, key)).is_break().then_some(first.checked_add(pages))
            });
        }
        self.each_run(from, last, runs.marks(), |first, pages, key| {
            for ahead in 0..pages {
                let index = first + ahead;
                if visit(index, read.extent(index, 1, read.ahead(key, ahead))).is_break() {
                    return Some(index.checked_add(1));
                }
            }
            None
        })
    }

    /// Calls `emit` for every mapped run of entries `from` to `last`: first entry, number of entries, key of the first.
    /// What it returns ends the walk and says where another one goes on.
    #[inline]
    fn each_run(
        &self,
        from: u32,
        last: u32,
        marks: Marks,
        mut emit: impl FnMut(u32, u32, u64) -> Option<Option<u32>>,
    ) -> Option<u32> {
        let last = last.min(self.geometry.entries - 1);
        if from > last {
            return None;
        }
        // The run that is being walked; its key is 0 if it is not mapped.
        let (mut first, mut key) = (from, self.read.key_of(self.get(from)));
        let mut index = from.checked_add(1);
        let mut ahead = [(0, 0); AHEAD as usize];
        while let Some(start) = index.filter(|start| *start <= last) {
            let mut number = start >> LEAF_SHIFT;
            let mut at = start & LEAF_MASK;
            let here = if at == 0 { None } else { self.directory.leaf(number).and_then(|leaf| leaf.next(marks, at)) };
            if here.is_none() {
                // Nothing begins in the rest of this leaf.
                let from_leaf = if at == 0 { number } else { number + 1 };
                match self.directory.next_leaf(marks, from_leaf) {
                    Some(next) => number = next,
                    None => break,
                }
                at = 0;
            }
            let base = number << LEAF_SHIFT;
            if base > last {
                break;
            }
            index = base.checked_add(1 << LEAF_SHIFT);
            let Some(leaf) = self.directory.leaf(number) else {
                // An absent leaf has one mark: it ends the run before it.
                if key != 0
                    && let Some(next) = emit(first, base - first, key)
                {
                    return next;
                }
                (first, key) = (base, 0);
                continue;
            };
            let words = leaf.words(marks, at, (last - base).min(LEAF_MASK));
            if words.iter().map(|word| word.count_ones()).sum::<u32>() <= AHEAD {
                // Entries that are far apart in memory are asked for together, not one after the other.
                let found = ahead.iter_mut().zip(bits(&words)).map(|(found, at)| *found = (at, leaf.get(at))).count();
                for (at, tce) in ahead.iter().take(found) {
                    if key != 0
                        && let Some(next) = emit(first, base + at - first, key)
                    {
                        return next;
                    }
                    (first, key) = (base + at, self.read.key_of(*tce));
                }
                continue;
            }
            for (word, word_at) in words.iter().zip((0u32..).step_by(64)) {
                let mut word = *word;
                if word == u64::MAX {
                    // Each entry is a run, mapped or not; the last one may go on.
                    let mut runs = (base + word_at..).zip(leaf.part(word_at, word_at + 63));
                    if let Some((_, tce)) = runs.next() {
                        if key != 0
                            && let Some(next) = emit(first, base + word_at - first, key)
                        {
                            return next;
                        }
                        (first, key) = (base + word_at, self.read.key_of(*tce));
                    }
                    for (start, tce) in runs {
                        if key != 0
                            && let Some(next) = emit(first, 1, key)
                        {
                            return next;
                        }
                        (first, key) = (start, self.read.key_of(*tce));
                    }
                    continue;
                }
                while word != 0 {
                    let position = word_at + word.trailing_zeros();
                    word &= word - 1;
                    if key != 0
                        && let Some(next) = emit(first, base + position - first, key)
                    {
                        return next;
                    }
                    (first, key) = (base + position, self.read.key_of(leaf.get(position)));
                }
            }
        }
        if key == 0 {
            return None;
        }
        emit(first, last - first + 1, key).flatten()
    }

    /// How many extents the whole table has.
    ///
    /// Takes no time for [`Runs::Page`], else one step per leaf that exists.
    #[must_use]
    pub fn count_runs(&self, runs: Runs) -> u32 {
        match runs {
            Runs::Page => self.mapped(),
            Runs::Full | Runs::Call => self.directory.iter().map(|leaf| leaf.count_runs(runs.marks())).sum(),
        }
    }
}
