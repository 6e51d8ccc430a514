//! The sPAPR translation table of one LIOBN: sparse, and able to say its mappings as runs.
//!
//! Leaves of 512 entries exist only where an entry is not zero. Two bits per entry say where runs begin and end and where
//! guest calls begin; those of 64 leaves lie side by side. Bits above them let a walk jump from one mark to the next, so
//! that replaying a table costs what is mapped in it and never what could be.

mod batch;
mod bitmap;
mod block;
mod blocks;
mod budget;
mod change;
mod counts;
mod dense;
mod directory;
mod entry;
mod extents;
mod geometry;
mod leaf;
mod mappings;
mod mark;
mod marks;
mod read;
mod replace;
#[cfg(test)]
mod tests;
mod told;
mod undo;
mod walk;
mod write;

use core::cell::RefCell;
use core::fmt;
use std::rc::Rc;
use std::sync::Arc;

use budget::Stored;
use counts::Counts;
use directory::Directory;
use entry::Entries;
use leaf::{LEAF_MASK, LEAF_SHIFT};

use crate::address::Iova;

pub use budget::EntryBudget;
pub use change::Change;
pub use extents::Runs;
pub use geometry::{Geometry, TableError};
pub use read::Translation;

/// A table with several owners on one thread: a machine that applies calls, and a handle that people hold.
pub type SharedTable = Rc<RefCell<TceTable>>;

/// Values for consecutive entries.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
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

/// The translation table of one LIOBN.
///
/// Entries hold all 64 bits that a guest stored, as QEMU keeps them (`hw/ppc/spapr_iommu.c`): an entry without
/// permission but with other bits counts as stored, not as mapped. A clone is part of no [`EntryBudget`].
///
/// ```
/// use giommu_core::address::Iova;
/// use giommu_core::tce_table::{Change, Geometry, Runs, TceTable, Values};
///
/// let geometry = Geometry { liobn: 0x8000_0000, bus_offset: Iova(0), page_shift: 12, entries: 1 << 24 };
/// let mut table = TceTable::new(geometry, 1 << 20).expect("a sound geometry");
/// let mut change = Change::new();
/// table.write(7, Values::List(&[0x10_0003, 0x10_1003]), &mut change).expect("room");
/// assert_eq!(change.maps().len(), 1);
/// let (first, extent) = table.next_extent(0, u32::MAX, Runs::Full).expect("one run");
/// assert_eq!((first, extent.pages), (7, 2));
/// ```
#[derive(Clone)]
pub struct TceTable {
    geometry: Geometry,
    read: Entries,
    directory: Directory,
    /// Entries from here on cannot be stored in few steps, as they have no next one.
    simple_end: u32,
    /// The same for [`TceTable::put_at`], which takes no notice of the table's own limit, and a page's address for the entry's:
    /// 0 if the limit could be reached, or the window does not begin at a page.
    quick_end: u64,
    limit: u32,
    stored: Stored,
    version: u64,
}

impl fmt::Debug for TceTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TceTable")
            .field("geometry", &self.geometry)
            .field("stored", &self.stored())
            .field("mapped", &self.mapped())
            .finish_non_exhaustive()
    }
}

impl TceTable {
    /// An empty table that holds at most `entry_limit` entries that are not zero, and is part of no budget.
    ///
    /// # Errors
    /// [`TableError`] if the geometry is unsound.
    pub fn new(geometry: Geometry, entry_limit: u32) -> Result<Self, TableError> {
        geometry.size_minus_1()?;
        let read = Entries::new(&geometry);
        let simple_end = if read.shares_bits() { 0 } else { geometry.entries - 1 };
        let quick = entry_limit >= geometry.entries && read.page_of(geometry.bus_offset.0) == geometry.bus_offset.0;
        Ok(Self {
            geometry,
            read,
            simple_end,
            quick_end: if quick { simple_end.into() } else { 0 },
            directory: Directory::new(geometry.entries),
            limit: entry_limit,
            stored: Stored::default(),
            version: 0,
        })
    }

    /// Where the table lies and how large it is.
    #[must_use]
    #[inline]
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// How many entries that are not zero it may hold, apart from what a budget allows.
    #[must_use]
    pub fn entry_limit(&self) -> u32 {
        self.limit
    }

    /// The budget that it is part of.
    #[must_use]
    pub fn budget(&self) -> Option<&Arc<EntryBudget>> {
        self.stored.budget()
    }

    /// Joins a budget with what it stores now, or leaves the one that it is part of. What it stores stays, even if that
    /// is more than the budget allows.
    pub fn share(&mut self, budget: Option<Arc<EntryBudget>>) {
        self.stored.share(budget);
    }

    /// A number that grows whenever entries may have changed: a walk that was left looks at it before it goes on.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The same in its place, for who can look there without a call.
    #[must_use]
    pub fn version_in_place(&self) -> &u64 {
        &self.version
    }

    /// How many entries are not zero.
    #[must_use]
    pub fn stored(&self) -> u32 {
        self.stored.counts().stored()
    }

    /// How many entries have a permission.
    #[must_use]
    pub fn mapped(&self) -> u32 {
        self.stored.counts().mapped()
    }

