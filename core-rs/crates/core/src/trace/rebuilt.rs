//! One table as far as the input tells it.

use core::cell::{Ref, RefMut};

use super::knowledge::{KnowledgeMap, LEAF_BYTES};
use crate::tce_table::{Change, Geometry, Runs, SharedTable, TableError, TceTable, Values};

/// Where a table's geometry is known from.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum GeometrySource {
    /// The input shows the table in use, never how it was made: QEMU's default is assumed.
    Assumed,
    /// The input shows that the table was made, and how large only where a machine's options are not the default.
    Default,
    /// The caller says it.
    Given,
    /// The input says it.
    Told,
}

/// One entry as far as it is known.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Knowledge {
    /// Nothing is known.
    Unknown,
    /// Page and permission are known, the bits that mean nothing are not.
    Page(u64),
    /// All 64 bits are known.
    Value(u64),
}

/// A table and what is known of it. Entries that are not known read 0 in the table.
#[derive(Debug)]
pub struct RebuiltTable {
    serial: u32,
    table: SharedTable,
    geometry: Geometry,
    source: GeometrySource,
    /// What is known of each entry. One that becomes known later gets its place in its call from here.
    known: KnowledgeMap,
    scratch: Change,
    /// Another party changes the table and does not log it.
    unlogged: bool,
}

impl RebuiltTable {
    /// An empty table, all of whose entries are known to be 0.
    pub(super) fn new(
        serial: u32,
        geometry: Geometry,
        source: GeometrySource,
        entry_limit: u32,
    ) -> Result<Self, TableError> {
        let table = SharedTable::new(TceTable::new(geometry, entry_limit)?.into());
        Ok(Self { source, ..Self::from_table(serial, table) })
    }

    /// A table whose entries are all known, from a migration stream.
    #[inline(never)]
    pub(super) fn from_table(serial: u32, table: SharedTable) -> Self {
        let geometry = table.borrow().geometry();
        Self {
            serial,
            table,
            geometry,
            source: GeometrySource::Told,
            known: KnowledgeMap::default(),
            scratch: Change::quiet(),
            unlogged: false,
        }
    }

    /// A number that no other table of the machine has: a LIOBN whose table is replaced gets another one.
    #[must_use]
    pub fn serial(&self) -> u32 {
        self.serial
    }

    pub(super) fn set_serial(&mut self, serial: u32) {
        self.serial = serial;
    }

    /// Where the table lies and how large it is.
    #[must_use]
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// Where that is known from.
    #[must_use]
    pub fn source(&self) -> GeometrySource {
        self.source
    }

    /// The table, for who shares it.
    #[must_use]
    pub fn shared(&self) -> SharedTable {
        SharedTable::clone(&self.table)
    }

