//! Keeps the tables of a machine: which there are, how full they are, who is told of changes.

use super::slots::Place;
use super::{Due, ENTRY_LIMIT, KNOWLEDGE_LIMIT, LogMachine, MEMORY_LIMIT, Stop, TABLES_MAX};
use crate::tce_table::{Change, Geometry, SharedTable, TableError};
use crate::trace::findings::Trouble;
use crate::trace::rebuilt::{GeometrySource, RebuiltTable};
use crate::trace::window::{is_pci, owner};

/// The most pages that the tables of a PCI host bridge had in use together.
///
/// A page is in use if it is mapped, or if a call that mapped its last page stored it and the log does not say what.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub struct Peak {
    /// The LIOBN of the bridge's window 0.
    pub owner: u32,
    /// Pages in use now.
    pub in_use: u64,
    /// The most.
    pub peak: u64,
    /// The last line that made them so many.
    pub line: u64,
}

/// Something that is done to a table: it gets a place for what that changes, and one for zeros.
pub(super) type Act<'a> = dyn FnMut(&mut RebuiltTable, &mut Change, &mut Vec<u64>) -> Result<(), TableError> + 'a;

/// How many single stores go by between two looks at the memory that tables take.
const STORES: u32 = 4096;

impl LogMachine {
    /// Tells [`Stop::Change`] and [`Stop::Topology`] of the tables of this owner from now on.
    pub fn watch(&mut self, liobn: u32) {
        let owner = owner(liobn);
        if !self.is_watched(owner) {
            self.watched.push(owner);
        }
    }

    /// Ends that.
    pub fn unwatch(&mut self, liobn: u32) {
        let owner = owner(liobn);
        self.watched.retain(|watched| *watched != owner);
    }

    /// Tells [`Stop::Change`] and [`Stop::Topology`] of every table from now on, also of those that are yet to come; or
    /// only of those that are watched one by one.
    pub fn watch_all(&mut self, on: bool) {
        self.watches_all = on;
    }

    /// What the newest line changed in a watched table, after [`Stop::Change`].
    #[must_use]
    pub fn change(&self) -> &Change {
        &self.change
    }

    /// The table that it changed.
    #[must_use]
    pub fn changed(&self) -> u32 {
        self.changed_liobn
    }

    /// Puts back what the newest change changed: the host refused it.
    pub fn undo_change(&mut self) {
        if let Some(table) = self.table(self.changed_liobn) {
            table.undo(&self.change);
        }
        self.change.clear();
        self.count(self.changed_liobn);
    }

    /// Makes the entries 0 that the newest change was about: the host failed to unmap them.
    pub fn clear_changed(&mut self) {
        if let Some(table) = self.table(self.changed_liobn) {
            table.clear_changed(&self.change);
        }
        self.change.clear();
        self.count(self.changed_liobn);
    }

    pub(super) fn is_watched(&self, owner: u32) -> bool {
        self.watches_all || self.watched.contains(&owner)
    }

    /// The next reason to stop that is due.
    pub(super) fn next_stop(&mut self) -> Option<Stop> {
        if !self.due.stops() && self.due.take(Due::CROWDED) {
            self.see_to_memory(self.crowded_liobn);
        }
        [
            (Due::TOPOLOGY, Stop::Topology),
            (Due::CHANGE, Stop::Change),
            (Due::HOTPLUG, Stop::Hotplug),
            (Due::UNPLUG, Stop::Unplug),
        ]
        .into_iter()
        .find_map(|(due, stop)| self.due.take(due).then_some(stop))
    }

    /// Lets knowledge about a table grow, or gives it up where all of it together is too much to keep.
    #[cold]
    fn see_to_memory(&mut self, liobn: u32) {
        let bytes: usize = self.tables().map(RebuiltTable::knowledge_bytes).sum();
        if bytes <= KNOWLEDGE_LIMIT {
            if let Some(table) = self.table_mut(liobn) {
                table.let_grow();
            }
            return;
        }
        let mut given_up = false;
        self.with_table(liobn, &mut |table, change, _| {
            given_up = table.make_room(change);
            Ok(())
        });
        if given_up {
            self.trouble(Trouble::TooMuch, u64::from(liobn), 0);
        }
    }

    /// Puts a table in a LIOBN's place, whatever stood there.
    #[cold]
    #[inline(never)]
    pub(super) fn place(&mut self, liobn: u32, table: Result<RebuiltTable, TableError>) -> bool {
        let Ok(table) = table else {
            self.trouble(Trouble::BadGeometry, u64::from(liobn), 0);
            return false;
        };
        if self.slots.get(liobn).is_none() && self.slots.len() >= TABLES_MAX {
            self.trouble(Trouble::TooMuch, u64::from(liobn), 0);
            return false;
        }
        self.slots.put(liobn, Place::Table(table));
        self.count(liobn);
        let told = self.is_watched(owner(liobn));
        self.due.set(Due::TOPOLOGY, told);
        true
    }

