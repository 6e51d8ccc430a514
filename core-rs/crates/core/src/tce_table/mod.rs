//! The sPAPR translation table of one LIOBN: sparse, and able to say its mappings as runs.
//!
//! Leaves of 512 entries exist only where an entry is not zero. Two bitmaps per leaf say where runs and guest calls
//! begin, and summaries above them let a walk jump from one beginning to the next, so that replaying a table costs
//! what is mapped in it and never what could be.

mod change;
mod directory;
mod entry;
mod extents;
mod leaf;
#[cfg(test)]
mod tests;
mod undo;

use core::cell::RefCell;
use core::fmt;
use std::rc::Rc;

use crate::address::{Gpa, Iova};
use crate::perm::Perm;
use change::{One, Saved, Segment};
use directory::Directory;
use entry::Entries;
use leaf::{LEAF_ENTRIES, LEAF_FULL, LEAF_MASK, LEAF_SHIFT, Leaf};

pub use change::Change;
pub use extents::Runs;

/// A table with several owners on one thread: a machine that applies calls, and a handle that people hold.
pub type SharedTable = Rc<RefCell<TceTable>>;

/// Where a table lies and how large it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Geometry {
    /// The logical I/O bus number: how a guest names the table.
    pub liobn: u32,
    /// The bus address of entry 0.
    pub bus_offset: Iova,
    /// The page size of an entry, as a power of two; at most 63.
    pub page_shift: u8,
    /// How many entries; at least one.
    pub entries: u32,
}

impl Geometry {
    /// Bytes of the window, less one (2^64 bytes do not fit 64 bits).
    ///
    /// # Errors
    /// [`TableError`] if the page shift is too large, or the window is empty or passes the top of the space.
    pub fn size_minus_1(&self) -> Result<u64, TableError> {
        if self.page_shift > 63 {
            return Err(TableError::PageShift(self.page_shift));
        }
        let size = u128::from(self.entries) << self.page_shift;
        let size_minus_1 = size.checked_sub(1).ok_or(TableError::NoEntries)?;
        u64::try_from(size_minus_1)
            .ok()
            .filter(|size| self.bus_offset.checked_add(*size).is_some())
            .ok_or(TableError::PastTheTop)
    }
}

/// Why a table refuses.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TableError {
    /// The page shift does not fit 64-bit addresses.
    #[error("page shift {0} is above 63")]
    PageShift(u8),
    /// A table needs at least one entry.
    #[error("the table has no entries")]
    NoEntries,
    /// The window would pass the top of the 64-bit bus address space.
    #[error("the window passes the top of the 64-bit space")]
    PastTheTop,
    /// The write would pass the last entry.
    #[error("the write passes the end of the table")]
    OutOfRange,
    /// The write would store more entries than the table may hold.
    #[error("the table may hold {limit} entries that are not zero")]
    EntryLimit {
        /// The most entries that may be stored.
        limit: u32,
    },
}

/// Values for consecutive entries.
#[derive(Clone, Copy, Debug)]
pub enum Values<'a> {
    /// One value, this many times.
    Same(u64, u32),
    /// One value for each entry.
    List(&'a [u64]),
}

impl Values<'_> {
    /// How many entries they fill; `None` if more than 2^32 - 1.
    #[must_use]
    pub fn count(&self) -> Option<u32> {
        match self {
            Self::Same(_, count) => Some(*count),
            Self::List(list) => u32::try_from(list.len()).ok(),
        }
    }
}

/// What an entry says about one address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Translation {
    /// The page that the entry points to. It means something only where there is a permission.
    pub target: Gpa,
    /// What a device may do there.
    pub perm: Perm,
    /// The page size, as a power of two.
    pub page_shift: u8,
}

