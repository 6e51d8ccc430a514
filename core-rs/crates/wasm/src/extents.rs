//! A walk over a table's extents whose batches are its own: other calls into the table leave them alone.

use std::ops::ControlFlow;

use giommu_core::extent::Extent;
use giommu_core::tce_table::{Runs, SharedTable, TceTable};
use wasm_bindgen::prelude::*;

use crate::table::{BATCH, runs_from};

/// One extent as JavaScript reads it from the memory of WebAssembly: 24 bytes, little endian, no address to be worked out.
///
/// JavaScript's `ExtentCursor` reads the same layout; change both together.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct IndexedRecord {
    pub(crate) target: u64,
    /// The first entry.
    pub(crate) index: u32,
    pub(crate) pages: u32,
    pub(crate) perm: u32,
    unused: u32,
}

/// Makes `records` those of at most `max` extents of entries `from` to `last`; returns where to go on.
///
/// All walks come by here, as each kind of them would have the whole of `each_extent` in the module once more.
pub(crate) fn fill(
    records: &mut Vec<IndexedRecord>,
    table: &TceTable,
    from: u32,
    last: u32,
    runs: u8,
    max: u32,
) -> Option<u32> {
    let max = (max as usize).clamp(1, BATCH);
    records.clear();
    match runs_from(runs) {
        Runs::Full => fill_runs(records, table, from, last, false, max),
        Runs::Call => fill_runs(records, table, from, last, true, max),
        Runs::Page => fill_pages(records, table, from, last, max),
    }
}

#[inline(never)]
fn fill_runs(
    records: &mut Vec<IndexedRecord>,
    table: &TceTable,
    from: u32,
    last: u32,
    end_with_calls: bool,
    max: usize,
) -> Option<u32> {
    let runs = if end_with_calls { Runs::Call } else { Runs::Full };
    table.each_extent(from, last, runs, |index, extent| push(records, max, index, extent))
}

/// Apart from the runs: a program's first walk waits until all that is in the function is compiled.
#[inline(never)]
fn fill_pages(records: &mut Vec<IndexedRecord>, table: &TceTable, from: u32, last: u32, max: usize) -> Option<u32> {
    table.each_extent(from, last, Runs::Page, |index, extent| push(records, max, index, extent))
}

#[inline]
fn push(records: &mut Vec<IndexedRecord>, max: usize, index: u32, extent: Extent) -> ControlFlow<()> {
    let perm = u32::from(extent.perm.bits());
    records.push(IndexedRecord { target: extent.target.0, index, pages: extent.pages, perm, unused: 0 });
    if records.len() < max { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
}

/// A walk over the extents of a table. JavaScript owns it; the table lives as long as it does.
#[wasm_bindgen]
#[derive(Debug)]
pub struct RawExtents {
    table: SharedTable,
    /// The newest batch, for JavaScript to read in place.
    records: Vec<IndexedRecord>,
    cursor: Option<u32>,
}

impl RawExtents {
    /// A walk that has no batch yet.
    #[must_use]
    pub(crate) fn new(table: SharedTable) -> Self {
        Self { table, records: Vec::new(), cursor: None }
    }
}

#[wasm_bindgen]
#[expect(clippy::cast_possible_truncation, reason = "WebAssembly counts in 32 bits")]
impl RawExtents {
    /// Makes a batch of at most `max` extents of entries `from` to `last`; how many are in it.
    ///
    /// `runs`: 0 full, 1 per call, 2 per page. [`RawExtents::cursor`] says where to go on.
    pub fn batch(&mut self, from: u32, last: u32, runs: u8, max: u32) -> u32 {
        self.cursor = fill(&mut self.records, &self.table.borrow(), from, last, runs, max);
        self.records.len() as u32
    }

    /// Makes a batch of the one page that holds an address relative to the window's start. False where nothing is mapped.
    pub fn find(&mut self, offset: u64) -> bool {
        self.records.clear();
        let table = self.table.borrow();
        let Some(found) = table.translate(offset).filter(|found| !found.perm.is_none()) else { return false };
        let index = (offset >> found.page_shift) as u32;
        let perm = u32::from(found.perm.bits());
        self.records.push(IndexedRecord { target: found.target.0, index, pages: 1, perm, unused: 0 });
        true
    }

    /// The entry from which the next batch begins; nothing if the newest was the last.
    #[wasm_bindgen(getter)]
    pub fn cursor(&self) -> Option<u32> {
        self.cursor
    }

    /// Where the newest batch lies.
    #[wasm_bindgen(getter)]
    pub fn pointer(&self) -> u32 {
        self.records.as_ptr() as usize as u32
    }

    /// Where the low 32 bits of the table's version lie, for as long as this lives: JavaScript sees there, without a call,
    /// whether a batch is still true.
    #[wasm_bindgen(getter, js_name = versionPointer)]
    pub fn version_pointer(&self) -> u32 {
        std::ptr::from_ref(self.table.borrow().version_in_place()) as usize as u32
    }
}
