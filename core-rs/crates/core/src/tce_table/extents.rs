//! Says the mappings of a table as runs.

use core::ops::ControlFlow;

use super::TceTable;
use super::directory::Marks;
use super::entry::Entries;
use super::leaf::{LEAF_MASK, LEAF_SHIFT};
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
        let last = last.min(self.geometry.entries - 1);
        if from > last {
            return None;
        }
        let mut emit = |first: u32, last: u32, tce: u64| -> Option<u32> {
            if runs != Runs::Page {
                let extent = self.read.extent(first, last - first + 1, tce);
                return visit(first, extent).is_break().then_some(last).and_then(|last| last.checked_add(1));
            }
            for index in first..=last {
                let tce = self.read.ahead(tce, index - first);
                if visit(index, self.read.extent(index, 1, tce)).is_break() {
                    return index.checked_add(1);
                }
            }
            None
        };
        // The run that is being walked, if it is mapped: its first entry and that entry's value.
        let tce = self.get(from);
        let mut open = Entries::is_mapped(tce).then_some((from, tce));
        let marks = runs.marks();
        let mut index = from.checked_add(1);
        'leaves: while let Some(start) = index.filter(|start| *start <= last) {
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
            let Some(leaf) = self.directory.leaf(number) else {
                // An absent leaf has one mark: it ends the run before it.
                if base > last {
                    break;
                }
                if let Some((first, tce)) = open.take()
                    && let Some(next) = emit(first, base - 1, tce)
                {
                    return Some(next);
                }
                index = base.checked_add(1 << LEAF_SHIFT);
                continue;
            };
            let mut word_at = at & !63;
            let mut mask = u64::MAX << (at & 63);
            while word_at <= LEAF_MASK {
                let mut word = leaf.marks(word_at).of(marks) & mask;
                mask = u64::MAX;
                while word != 0 {
                    let position = word_at + word.trailing_zeros();
                    word &= word - 1;
                    let index = base + position;
                    if index > last {
                        break 'leaves;
                    }
                    let tce = leaf.get(position);
                    let ended = open.replace((index, tce));
                    if !Entries::is_mapped(tce) {
                        open = None;
                    }
                    if let Some((first, tce)) = ended
                        && let Some(next) = emit(first, index - 1, tce)
                    {
                        return Some(next);
                    }
                }
                word_at += 64;
            }
            index = base.checked_add(1 << LEAF_SHIFT);
        }
        let (first, tce) = open?;
        emit(first, last, tce)
    }

    /// How many extents the whole table has.
    ///
    /// Takes no time for [`Runs::Full`] and [`Runs::Page`], one step per leaf that exists for [`Runs::Call`].
    #[must_use]
    pub fn count_runs(&self, runs: Runs) -> u32 {
        match runs {
            Runs::Full => self.runs,
            Runs::Page => self.mapped,
            Runs::Call => self.directory.iter().map(|leaf| leaf.count_runs(Marks::Cut)).sum(),
        }
    }
}