/// The translation table of one LIOBN.
///
/// Entries hold all 64 bits that a guest stored, as QEMU keeps them (`hw/ppc/spapr_iommu.c`): an entry without
/// permission but with other bits counts as stored, not as mapped.
///
/// ```
/// use giommu_core::address::Iova;
/// use giommu_core::tce_table::{Change, Geometry, Runs, TceTable, Values};
///
/// let geometry = Geometry { liobn: 0x8000_0000, bus_offset: Iova(0), page_shift: 12, entries: 1 << 24 };
/// let mut table = TceTable::new(geometry, 1 << 20).expect("a sound geometry");
/// let mut change = Change::new();
/// table.write(7, Values::List(&[0x10_0003, 0x10_1003]), &mut change).expect("room");
/// assert_eq!(change.maps.len(), 1);
/// let (first, extent) = table.next_extent(0, u32::MAX, Runs::Full).expect("one run");
/// assert_eq!((first, extent.pages), (7, 2));
/// ```
#[derive(Clone)]
pub struct TceTable {
    geometry: Geometry,
    read: Entries,
    directory: Directory,
    limit: u32,
    stored: u32,
    mapped: u32,
    /// Mapped entries that begin a run.
    runs: u32,
    version: u64,
}

impl fmt::Debug for TceTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TceTable")
            .field("geometry", &self.geometry)
            .field("stored", &self.stored)
            .field("mapped", &self.mapped)
            .field("runs", &self.runs)
            .finish_non_exhaustive()
    }
}

impl TceTable {
    /// An empty table that holds at most `entry_limit` entries that are not zero.
    ///
    /// # Errors
    /// [`TableError`] if the geometry is unsound.
    pub fn new(geometry: Geometry, entry_limit: u32) -> Result<Self, TableError> {
        geometry.size_minus_1()?;
        Ok(Self {
            geometry,
            read: Entries::new(&geometry),
            directory: Directory::new(geometry.entries),
            limit: entry_limit,
            stored: 0,
            mapped: 0,
            runs: 0,
            version: 0,
        })
    }

    /// Where the table lies and how large it is.
    #[must_use]
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// How many entries that are not zero it may hold.
    #[must_use]
    pub fn entry_limit(&self) -> u32 {
        self.limit
    }

    /// The raw entry; 0 beyond the end.
    #[must_use]
    pub fn get(&self, index: u32) -> u64 {
        self.directory.get(index)
    }

    /// The entry for a bus address; `None` outside the window.
    #[must_use]
    pub fn index_of(&self, ioba: u64) -> Option<u32> {
        let offset = ioba.checked_sub(self.geometry.bus_offset.0)?;
        self.index_at(offset)
    }

    fn index_at(&self, offset: u64) -> Option<u32> {
        let index = u32::try_from(offset >> self.geometry.page_shift).ok()?;
        (index < self.geometry.entries).then_some(index)
    }

    /// A number that grows whenever entries may have changed: a walk that was left looks at it before it goes on.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// How many entries are not zero.
    #[must_use]
    pub fn stored(&self) -> u32 {
        self.stored
    }

    /// How many entries have a permission.
    #[must_use]
    pub fn mapped(&self) -> u32 {
        self.mapped
    }

    /// What the table says about an address, given relative to the window's start; `None` outside the window.
    #[must_use]
    pub fn translate(&self, offset: u64) -> Option<Translation> {
        let tce = self.get(self.index_at(offset)?);
        Some(Translation {
            target: self.read.target(tce),
            perm: Perm::from_bits(tce),
            page_shift: self.geometry.page_shift,
        })
    }

    /// Stores what one guest call wrote to consecutive entries from `first`; `change` then says what that changed.
    ///
    /// All of the call gets one call-start mark, whatever the entries held before. No values are no call: nothing
    /// happens then.
    ///
    /// # Errors
    /// [`TableError::OutOfRange`] if the values pass the end, [`TableError::EntryLimit`] if they are too many. Nothing
    /// is stored then, and `change` is empty.
    pub fn write(&mut self, first: u32, values: Values<'_>, change: &mut Change) -> Result<(), TableError> {
        change.clear();
        let count = values.count().ok_or(TableError::OutOfRange)?;
        let Some(more) = count.checked_sub(1) else { return Ok(()) };
        let last =
            first.checked_add(more).filter(|last| *last < self.geometry.entries).ok_or(TableError::OutOfRange)?;
        self.check_limit(first, last, values)?;
        self.version += 1;
        if let Values::Same(value, 1) = values
            && self.store_one(first, value, true, true, change)
        {
            return Ok(());
        }
        match values {
            Values::Same(value, _) => self.write_same(first, last, value, change),
            Values::List(list) => self.write_list(first, last, list, change),
        }
        self.end_write(last, change);
        Ok(())
    }

