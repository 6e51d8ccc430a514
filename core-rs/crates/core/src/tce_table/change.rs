//! What one write changed, and what it takes to put it back.

use core::iter;
use core::slice;

use super::block::{Block, Mapped};
use super::counts::Counts;
use super::entry::Entries;
use super::leaf::{Leaf, LeafMarks};
use super::replace::Contents;
use super::told::{Told, Word};
use crate::address::{Gpa, Iova};
use crate::extent::Extent;
use crate::perm::Perm;

/// What one write to a [`TceTable`](super::TceTable) changed: events for who mirrors the table, and an undo log.
///
/// Every write clears it first, so one `Change` can be used for all writes; it keeps its memory.
///
/// A page is in both lists if its mapping was replaced by another one. A write that changes neither page nor permission
/// of an entry, or clears an empty one, is in neither.
#[derive(Clone, Debug, Default)]
pub struct Change {
    state: State,
    single: Single,
    unmaps: Told,
    maps: Told,
    pub(super) undo: Undo,
}

/// What a [`Change`] holds now. One byte of bits, as a write of one entry has little time for more.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct State(u8);

impl State {
    /// No extents are recorded.
    const QUIET: Self = Self(1);
    /// The lists are in use. Else `single` is, as nearly all writes are of one entry.
    const LISTED: Self = Self(2);
    /// `single` has an entry to put back.
    const UNDO: Self = Self(4);
    /// `single` has an extent that is gone.
    const UNMAP: Self = Self(8);
    /// `single` has an extent that is new.
    const MAP: Self = Self(16);

    #[inline]
    fn has(self, bits: Self) -> bool {
        self.0 & bits.0 != 0
    }

    #[inline]
    const fn and(self, bits: Self) -> Self {
        Self(self.0 | bits.0)
    }

    #[inline]
    fn only(self, bits: Self) -> Self {
        Self(self.0 & bits.0)
    }
}

/// A write of one entry inside a leaf, which needs no list. [`State`] says what of it means something.
#[derive(Clone, Debug)]
struct Single {
    /// Of one page, always.
    unmap: Extent,
    /// Of one page, always.
    map: Extent,
    /// What the entry was.
    value: u64,
    /// Where it is.
    index: u32,
    /// Its notes, as [`One`] has them.
    notes: u64,
}

impl Default for Single {
    fn default() -> Self {
        let page = Extent { iova: Iova(0), target: Gpa(0), pages: 1, page_shift: 0, perm: Perm::NONE };
        Self { unmap: page, map: page, value: 0, index: 0, notes: 0 }
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Undo {
    pub(super) segments: Vec<Segment>,
    /// Old values of the entries of [`Saved::Part`] segments.
    pub(super) values: Vec<u64>,
    /// Old words of their notes.
    pub(super) notes: Vec<u64>,
    /// Old marks of [`Saved::Leaf`] segments.
    pub(super) marks: Vec<LeafMarks>,
    /// The entry after the write where that is the first of another leaf, and its old note.
    pub(super) after: Option<(u32, bool)>,
}

/// One entry as it was.
#[derive(Clone, Copy, Debug)]
pub(super) struct One {
    pub(super) index: u32,
    pub(super) value: u64,
    /// At its place among 64 its note, and behind that the note of the one after it; bit 0 follows bit 63. All other bits mean
    /// nothing.
    pub(super) notes: u64,
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
    /// The whole leaf, moved here, and what it counted. Its marks are in this place in [`Undo::marks`].
    Leaf { entries: Box<Leaf>, counts: Counts, marks: usize },
    /// The whole block that the leaf is the first of, moved here.
    Block(Box<Block>),
    /// Everything that the table had.
    All(Box<Contents>),
    /// Old values from this place in [`Undo::values`], old notes from this place in [`Undo::notes`].
    Part { values: usize, notes: usize },
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
        Self { state: State::QUIET, ..Self::default() }
    }

    /// Whether extents are recorded from the next write on.
    pub fn set_quiet(&mut self, quiet: bool) {
        let rest = self.state.only(State(!State::QUIET.0));
        self.state = if quiet { rest.and(State::QUIET) } else { rest };
    }

    /// Mappings that are gone or were replaced, as they were: old targets, old permissions, in ascending order.
    #[must_use]
    #[inline]
    pub fn unmaps(&self) -> &[Extent] {
        if self.state.has(State::LISTED) {
            self.unmaps.extents()
        } else if self.state.has(State::UNMAP) {
            slice::from_ref(&self.single.unmap)
        } else {
            &[]
        }
    }

    /// Mappings that are new, in ascending order.
    #[must_use]
    #[inline]
    pub fn maps(&self) -> &[Extent] {
        if self.state.has(State::LISTED) {
            self.maps.extents()
        } else if self.state.has(State::MAP) {
            slice::from_ref(&self.single.map)
        } else {
            &[]
        }
    }

    /// Whether nobody needs to be told of anything. The table may have changed all the same.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.unmaps().is_empty() && self.maps().is_empty()
    }

    /// Forgets everything; the memory is kept for the next write unless it is large.
    pub fn clear(&mut self) {
        self.clear_lists();
        self.state = self.state.only(State::QUIET);
    }

    /// Most writes store one entry and leave no lists behind.
    #[inline]
    pub(super) fn clear_lists(&mut self) {
        if self.state.has(State::LISTED) {
            self.forget_lists();
        }
    }