    /// A new table that is empty, or all of whose entries are unknown.
    #[cold]
    #[inline(never)]
    pub(super) fn place_new(
        &mut self,
        geometry: Geometry,
        source: GeometrySource,
        known: bool,
        unlogged: bool,
    ) -> bool {
        self.serial += 1;
        let table = RebuiltTable::new(self.serial, geometry, source, ENTRY_LIMIT).map(|mut table| {
            if !known || unlogged {
                // Nobody mirrors a table that was only just made.
                table.forget(0, geometry.entries.saturating_sub(1), &mut Change::quiet());
            }
            table.set_unlogged(unlogged);
            table
        });
        self.place(geometry.liobn, table)
    }

    /// Puts a table from a migration stream in its place: all of it is known.
    pub fn load(&mut self, table: SharedTable) {
        self.serial += 1;
        let table = RebuiltTable::from_table(self.serial, table);
        self.place(table.geometry().liobn, Ok(table));
    }

    /// A table goes. `guessed` is its geometry if only a reset was guessed.
    #[cold]
    #[inline(never)]
    pub(super) fn drop_table(&mut self, liobn: u32, guessed: Option<Geometry>) {
        self.slots.put(liobn, Place::Gone { guessed });
        self.count(liobn);
        let told = self.is_watched(owner(liobn));
        self.due.set(Due::TOPOLOGY, told);
    }

    /// Does something to a table that may change it, then sees to who must know.
    ///
    /// What cannot be stored is reported; the callee says which entries are unknown then by [`RebuiltTable::forget`].
    pub(super) fn with_table(&mut self, liobn: u32, act: &mut Act<'_>) {
        self.with_table_inline(liobn, act);
    }

    /// The same, in place: for what most lines do.
    #[inline(always)]
    fn with_table_inline(
        &mut self,
        liobn: u32,
        mut act: impl FnMut(&mut RebuiltTable, &mut Change, &mut Vec<u64>) -> Result<(), TableError>,
    ) {
        let watched = self.is_watched(owner(liobn));
        let Some(slot) = self.slots.get_mut(liobn) else { return };
        let counted = slot.counted;
        let Some(table) = slot.table_mut() else { return };
        self.change.set_quiet(!watched);
        let done = act(table, &mut self.change, &mut self.zeros);
        if table.is_crowded() {
            self.crowded_liobn = liobn;
            self.due.set(Due::CROWDED, true);
        }
        if counted != table.in_use() {
            self.count(liobn);
        }
        if watched && !self.change.is_empty() {
            self.changed_liobn = liobn;
            self.due.set(Due::CHANGE, true);
        }
        if done.is_err() {
            self.trouble(Trouble::TooMuch, u64::from(liobn), 0);
        }
    }

    /// Stores what a guest call wrote to one entry, or forgets the entry where there is no room.
    #[inline(never)]
    pub(super) fn store_one(&mut self, liobn: u32, index: u32, value: u64) {
        let room = value == 0 || self.has_room(1);
        self.with_table_inline(liobn, |table, change, _| {
            if room && table.store_one(index, value, change) {
                return Ok(());
            }
            table.forget(index, index, change);
            Err(TableError::EntryLimit { limit: ENTRY_LIMIT })
        });
    }

    /// The same for a call that wrote one value to several entries.
    pub(super) fn store(&mut self, liobn: u32, first: u32, last: u32, value: u64) {
        let room = value == 0 || self.has_room(last - first + 1);
        self.with_table(liobn, &mut |table, change, _| {
            if room && table.store(first, last, value, change).is_ok() {
                return Ok(());
            }
            table.forget(first, last, change);
            Err(TableError::EntryLimit { limit: ENTRY_LIMIT })
        });
    }

    /// Whether memory is left for more entries; looked at now and then only.
    #[inline]
    pub(super) fn has_room(&mut self, entries: u32) -> bool {
        self.stored = self.stored.saturating_add(entries);
        if self.stored >= STORES {
            self.stored = 0;
            let memory: usize = self.tables().map(|table| table.table().memory_bytes()).sum();
            self.full = memory >= MEMORY_LIMIT;
        }
        !self.full
    }

    /// Counts the mapped pages of a table's owner anew.
    fn count(&mut self, liobn: u32) {
        let Some(slot) = self.slots.get_mut(liobn) else { return };
        let in_use = slot.table().map_or(0, RebuiltTable::in_use);
        let before = core::mem::replace(&mut slot.counted, in_use);
        if !is_pci(liobn) {
            return;
        }
        let owner = owner(liobn);
        let at = self.peaks.partition_point(|peak| peak.owner < owner);
        if self.peaks.get(at).is_none_or(|peak| peak.owner != owner) {
            self.peaks.insert(at, Peak { owner, in_use: 0, peak: 0, line: 0 });
        }
        let Some(peak) = self.peaks.get_mut(at) else { return };
        peak.in_use = peak.in_use + in_use - before;
        if peak.in_use != 0 && peak.in_use >= peak.peak {
            peak.peak = peak.in_use;
            peak.line = self.line;
        }
    }
}