    /// The table.
    #[must_use]
    pub fn table(&self) -> Ref<'_, TceTable> {
        self.table.borrow()
    }

    /// Puts back what the newest change to the table changed. What is known of the entries stays as it is.
    pub(super) fn undo(&self, change: &Change) {
        self.table_mut().undo(change);
    }

    /// Makes the entries 0 that it was about.
    pub(super) fn clear_changed(&self, change: &Change) {
        self.table_mut().clear_changed(change);
    }

    fn table_mut(&self) -> RefMut<'_, TceTable> {
        self.table.borrow_mut()
    }

    /// How many entries are in use: those that are mapped, and those that a call stored whose last one is mapped and
    /// whose values are not known.
    #[must_use]
    #[inline]
    pub fn in_use(&self) -> u64 {
        u64::from(self.table().mapped()) + self.known.in_use()
    }

    /// How many entries are not known.
    #[must_use]
    pub fn unknown(&self) -> u64 {
        self.known.unknown()
    }

    /// How many of the entries `first..=last` are not known.
    #[must_use]
    pub fn unknown_in(&self, first: u32, last: u32) -> u64 {
        self.known.unknown_in(first, last)
    }

    /// First and last entry of each run of entries that are not known, from entry `from` on.
    pub fn unknown_runs(&self, from: u32) -> impl Iterator<Item = (u32, u32)> {
        let mut from = Some(from);
        core::iter::from_fn(move || {
            let (first, last) = self.known.next_unknown(from?)?;
            from = last.checked_add(1);
            Some((first, last))
        })
    }

    /// What is known of one entry of the table.
    #[must_use]
    #[inline]
    pub fn knowledge(&self, index: u32) -> Knowledge {
        if self.known.is_unknown(index) {
            return Knowledge::Unknown;
        }
        let value = self.table().get(index);
        if self.known.is_page_only(index) { Knowledge::Page(value) } else { Knowledge::Value(value) }
    }

    /// Whether an entry is known and translates an address, which is relative to the window, as QEMU says it does.
    #[inline]
    pub(super) fn translates(&self, offset: u64, target: u64, perm: u64, mask: u64) -> bool {
        let page = (1u64 << self.geometry.page_shift.min(63)) - 1;
        let Ok(index) = u32::try_from(offset >> self.geometry.page_shift.min(63)) else { return false };
        if index >= self.geometry.entries || mask != page & u64::from(u32::MAX) || self.known.is_unknown(index) {
            return false;
        }
        let tce = self.table.borrow().get(index);
        tce & !page == target && tce & 3 == perm
    }

    pub(super) fn is_unlogged(&self) -> bool {
        self.unlogged
    }

    pub(super) fn set_unlogged(&mut self, unlogged: bool) {
        self.unlogged = unlogged;
    }

    /// What one guest call stored in one entry. Returns whether there was room.
    #[inline]
    pub(super) fn store_one(&mut self, index: u32, value: u64, change: &mut Change) -> bool {
        let stored = self.table.borrow_mut().put(index, value, change);
        if stored {
            self.known.know(index, index);
        }
        stored
    }

    /// What one guest call stored in each entry from `first` to `last`.
    pub(super) fn store(&mut self, first: u32, last: u32, value: u64, change: &mut Change) -> Result<(), TableError> {
        let count = last - first + 1;
        if value == 0 && count > 512 {
            self.zero(first, last, change);
        } else {
            self.table.borrow_mut().write(first, Values::Same(value, count), change)?;
        }
        self.known.know(first, last);
        Ok(())
    }

    /// What one guest call stored in `first..=last`, of which only the last value is known. `zeros` is as long as the
    /// call and holds zeros.
    pub(super) fn store_last(
        &mut self,
        first: u32,
        last: u32,
        value: u64,
        zeros: &mut [u64],
        change: &mut Change,
    ) -> Result<(), TableError> {
        if let Some(place) = zeros.last_mut() {
            *place = value;
        }
        let done = self.table_mut().write(first, Values::List(zeros), change);
        if let Some(place) = zeros.last_mut() {
            *place = 0;
        }
        done?;
        if first == last {
            self.known.know(first, last);
        } else {
            self.known.list(first, last, value & 3 != 0);
        }
        Ok(())
    }

    /// Entries `first..=last` are no longer known.
    #[inline(never)]
    pub(super) fn forget(&mut self, first: u32, last: u32, change: &mut Change) {
        self.zero(first, last, change);
        self.known.forget(first, last);
    }

    /// Entries that hold something may hold nothing now.
    #[inline(never)]
    pub(super) fn doubt(&mut self, change: &mut Change) {
        let mut held: Vec<(u32, u32)> = Vec::new();
        let last = self.geometry.entries - 1;
        if self.table().stored() != self.table().mapped() {
            // Entries with other bits than a permission cannot be listed.
            self.forget(0, last, change);
            return;
        }
        let mut from = Some(0);
        while let Some((first, extent)) = from.and_then(|from| self.table().next_extent(from, last, Runs::Full)) {
            let end = first + (extent.pages - 1);
            held.push((first, end));
            from = end.checked_add(1);
        }
        self.zero(0, last, change);
        for (first, last) in held {
            self.known.forget(first, last);
        }
    }

    /// An entry became known. Returns whether there was room to store it.
    #[inline]
    pub(super) fn learn(&mut self, index: u32, value: u64, page_only: bool, change: &mut Change) -> bool {
        if value == 0 && self.known.is_unknown(index) {
            // It reads 0 already, and no call begins at an entry without permission.
            change.clear();
        } else if !self.store_learned(index, value, change) {
            return false;
        }
        self.known.learn(index, page_only);
        true
    }

    fn store_learned(&mut self, index: u32, value: u64, change: &mut Change) -> bool {
        let mut table = self.table.borrow_mut();
        if !table.learn(index, value, !self.known.continues_call(index), change) {
            return false;
        }
        // The table takes the next entry for the beginning of another call unless it is told.
        let mut next = index.checked_add(1);
        while let Some(other) = next.filter(|other| self.known.continues_call(*other) && !self.known.is_unknown(*other))
        {
            let value = table.get(other);
            table.learn(other, value, false, &mut self.scratch);
            next = other.checked_add(1);
        }
        true
    }

    /// Makes entries 0. Costs what is stored in the table, however many they are.
    fn zero(&mut self, first: u32, last: u32, change: &mut Change) {
        change.clear();
        let mut table = self.table.borrow_mut();
        if table.stored() == 0 {
            return;
        }
        if first != 0 || last != self.geometry.entries - 1 {
            // Cannot fail: a zero never passes the entry limit, and callers stay inside the table.
            let _ = table.write(first, Values::Same(0, last - first + 1), change);
            return;
        }
        change.tell_unmaps(table.extents(Runs::Full));
        table.clear_all();
    }

    /// Bytes that knowledge about it takes.
    pub(super) fn knowledge_bytes(&self) -> usize {
        self.known.leaves() as usize * LEAF_BYTES
    }

    /// Whether that grew so much that somebody should look at it.
    #[inline]
    pub(super) fn is_crowded(&self) -> bool {
        self.known.is_crowded()
    }

    /// Lets knowledge grow for a while.
    pub(super) fn let_grow(&mut self) {
        self.known.allow();
    }

    /// Gives up what is kept for nothing, or all knowledge if that is little. Returns whether it was.
    pub(super) fn make_room(&mut self, change: &mut Change) -> bool {
        change.clear();
        let given_up = !self.known.tidy();
        if given_up {
            self.forget(0, self.geometry.entries - 1, change);
        }
        self.known.allow();
        given_up
    }

    /// The same window with more or fewer entries: what is known stays known, and entries beyond the old end are
    /// `unknown` or 0.
    pub(super) fn resized(
        &self,
        serial: u32,
        geometry: Geometry,
        source: GeometrySource,
        unknown: bool,
        entry_limit: u32,
    ) -> Result<Self, TableError> {
        let mut next = Self::new(serial, geometry, source, entry_limit)?;
        let last = geometry.entries - 1;
        let same_place =
            geometry.bus_offset == self.geometry.bus_offset && geometry.page_shift == self.geometry.page_shift;
        let old = self.table();
        if !same_place || old.stored() != old.mapped() {
            next.known.forget(0, last);
            return Ok(next);
        }
        next.unlogged = self.unlogged;
        let mut change = Change::quiet();
        let mut from = Some(0);
        while let Some((index, _)) = from.and_then(|from| old.next_extent(from, last, Runs::Page)) {
            next.table.borrow_mut().learn(index, old.get(index), true, &mut change);
            from = index.checked_add(1);
        }
        next.known = self.known.resized(last);
        if unknown && last >= self.geometry.entries {
            next.known.forget(self.geometry.entries, last);
        }
        drop(old);
        Ok(next)
    }
}