    #[cold]
    #[inline(never)]
    fn forget_lists(&mut self) {
        self.state = self.state.only(State::QUIET);
        self.unmaps.clear();
        self.maps.clear();
        self.undo.segments.clear();
        self.undo.values.clear();
        self.undo.notes.clear();
        self.undo.marks.clear();
        self.undo.after = None;
    }

    /// Gives back the memory that a large write left behind.
    pub fn shrink(&mut self) {
        const KEEP: usize = 1 << 16;
        self.unmaps.shrink_to(KEEP);
        self.maps.shrink_to(KEEP);
        self.undo.segments.shrink_to(KEEP);
        self.undo.values.shrink_to(KEEP);
        self.undo.notes.shrink_to(KEEP);
        self.undo.marks.shrink_to(KEEP);
    }

    /// Whether it records no extents.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.state.has(State::QUIET)
    }

    /// The entry that is to be put back, if the write was of one inside a leaf.
    pub(super) fn undo_one(&self) -> Option<One> {
        let Single { index, value, notes, .. } = self.single;
        self.state.has(State::UNDO).then_some(One { index, value, notes })
    }

    /// Begins to record a write in the lists, of which none is in use.
    #[inline]
    pub(super) fn list(&mut self) {
        self.state = self.state.only(State::QUIET).and(State::LISTED);
    }

    /// Adds a part of a leaf to what is to be put back.
    pub(super) fn saved(&mut self, segment: Segment) {
        self.undo.segments.push(segment);
    }

    /// Records, in place of what it holds, the write of one entry inside a leaf; no lists are in use.
    #[inline]
    pub(super) fn only_entry(&mut self, entries: Entries, old: One, new: u64) {
        let One { index, value, notes } = old;
        (self.single.index, self.single.value, self.single.notes) = (index, value, notes);
        let mut state = self.state.only(State::QUIET).and(State::UNDO);
        // If neither maps, nothing is recorded whether or not they differ.
        if !state.has(State::QUIET) && entries.differ(value, new) {
            if Entries::is_mapped(value) {
                state = state.and(State::UNMAP);
                entries.set_page(&mut self.single.unmap, entries.iova(index), value);
            }
            if Entries::is_mapped(new) {
                state = state.and(State::MAP);
                entries.set_page(&mut self.single.map, entries.iova(index), new);
            }
        }
        self.state = state;
    }

    /// The same where nothing was stored and the entry maps now (`MAP`), or the other way round; `iova` is the entry's address.
    #[inline]
    pub(super) fn turned<const MAP: bool>(&mut self, entries: Entries, iova: Iova, old: One, new: u64) {
        let One { index, value, notes } = old;
        (self.single.index, self.single.value, self.single.notes) = (index, value, notes);
        if MAP {
            self.state = State::UNDO.and(State::MAP);
            entries.set_page(&mut self.single.map, iova, new);
        } else {
            self.state = State::UNDO.and(State::UNMAP);
            entries.set_page(&mut self.single.unmap, iova, value);
        }
    }

    /// Whether [`Change::turned`] may record: nothing is in the lists, and extents are wanted.
    #[inline]
    pub(super) fn takes_one(&self) -> bool {
        !self.state.has(State::LISTED.and(State::QUIET))
    }

    /// Records the replacement of up to 64 consecutive entries from `first` on.
    ///
    /// Of both, `told` says which entries map and mean another thing now, counted from `first`.
    #[inline]
    pub(super) fn replaced_word(&mut self, entries: Entries, first: u32, old: (u64, Word<'_>), new: (u64, Word<'_>)) {
        if old.0 != 0 {
            self.unmaps.word(entries, first, old.0, old.1);
        }
        if new.0 != 0 {
            self.maps.word(entries, first, new.0, new.1);
        }
    }

    /// Records the replacement of many entries: of each that may have changed index, old and new value, in ascending order.
    pub(super) fn replaced(&mut self, entries: Entries, replaced: impl Iterator<Item = (u32, u64, u64)>) {
        let (mut unmapped, mut mapped) = (0, 0);
        for (index, old, new) in replaced {
            if entries.key_of(old) == entries.key_of(new) {
                continue;
            }
            if Entries::is_mapped(old) {
                self.unmaps.run(entries, index, 1, old, !entries.continues(unmapped, old));
                unmapped = old;
            }
            if Entries::is_mapped(new) {
                self.maps.run(entries, index, 1, new, !entries.continues(mapped, new));
                mapped = new;
            }
        }
    }

    /// Records that consecutive entries, which were not mapped, all got one value, which maps: equal targets do not adjoin.
    pub(super) fn mapped_each(&mut self, entries: Entries, first: u32, count: u32, tce: u64) {
        if self.is_quiet() {
            return;
        }
        for (index, tce) in (first..).zip(iter::repeat_n(tce, count as usize)) {
            self.maps.run(entries, index, 1, tce, true);
        }
    }

    /// Records that entries of a block, the first of which is `first`, map nothing any more.
    #[inline]
    pub(super) fn unmapped(&mut self, entries: Entries, first: u32, mapped: Mapped<'_>) {
        match mapped {
            Mapped::Run { first: at, pages, tce, begins } => self.unmaps.run(entries, first + at, pages, tce, begins),
            Mapped::Singles(at, tces) => self.unmaps.singles(entries, first + at, tces),
        }
    }

    /// Records mappings that are gone, in place of what it holds, and not how to put them back.
    pub(crate) fn tell_unmaps(&mut self, extents: impl Iterator<Item = Extent>) {
        self.clear();
        if !self.is_quiet() {
            self.list();
            self.unmaps.extend(extents);
        }
    }
}
