//! What one write changed, and what it takes to put it back.

use super::entry::Entries;
use super::leaf::Leaf;
use super::replace::Contents;
use crate::extent::Extent;

/// What one write to a [`TceTable`](super::TceTable) changed: events for who mirrors the table, and an undo log.
///
/// Every write clears it first, so one `Change` can be used for all writes; it keeps its memory.
///
/// A page is in both lists if its mapping was replaced by another one. A write that changes neither page nor permission
/// of an entry, or clears an empty one, is in neither.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// Mappings that are gone or were replaced, as they were: old targets, old permissions, in ascending order.
    pub unmaps: Vec<Extent>,
    /// Mappings that are new, in ascending order.
    pub maps: Vec<Extent>,
    quiet: bool,
    unmap_end: RunEnd,
    map_end: RunEnd,
    pub(super) undo: Undo,
}

/// Where the newest extent of a list ends: the index after its last entry, and that entry's value.
#[derive(Clone, Copy, Debug, Default)]
struct RunEnd {
    next: u64,
    tce: u64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Undo {
    /// A write of one entry inside a leaf, which needs nothing else.
    pub(super) one: Option<One>,
    pub(super) segments: Vec<Segment>,
    /// Old values of the entries of [`Saved::Part`] segments.
    pub(super) values: Vec<u64>,
    /// Old words of their cut bitmaps.
    pub(super) cuts: Vec<u64>,
    /// The entry after the write where that is the first of another leaf, and its old cut bit.
    pub(super) after: Option<(u32, bool)>,
}

/// One entry as it was.
#[derive(Clone, Copy, Debug)]
pub(super) struct One {
    pub(super) index: u32,
    pub(super) value: u64,
    /// Bit 0: whether a run or a call began at it; bit 1: at the one after it.
    pub(super) cuts: u64,
}

/// The part of a write that fell into one leaf.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) leaf: u32,
    pub(super) lo: u32,
    pub(super) hi: u32,
    pub(super) saved: Saved,
}

#[derive(Clone, Debug)]
pub(super) enum Saved {
    /// There was no such leaf.
    Absent,
    /// The whole leaf, moved here.
    Whole(Box<Leaf>),
    /// Everything that the table had.
    All(Box<Contents>),
    /// Old values from this place in [`Undo::values`], old cut words from this place in [`Undo::cuts`].
    Part { values: usize, cuts: usize },
}

impl Change {
    /// An empty change.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A change that records no extents, only how to undo: for tables that nobody listens to.
    #[must_use]
    pub fn quiet() -> Self {
        Self { quiet: true, ..Self::default() }
    }

    /// Whether extents are recorded from the next write on.
    pub fn set_quiet(&mut self, quiet: bool) {
        self.quiet = quiet;
    }