    /// Says that a guest call begins at an entry that continues the run before it, for a table that is read from
    /// elsewhere. Returns whether it is such an entry.
    pub(crate) fn start_call(&mut self, index: u32) -> bool {
        let number = index >> LEAF_SHIFT;
        let Some(mut leaf) = self.directory.leaf_mut(number) else { return false };
        let at = index & LEAF_MASK;
        if !Entries::is_mapped(leaf.entries.get(at)) || leaf.marks_mut(at).boundary >> (at & 63) & 1 != 0 {
            return false;
        }
        leaf.set_mark(at, false, true);
        self.directory.settle(number);
        true
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
        match values {
            Values::Same(value, 1) => self.write_one(first, value, true, change),
            Values::Same(0, _) => self.write_zeros(first, last, change),
            Values::Same(value, _) => self.write_same(first, last, value, change),
            Values::List(list) if list.iter().all(|value| *value == 0) => self.write_zeros(first, last, change),
            Values::List(list) => self.write_list(first, last, list, change),
        }
        Ok(())
    }

    /// Stores the entry for a bus address, as [`TceTable::write`] does: the call that guests make most. The address is rounded
    /// down to the table's page.
    ///
    /// Returns whether it was stored, which is not so if it is one more than the entry limit; `None` outside the window.
    /// `change` is empty in both cases.
    #[inline]
    pub fn put_at(&mut self, ioba: u64, value: u64, change: &mut Change) -> Option<bool> {
        // Below the window it wraps, to more than any window has.
        let page = self.read.page_of(ioba);
        let index = page.wrapping_sub(self.geometry.bus_offset.0) >> (self.geometry.page_shift & 63);
        if self.put_quickly(index, Iova(page), value, change) {
            return Some(true);
        }
        self.put_elsewhere(index, value, change)
    }

    /// The same for an entry by its number, below [`Geometry::entries`].
    #[inline]
    pub fn put(&mut self, index: u32, value: u64, change: &mut Change) -> bool {
        self.put_quickly(index.into(), self.read.iova(index), value, change)
            || self.put_elsewhere(index.into(), value, change) == Some(true)
    }

    /// The same for what guests do most; otherwise does nothing.
    #[inline(always)]
    fn put_quickly(&mut self, index: u64, iova: Iova, value: u64, change: &mut Change) -> bool {
        if index >= self.quick_end || !change.takes_one() {
            return false;
        }
        #[expect(clippy::cast_possible_truncation, reason = "it is below another number of 32 bits")]
        let index = index as u32;
        let done = if Entries::is_mapped(value) {
            self.turn::<true>(index, iova, value, change)
        } else {
            value == 0 && self.turn::<false>(index, iova, 0, change)
        };
        if done {
            self.version += 1;
        }
        done
    }

    #[cold]
    #[inline(never)]
    fn put_elsewhere(&mut self, index: u64, value: u64, change: &mut Change) -> Option<bool> {
        change.clear();
        let index = u32::try_from(index).ok().filter(|index| *index < self.geometry.entries)?;
        Some(self.learn(index, value, true, change))
    }

    /// Whether a value fits: neither beyond the end nor the entry limit.
    fn takes(&self, index: u32, value: u64) -> bool {
        index < self.geometry.entries && (value == 0 || !self.stored.is_full(self.limit) || self.get(index) != 0)
    }

    /// Stores a value that is known from elsewhere (a log that shows the past), and records what that changed.
    ///
    /// `call_start` says whether the entry begins a guest call of its own, which is also right where its history is
    /// unknown; without it the entry belongs to the call that stored the entry before. The entry after it begins
    /// another call, unless it is learned next. Returns whether it was stored: not beyond the end or the entry limit.
    pub fn learn(&mut self, index: u32, value: u64, call_start: bool, change: &mut Change) -> bool {
        change.clear();
        if !self.takes(index, value) {
            return false;
        }
        self.version += 1;
        self.write_one(index, value, call_start, change);
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
        for extent in change.unmaps().iter().chain(change.maps()) {
            if let Some(first) = self.index_of(extent.iova.0) {
                self.clear_range(first, extent.pages);
            }
        }
    }

    /// Makes every entry 0 and tells nobody, as a reset of the device does.
    pub fn clear_all(&mut self) {
        self.version += 1;
        self.directory.clear();
        self.stored.replace(self.stored.counts(), Counts::NONE);
    }

    /// Bytes of memory that the table holds.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.directory.memory_bytes()
    }

    fn check_limit(&self, first: u32, last: u32, values: Values<'_>) -> Result<(), TableError> {
        let (room, limit) = self.stored.room(self.limit);
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
        Err(TableError::EntryLimit { limit })
    }

    /// How many of these entries are not zero.
    fn stored_in(&self, first: u32, last: u32) -> u32 {
        let mut sum = 0;
        for (leaf, lo, hi) in leaves(first, last) {
            let Some(found) = self.directory.leaf(leaf) else { continue };
            sum += if hi - lo == LEAF_MASK {
                found.counts.stored()
            } else {
                found.entries.part(lo, hi).iter().map(|tce| u32::from(*tce != 0)).sum()
            };
        }
        sum
    }
}

/// The leaves that entries `first` to `last` fall into, with their first and last entry in each.
fn leaves(first: u32, last: u32) -> impl Iterator<Item = (u32, u32, u32)> {
    (first >> LEAF_SHIFT..=last >> LEAF_SHIFT).map(move |leaf| {
        let base = leaf << LEAF_SHIFT;
        (leaf, first.max(base) - base, last.min(base | LEAF_MASK) - base)
    })
}