    /// Stores a value that is known from elsewhere (a log that shows the past), and records what that changed.
    ///
    /// `call_start` says whether the entry begins a guest call of its own, which is also right where its history is
    /// unknown; without it the entry belongs to the call that stored the entry before. The entry after it begins
    /// another call, unless it is learned next. Returns whether it was stored: not beyond the end or the entry limit.
    pub fn learn(&mut self, index: u32, value: u64, call_start: bool, change: &mut Change) -> bool {
        change.clear();
        let full = self.stored >= self.limit && value != 0 && self.get(index) == 0;
        if index >= self.geometry.entries || full {
            return false;
        }
        self.version += 1;
        self.store(index >> LEAF_SHIFT, index & LEAF_MASK, index & LEAF_MASK, call_start, |_| value, change);
        self.end_write(index, change);
        true
    }

    /// Makes entries 0 and tells nobody: for mappings that the host has lost. What lies beyond the end is left alone.
    pub fn clear_range(&mut self, first: u32, count: u32) {
        let count = count.min(self.geometry.entries.saturating_sub(first));
        // Zeros in range are never refused.
        let _ = self.write(first, Values::Same(0, count), &mut Change::quiet());
    }

    /// Makes every entry 0 that `change` told of, and tells nobody: for a write whose old mappings the host failed to
    /// remove, so that nothing may be mapped there.
    pub fn clear_changed(&mut self, change: &Change) {
        for extent in change.unmaps.iter().chain(&change.maps) {
            if let Some(first) = self.index_of(extent.iova.0) {
                self.clear_range(first, extent.pages);
            }
        }
    }

    /// Makes every entry 0 and tells nobody, as a reset of the device does.
    pub fn clear_all(&mut self) {
        self.version += 1;
        self.directory.clear();
        (self.stored, self.mapped, self.runs) = (0, 0, 0);
    }

