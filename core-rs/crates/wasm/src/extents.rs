//! A walk over a table's extents whose batches are its own: other calls into the table leave them alone.

#![expect(clippy::cast_possible_truncation, reason = "WebAssembly counts in 32 bits, and records have halves")]

use std::cell::Cell;
use std::ops::ControlFlow;

use giommu_core::extent::Extent;
use giommu_core::tce_table::{Geometry, SharedTable, TceTable};
use wasm_bindgen::prelude::*;

use crate::table::{BATCH, runs_from};

/// One extent as JavaScript reads it from the memory of WebAssembly: 24 bytes, little endian, no address to be worked out.
///
/// Three words of 64 bits, as to store five of 32 takes longer. JavaScript's `ExtentCursor` reads the same layout; change
/// both together.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct IndexedRecord {
    target: u64,
    /// Low half: the first entry; high half: how many there are.
    place: u64,
    /// Low half: permission; high half: where a walk goes on, in what [`RawExtents::find`] found.
    meta: u64,
}

impl IndexedRecord {
    const NONE: Self = Self { target: 0, place: 0, meta: 0 };

    #[inline]
    fn new(index: u32, extent: Extent) -> Self {
        let place = u64::from(index) | u64::from(extent.pages) << 32;
        Self { target: extent.target.0, place, meta: u64::from(extent.perm.bits()) }
    }

    /// Where its first byte points to.
    #[inline]
    pub(crate) fn target(&self) -> u64 {
        self.target
    }

    /// The first entry.
    #[inline]
    pub(crate) fn index(&self) -> u32 {
        self.place as u32
    }

    #[inline]
    pub(crate) fn pages(&self) -> u32 {
        (self.place >> 32) as u32
    }

    #[inline]
    pub(crate) fn perm(&self) -> u32 {
        self.meta as u32
    }
}

/// Room for a batch, which is never given back: what is behind the batch is of an older one.
#[derive(Debug, Default)]
pub(crate) struct Records(Vec<IndexedRecord>);

impl Records {
    /// The first `count` records.
    pub(crate) fn first(&self, count: usize) -> &[IndexedRecord] {
        self.0.get(..count).unwrap_or(&[])
    }

    /// Fills it with at most `max` extents of entries `from` to `last`; returns how many, and where to go on.
    ///
    /// All walks come by here, as each would have the whole of `each_extent` in the module once more.
    #[inline(never)]
    pub(crate) fn fill(&mut self, table: &TceTable, from: u32, last: u32, runs: u8, max: u32) -> (usize, Option<u32>) {
        let max = (max as usize).clamp(1, BATCH);
        if self.0.len() < max {
            self.0.resize(max, IndexedRecord::NONE);
        }
        let Some(room) = self.0.get_mut(..max) else { return (0, None) };
        let mut free = room.iter_mut();
        let next = table.each_extent(from, last, runs_from(runs), |index, extent| {
            if let Some(record) = free.next() {
                *record = IndexedRecord::new(index, extent);
            }
            if free.as_slice().is_empty() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        (max - free.as_slice().len(), next)
    }
}

/// A walk over the extents of a table. JavaScript owns it; the table lives as long as it does.
#[wasm_bindgen]
#[derive(Debug)]
pub struct RawExtents {
    table: SharedTable,
    /// The newest batch, for JavaScript to read in place.
    records: Records,
    cursor: Option<u32>,
    /// What was found last, for JavaScript to read in place. A cell, as a shared reference takes less than a unique one to check.
    found: Cell<IndexedRecord>,
}

impl RawExtents {
    /// A walk that has no batch yet.
    #[must_use]
    pub(crate) fn new(table: SharedTable) -> Self {
        Self { table, records: Records::default(), cursor: None, found: Cell::new(IndexedRecord::NONE) }
    }
}

#[wasm_bindgen]
impl RawExtents {
    /// Makes a batch of at most `max` extents of entries `from` to `last`; how many are in it.
    ///
    /// `runs`: 0 full, 1 per call, 2 per page. [`RawExtents::cursor`] says where to go on.
    pub fn batch(&mut self, from: u32, last: u32, runs: u8, max: u32) -> u32 {
        let (count, next) = self.records.fill(&self.table.borrow(), from, last, runs, max);
        self.cursor = next;
        count as u32
    }

    /// Finds the page that holds an address relative to the window's start: [`RawExtents::found_pointer`] is where it lies
    /// then. False where nothing is mapped: of what lies there all is 0 but where a walk goes on.
    // In the function that JavaScript calls: one call less.
    #[inline(always)]
    pub fn find(&self, offset: u64) -> bool {
        let table = self.table.borrow();
        let Geometry { page_shift, entries, .. } = table.geometry();
        let index = offset >> (page_shift & 63);
        let next = index.saturating_add(1).min(entries.into()) << 32;
        let record = match table.translate(offset) {
            Some(found) if !found.perm.is_none() => IndexedRecord {
                target: found.target.0,
                place: index | 1 << 32,
                meta: u64::from(found.perm.bits()) | next,
            },
            _ => IndexedRecord { meta: next, ..IndexedRecord::NONE },
        };
        self.found.set(record);
        record.perm() != 0
    }

    /// The entry from which the next batch begins; nothing if the newest was the last.
    #[wasm_bindgen(getter)]
    pub fn cursor(&self) -> Option<u32> {
        self.cursor
    }

    /// Where the newest batch lies.
    #[wasm_bindgen(getter)]
    pub fn pointer(&self) -> u32 {
        self.records.0.as_ptr() as usize as u32
    }

    /// Where the record of [`RawExtents::find`] lies, for as long as this lives.
    #[wasm_bindgen(getter, js_name = foundPointer)]
    pub fn found_pointer(&self) -> u32 {
        self.found.as_ptr() as usize as u32
    }

    /// Where the low 32 bits of the table's version lie, for as long as this lives: JavaScript sees there, without a call,
    /// whether a batch is still true.
    #[wasm_bindgen(getter, js_name = versionPointer)]
    pub fn version_pointer(&self) -> u32 {
        std::ptr::from_ref(self.table.borrow().version_in_place()) as usize as u32
    }
}