    /// Whether nobody needs to be told of anything. The table may have changed all the same.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.unmaps.is_empty() && self.maps.is_empty()
    }

    /// Forgets everything; the memory is kept for the next write unless it is large.
    #[inline]
    pub fn clear(&mut self) {
        self.unmaps.clear();
        self.maps.clear();
        self.undo.one = None;
        self.undo.after = None;
        // Most writes store one entry and leave nothing else behind.
        if !self.undo.segments.is_empty() {
            self.undo.segments.clear();
            self.undo.values.clear();
            self.undo.cuts.clear();
            self.unmap_end = RunEnd::default();
            self.map_end = RunEnd::default();
        }
    }

    /// Gives back the memory that a large write left behind.
    pub fn shrink(&mut self) {
        const KEEP: usize = 1 << 16;
        self.unmaps.shrink_to(KEEP);
        self.maps.shrink_to(KEEP);
        self.undo.segments.shrink_to(KEEP);
        self.undo.values.shrink_to(KEEP);
        self.undo.cuts.shrink_to(KEEP);
    }

    /// Whether it records no extents.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Records the replacement of up to 64 consecutive entries from `first` on.
    ///
    /// Of both, `mapped` says which entries map, and `boundary` where runs begin, as they were and as they are; `changed`
    /// where what an entry means is another thing now. All count from `first`.
    #[inline]
    pub(super) fn replaced_word(&mut self, entries: Entries, first: u32, changed: u64, old: Word<'_>, new: Word<'_>) {
        push_word(&mut self.unmaps, &mut self.unmap_end, entries, first, changed & old.mapped, old);
        push_word(&mut self.maps, &mut self.map_end, entries, first, changed & new.mapped, new);
    }

    /// Records the replacement of consecutive entries.
    pub(super) fn replaced(&mut self, entries: Entries, first: u32, olds: &[u64], news: &[u64]) {
        for ((old, new), index) in olds.iter().zip(news).zip(first..) {
            if entries.key_of(*old) == entries.key_of(*new) {
                continue;
            }
            if Entries::is_mapped(*old) {
                push_run(&mut self.unmaps, &mut self.unmap_end, entries, index, 1, *old);
            }
            if Entries::is_mapped(*new) {
                push_run(&mut self.maps, &mut self.map_end, entries, index, 1, *new);
            }
        }
    }

    /// Records that consecutive entries, which were not mapped, all got one value, which maps.
    pub(super) fn mapped_each(&mut self, entries: Entries, first: u32, count: u32, tce: u64) {
        if self.quiet {
            return;
        }
        self.maps.reserve(count as usize);
        for index in (first..).take(count as usize) {
            push_run(&mut self.maps, &mut self.map_end, entries, index, 1, tce);
        }
    }

    /// Records that the only entry that a write changes was replaced by another.
    #[inline]
    pub(super) fn only_entry(&mut self, entries: Entries, index: u32, old: u64, new: u64) {
        if self.quiet {
            return;
        }
        if Entries::is_mapped(old) {
            if entries.key_of(old) == entries.key_of(new) {
                return;
            }
            self.unmaps.push(entries.extent(index, 1, old));
        }
        if Entries::is_mapped(new) {
            self.maps.push(entries.extent(index, 1, new));
        }
    }

    /// Records that a run of entries is gone, the first of which was `tce`.
    pub(super) fn unmapped(&mut self, entries: Entries, index: u32, pages: u32, tce: u64) {
        push_run(&mut self.unmaps, &mut self.unmap_end, entries, index, pages, tce);
    }
}

/// Up to 64 consecutive entries: their values, and a bit for each.
#[derive(Clone, Copy)]
pub(super) struct Word<'a> {
    pub(super) values: &'a [u64],
    pub(super) mapped: u64,
    pub(super) boundary: u64,
}

/// Adds the runs of those entries of a word that `told` has: a step for each run, not for each entry.
#[inline]
fn push_word(list: &mut Vec<Extent>, end: &mut RunEnd, entries: Entries, first: u32, told: u64, word: Word<'_>) {
    let mut rest = told;
    // An entry that is told goes on with a run if the one before it is told, too, and is of the same run.
    let starts = told & (word.boundary | !(told << 1));
    while rest != 0 {
        let at = rest.trailing_zeros();
        // Bits above this one that end its run: another run's beginning, or what is not told.
        let ends = (starts | !told) & (u64::MAX << at) & !(1 << at);
        let next = ends.trailing_zeros();
        rest = if next == 64 { 0 } else { rest & u64::MAX << next };
        let Some(tce) = word.values.get(at as usize) else { return };
        push_run(list, end, entries, first + at, next - at, *tce);
    }
}

#[inline]
fn push_run(list: &mut Vec<Extent>, end: &mut RunEnd, entries: Entries, index: u32, pages: u32, tce: u64) {
    let joins = end.next == u64::from(index) && entries.continues(end.tce, tce);
    *end = RunEnd { next: u64::from(index) + u64::from(pages), tce: entries.ahead(tce, pages - 1) };
    if joins && let Some(run) = list.last_mut() {
        run.pages += pages;
        return;
    }
    list.push(entries.extent(index, pages, tce));
}