    /// Bytes of memory that the table holds.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.directory.memory_bytes()
    }

    fn check_limit(&self, first: u32, last: u32, values: Values<'_>) -> Result<(), TableError> {
        let room = self.limit.saturating_sub(self.stored);
        let count = last - first + 1;
        if count <= room {
            return Ok(());
        }
        let new = match values {
            Values::Same(0, _) => return Ok(()),
            Values::Same(..) => count,
            Values::List(list) => list.iter().map(|value| u32::from(*value != 0)).sum(),
        };
        if new <= room || new <= room.saturating_add(self.stored_in(first, last)) {
            return Ok(());
        }
        Err(TableError::EntryLimit { limit: self.limit })
    }

    /// How many of these entries are not zero.
    fn stored_in(&self, first: u32, last: u32) -> u32 {
        let mut sum = 0;
        for (leaf, lo, hi) in leaves(first, last) {
            let Some(found) = self.directory.leaf(leaf) else { continue };
            sum += if hi - lo == LEAF_MASK {
                u32::from(found.stored)
            } else {
                (lo..=hi).map(|at| u32::from(found.get(at) != 0)).sum()
            };
        }
        sum
    }

    fn write_same(&mut self, first: u32, last: u32, value: u64, change: &mut Change) {
        if value == 0 {
            return self.write_zeros(first, last, change);
        }
        for (leaf, lo, hi) in leaves(first, last) {
            let starts = leaf << LEAF_SHIFT | lo == first;
            let whole = hi - lo == LEAF_MASK;
            if whole && (change.is_quiet() || self.directory.leaf(leaf).is_none_or(|old| old.mapped == 0)) {
                self.fill_leaf(leaf, value, starts, change);
            } else {
                self.store(leaf, lo, hi, starts, |_| value, change);
            }
        }
    }

    /// Costs what is there, not what could be.
    fn write_zeros(&mut self, first: u32, last: u32, change: &mut Change) {
        let mut next = self.directory.next_present(first >> LEAF_SHIFT);
        while let Some(leaf) = next.filter(|leaf| *leaf <= last >> LEAF_SHIFT) {
            let base = leaf << LEAF_SHIFT;
            let (lo, hi) = (first.max(base) - base, last.min(base | LEAF_MASK) - base);
            if hi - lo == LEAF_MASK {
                self.empty_leaf(leaf, change);
            } else {
                self.store(leaf, lo, hi, base | lo == first, |_| 0, change);
            }
            self.end_absent(leaf, hi);
            next = self.directory.next_present(leaf + 1);
        }
    }

    /// Says anew whether a leaf's last entry ends a run, where the leaf after it is absent and nobody else says it.
    fn end_absent(&mut self, leaf: u32, hi: u32) {
        if hi == LEAF_MASK
            && leaf < (self.geometry.entries - 1) >> LEAF_SHIFT
            && self.directory.leaf(leaf + 1).is_none()
        {
            self.mark_first(leaf + 1, false);
        }
    }

    fn write_list(&mut self, first: u32, last: u32, list: &[u64], change: &mut Change) {
        for (leaf, lo, hi) in leaves(first, last) {
            let from = leaf << LEAF_SHIFT | lo;
            let skip = (from - first) as usize;
            let part = list.get(skip..skip + (hi - lo + 1) as usize).unwrap_or(&[]);
            self.store(leaf, lo, hi, from == first, |at| part.get(at as usize).copied().unwrap_or(0), change);
        }
    }

    /// The value of the entry before the first of a leaf.
    fn before(&self, leaf: u32) -> u64 {
        (leaf << LEAF_SHIFT).checked_sub(1).map_or(0, |index| self.directory.get(index))
    }

    /// Stores one entry where that is simple: in the middle of a leaf that is there and stays. Otherwise does nothing.
    ///
    /// `cut` and `next_cut` say whether a call begins at the entry and at the one after it.
    #[inline]
    fn store_one(&mut self, index: u32, new: u64, cut: bool, next_cut: bool, change: &mut Change) -> bool {
        let at = index & LEAF_MASK;
        if at == 0 || at == LEAF_MASK || index + 1 >= self.geometry.entries {
            return false;
        }
        let Some(leaf) = self.directory.leaf_mut(index >> LEAF_SHIFT) else { return false };
        let (before, old, after) = (leaf.get(at - 1), leaf.get(at), leaf.get(at + 1));
        if new == 0 && old != 0 && leaf.stored == 1 {
            return false;
        }
        let read = self.read;
        let (was, is) = (Entries::is_mapped(old), Entries::is_mapped(new));
        let after_is = Entries::is_mapped(after);
        let begins = !read.continues(before, new);
        let next_begins = !read.continues(new, after);
        *leaf.entry_mut(at) = new;
        leaf.stored = leaf.stored + u16::from(new != 0) - u16::from(old != 0);
        leaf.mapped = leaf.mapped + u16::from(is) - u16::from(was);
        self.stored = self.stored + u32::from(new != 0) - u32::from(old != 0);
        self.mapped = self.mapped + u32::from(is) - u32::from(was);
        let had = (leaf.boundaries != 0, leaf.cuts != 0);
        let (began, old_cut) = leaf.set_marks(at, begins, begins || (is && cut));
        let (next_began, old_next_cut) = leaf.set_marks(at + 1, next_begins, next_begins || (after_is && next_cut));
        self.runs = self.runs + u32::from(is && begins) + u32::from(after_is && next_begins)
            - u32::from(was && began)
            - u32::from(after_is && next_began);
        let has = (leaf.boundaries != 0, leaf.cuts != 0);
        change.undo.one = Some(One { index, value: old, cut: old_cut, next_cut: old_next_cut });
        change.entry(read, index, old, new);
        if had != has {
            self.directory.mark(index >> LEAF_SHIFT, has.0, has.1);
        }
        true
    }

    /// Stores `value(0)`, `value(1)`… in entries `lo` to `hi` of a leaf, and says anew where runs begin among them.
    ///
    /// The entry after `hi` is done here too if it is in the same leaf.
    #[inline]
    fn store(&mut self, number: u32, lo: u32, hi: u32, starts: bool, value: impl Fn(u32) -> u64, change: &mut Change) {
        let read = self.read;
        let base = number << LEAF_SHIFT;
        if self.directory.leaf(number).is_none() {
            change.undo.segments.push(Segment { leaf: number, lo, hi, saved: Saved::Absent });
            if (lo..=hi).all(|at| value(at - lo) == 0) {
                if lo == 0 {
                    let ends = Entries::is_mapped(self.before(number));
                    self.directory.mark(number, ends, ends);
                }
                return;
            }
        } else {
            let (values, cuts) = (change.undo.values.len(), change.undo.cuts.len());
            change.undo.segments.push(Segment { leaf: number, lo, hi, saved: Saved::Part { values, cuts } });
        }
        let absent = matches!(change.undo.segments.last(), Some(Segment { saved: Saved::Absent, .. }));
        let mut before = if lo == 0 { self.before(number) } else { 0 };
        let end = self.geometry.entries;
        let Some(leaf) = self.directory.leaf_or_new(number) else { return };
        let marks_before = (leaf.boundaries != 0, leaf.cuts != 0);
        if lo != 0 {
            before = leaf.get(lo - 1);
        }
        // The entry after the write begins a call of its own from now on.
        let after = (hi < LEAF_MASK && base + hi + 1 < end).then_some(hi + 1);
        let top = after.unwrap_or(hi);
        let (mut stored, mut mapped, mut runs) = (self.stored, self.mapped, self.runs);
        let (mut leaf_stored, mut leaf_mapped) = (leaf.stored, leaf.mapped);
        let mut at = lo;
        while at <= top {
            let old_boundary = leaf.boundary.word(at);
            let old_cut = leaf.cut.word(at);
            if !absent {
                change.undo.cuts.push(old_cut);
            }
            let (mut boundary, mut cut) = (old_boundary, old_cut);
            let word_last = top.min(at | 63);
            while at <= word_last {
                let bit = 1u64 << (at & 63);
                let old = leaf.get(at);
                let (new, calls) = if at <= hi {
                    let new = value(at - lo);
                    *leaf.entry_mut(at) = new;
                    if !absent {
                        change.undo.values.push(old);
                    }
                    change.entry(read, base + at, old, new);
                    (new, starts && at == lo)
                } else {
                    (old, true)
                };
                let (was, is) = (Entries::is_mapped(old), Entries::is_mapped(new));
                stored = stored + u32::from(new != 0) - u32::from(old != 0);
                leaf_stored = leaf_stored + u16::from(new != 0) - u16::from(old != 0);
                mapped = mapped + u32::from(is) - u32::from(was);
                leaf_mapped = leaf_mapped + u16::from(is) - u16::from(was);
                runs -= u32::from(was && old_boundary & bit != 0);
                let begins = !read.continues(before, new);
                runs += u32::from(begins && is);
                boundary = if begins { boundary | bit } else { boundary & !bit };
                cut = if begins || (is && calls) { cut | bit } else { cut & !bit };
                before = new;
                at += 1;
            }
            *leaf.boundary.word_mut(word_last) = boundary;
            *leaf.cut.word_mut(word_last) = cut;
            leaf.boundaries = recount(leaf.boundaries, old_boundary, boundary);
            leaf.cuts = recount(leaf.cuts, old_cut, cut);
        }
        (self.stored, self.mapped, self.runs) = (stored, mapped, runs);
        (leaf.stored, leaf.mapped) = (leaf_stored, leaf_mapped);
        let marks = (leaf.boundaries != 0, leaf.cuts != 0);
        if leaf_stored == 0
            && let Some(empty) = self.directory.take(number)
        {
            self.directory.keep(empty);
            self.directory.mark(number, marks.0, marks.1);
        } else if marks != marks_before {
            self.directory.mark(number, marks.0, marks.1);
        }
    }

    /// Makes all entries of a leaf 0.
    fn empty_leaf(&mut self, number: u32, change: &mut Change) {
        let Some(old) = self.directory.take(number) else { return };
        if !change.is_quiet() && old.mapped != 0 {
            for (value, index) in old.entries().iter().zip(number << LEAF_SHIFT..) {
                change.entry(self.read, index, *value, 0);
            }
        }
        self.forget(&old);
        change.undo.segments.push(Segment { leaf: number, lo: 0, hi: LEAF_MASK, saved: Saved::Whole(old) });
        let ends = Entries::is_mapped(self.before(number));
        self.directory.mark(number, ends, ends);
    }

    /// Makes all entries of a leaf one value that is not 0; whoever calls has made sure that no old mapping is told.
    fn fill_leaf(&mut self, number: u32, value: u64, starts: bool, change: &mut Change) {
        let saved = match self.directory.take(number) {
            Some(old) => {
                self.forget(&old);
                Saved::Whole(old)
            }
            None => Saved::Absent,
        };
        change.undo.segments.push(Segment { leaf: number, lo: 0, hi: LEAF_MASK, saved });
        let mut leaf = Leaf::new();
        leaf.fill(value);
        leaf.stored = LEAF_FULL;
        let is = Entries::is_mapped(value);
        let begins = !self.read.continues(self.before(number), value);
        if is {
            leaf.mapped = LEAF_FULL;
            // Equal targets do not adjoin: every entry is a run.
            for at in (0..LEAF_ENTRIES).step_by(64) {
                *leaf.boundary.word_mut(at) = u64::MAX;
                *leaf.cut.word_mut(at) = u64::MAX;
            }
            (leaf.boundaries, leaf.cuts) = (LEAF_FULL, LEAF_FULL);
            if !change.is_quiet() {
                for index in (number << LEAF_SHIFT..).take(LEAF_ENTRIES as usize) {
                    change.entry(self.read, index, 0, value);
                }
            }
        }
        leaf.set_marks(0, begins, begins || (is && starts));
        self.remember(&leaf);
        let marks = (leaf.boundaries != 0, leaf.cuts != 0);
        self.directory.insert(number, leaf);
        self.directory.mark(number, marks.0, marks.1);
    }

    /// Takes a leaf out of the table's counts.
    fn forget(&mut self, leaf: &Leaf) {
        self.stored -= u32::from(leaf.stored);
        self.mapped -= u32::from(leaf.mapped);
        self.runs -= leaf.runs();
    }

    /// Takes a leaf into the table's counts.
    fn remember(&mut self, leaf: &Leaf) {
        self.stored += u32::from(leaf.stored);
        self.mapped += u32::from(leaf.mapped);
        self.runs += leaf.runs();
    }

    /// Lets the entry after a write begin a call of its own, where it is the first of another leaf.
    fn end_write(&mut self, last: u32, change: &mut Change) {
        if last & LEAF_MASK != LEAF_MASK || last == u32::MAX || last + 1 >= self.geometry.entries {
            return;
        }
        let cut = self.mark_first((last + 1) >> LEAF_SHIFT, true);
        change.undo.after = Some((last + 1, cut));
    }

    /// Says anew whether the first entry of a leaf begins a run or a call; returns whether it began one.
    fn mark_first(&mut self, number: u32, calls: bool) -> bool {
        let before = self.before(number);
        let read = self.read;
        let Some(leaf) = self.directory.leaf_mut(number) else {
            let ends = Entries::is_mapped(before);
            self.directory.mark(number, ends, ends);
            return false;
        };
        let value = leaf.get(0);
        let is = Entries::is_mapped(value);
        let begins = !read.continues(before, value);
        let (was_boundary, was_cut) = (leaf.boundary.get(0), leaf.cut.get(0));
        let cut = begins || (is && calls);
        if (was_boundary, was_cut) != (begins, cut) {
            leaf.set_marks(0, begins, cut);
            let marks = (leaf.boundaries != 0, leaf.cuts != 0);
            self.runs = self.runs + u32::from(is && begins) - u32::from(is && was_boundary);
            self.directory.mark(number, marks.0, marks.1);
        }
        was_cut
    }
}

/// A count of set bits after one word of them changed.
#[inline]
fn recount(count: u16, old: u64, new: u64) -> u16 {
    if old == new {
        return count;
    }
    let ones = |word: u64| u16::try_from(word.count_ones()).unwrap_or(0);
    count + ones(new) - ones(old)
}

/// The leaves that entries `first` to `last` fall into, with their first and last entry in each.
fn leaves(first: u32, last: u32) -> impl Iterator<Item = (u32, u32, u32)> {
    (first >> LEAF_SHIFT..=last >> LEAF_SHIFT).map(move |leaf| {
        let base = leaf << LEAF_SHIFT;
        (leaf, first.max(base) - base, last.min(base | LEAF_MASK) - base)
    })
}
