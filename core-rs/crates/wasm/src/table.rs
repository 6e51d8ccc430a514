//! A TCE table as JavaScript drives it: one crossing per guest call, extents in batches.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "return codes are small, and WebAssembly counts in 32 bits"
)]

use std::rc::Rc;

use giommu_core::address::Iova;
use giommu_core::extent::Extent;
use giommu_core::hcall::{self, Written};
use giommu_core::tce_table::{Change, Geometry, Runs, SharedTable, TceTable};
use wasm_bindgen::prelude::*;

use crate::extents::{RawExtents, Records};
use crate::record::{ExtentRecord, pointer};

/// Extents per batch at most: 96 KiB of records.
pub(crate) const BATCH: usize = 4096;

/// A TCE table. JavaScript owns it; a machine in the core may share the table inside.
#[wasm_bindgen]
#[derive(Debug)]
pub struct RawTceTable {
    table: SharedTable,
    /// What the newest call changed. It records extents, but for calls of several entries that nobody wants to be told of: a
    /// single entry is recorded faster than looked whether it is to be.
    change: Change,
    quiet: bool,
    stored: u32,
    /// What a call of one entry changed, for JavaScript to read in place: what it unmapped, what it mapped. Or a translation.
    single: [ExtentRecord; 2],
    /// The newest batch, for JavaScript to read in place.
    records: Vec<ExtentRecord>,
    /// What the newest batch of a walk was made of.
    found: Records,
    cursor: Option<u32>,
}

impl RawTceTable {
    /// A handle on a table that a machine in the core holds as well.
    #[must_use]
    pub fn from_shared(table: SharedTable) -> Self {
        Self::with_change(table, Change::new())
    }

    /// A handle whose newest call was another's, who leaves what it changed to this one.
    #[must_use]
    pub(crate) fn with_change(table: SharedTable, change: Change) -> Self {
        let single = [ExtentRecord::NONE; 2];
        let found = Records::default();
        Self { table, change, quiet: false, stored: 0, single, records: Vec::new(), found, cursor: None }
    }

    /// The table inside.
    #[must_use]
    pub fn shared(&self) -> SharedTable {
        Rc::clone(&self.table)
    }

    /// Makes a call that writes several entries.
    fn write(&mut self, call: impl FnOnce(&mut TceTable, &mut Change) -> Written) -> i32 {
        self.change.set_quiet(self.quiet);
        let written = call(&mut self.table.borrow_mut(), &mut self.change);
        self.change.set_quiet(false);
        self.stored = written.stored;
        // Return codes are small.
        written.ret as i32
    }

    fn batch(records: &mut Vec<ExtentRecord>, extents: &[Extent], from: u32) -> u32 {
        let rest = extents.get(from as usize..).unwrap_or(&[]);
        records.clear();
        records.extend(rest.iter().take(BATCH).map(ExtentRecord::from));
        records.len() as u32
    }
}

#[wasm_bindgen]
impl RawTceTable {
    /// The logical I/O bus number.
    #[wasm_bindgen(getter)]
    pub fn liobn(&self) -> u32 {
        self.table.borrow().geometry().liobn
    }

    /// The bus address of entry 0.
    #[wasm_bindgen(getter, js_name = busOffset)]
    pub fn bus_offset(&self) -> u64 {
        self.table.borrow().geometry().bus_offset.0
    }

    /// The page size as a power of two.
    #[wasm_bindgen(getter, js_name = pageShift)]
    pub fn page_shift(&self) -> u8 {
        self.table.borrow().geometry().page_shift
    }

    /// How many entries there are.
    #[wasm_bindgen(getter)]
    pub fn entries(&self) -> u32 {
        self.table.borrow().geometry().entries
    }

    /// How many entries may be other than 0, by its own limit or that of the budget that it shares.
    #[wasm_bindgen(getter, js_name = entryLimit)]
    pub fn entry_limit(&self) -> u32 {
        let table = self.table.borrow();
        table.budget().map_or(u32::MAX, |budget| budget.limit()).min(table.entry_limit())
    }

    /// How many entries of all tables that share its budget are not 0; nothing where it shares none.
    #[wasm_bindgen(getter, js_name = sharedStored)]
    pub fn shared_stored(&self) -> Option<u32> {
        self.table.borrow().budget().map(|budget| u32::try_from(budget.stored()).unwrap_or(u32::MAX))
    }

    /// How many entries are not 0.
    #[wasm_bindgen(getter)]
    pub fn stored(&self) -> u32 {
        self.table.borrow().stored()
    }

    /// How many entries have a permission.
    #[wasm_bindgen(getter)]
    pub fn mapped(&self) -> u32 {
        self.table.borrow().mapped()
    }

    /// Grows whenever entries may have changed. Cut to 32 bits: only compared with itself.
    #[wasm_bindgen(getter)]
    pub fn version(&self) -> u32 {
        self.table.borrow().version() as u32
    }

    /// Bytes that the table holds.
    #[wasm_bindgen(getter, js_name = memoryBytes)]
    pub fn memory_bytes(&self) -> u32 {
        u32::try_from(self.table.borrow().memory_bytes()).unwrap_or(u32::MAX)
    }

    /// The raw entry; 0 beyond the end.
    pub fn get(&self, index: u32) -> u64 {
        self.table.borrow().get(index)
    }

    /// H_GET_TCE: the raw entry, nothing where the call answers H_PARAMETER.
    #[wasm_bindgen(js_name = getTce)]
    pub fn get_tce(&self, ioba: u64) -> Option<u64> {
        hcall::h_get_tce(&self.table.borrow(), ioba).ok()
    }

    /// Whether the next calls record extents. Without, they record only how to undo.
    #[wasm_bindgen(js_name = setQuiet)]
    pub fn set_quiet(&mut self, quiet: bool) {
        self.quiet = quiet;
    }

    /// H_PUT_TCE: the return code. Where it succeeded and mappings changed, what there is to be told instead: 1 an UNMAP,
    /// 2 a MAP, 3 both. They lie at [`RawTceTable::single_pointer`], the UNMAP first.
    #[wasm_bindgen(js_name = putTce)]
    // In the function that JavaScript calls: one call less.
    #[inline(always)]
    pub fn put_tce(&mut self, ioba: u64, tce: u64) -> i32 {
        let ret = hcall::h_put_tce(&mut self.table.borrow_mut(), ioba, tce, &mut self.change).ret;
        if self.quiet || ret != 0 {
            return ret as i32;
        }
        let [gone, new] = &mut self.single;
        let mut told = 0;
        // One entry makes no more than one extent of each kind.
        if let Some(unmap) = self.change.unmaps().first() {
            *gone = unmap.into();
            told = 1;
        }
        if let Some(map) = self.change.maps().first() {
            *new = map.into();
            told |= 2;
        }
        told
    }

    /// H_STUFF_TCE: the return code.
    #[wasm_bindgen(js_name = stuffTce)]
    pub fn stuff_tce(&mut self, ioba: u64, tce: u64, npages: u64) -> i32 {
        self.write(|table, change| hcall::h_stuff_tce(table, ioba, tce, npages, change))
    }

    /// The checks of H_PUT_TCE_INDIRECT before its list is read: how many entries to read, or the return code.
    #[wasm_bindgen(js_name = checkIndirect)]
    pub fn check_indirect(list: u64, npages: u64) -> i32 {
        match hcall::check_indirect(list, npages) {
            Ok(count) => count as i32,
            Err(ret) => ret as i32,
        }
    }

    /// H_PUT_TCE_INDIRECT with the list as the guest has it, big endian, 8 bytes per entry: the return code.
    #[wasm_bindgen(js_name = putTceIndirect)]
    pub fn put_tce_indirect(&mut self, ioba: u64, list: &[u8]) -> i32 {
        let (words, _) = list.as_chunks::<8>();
        let values: Vec<u64> = words.iter().map(|word| u64::from_be_bytes(*word)).collect();
        self.write(|table, change| hcall::h_put_tce_indirect(table, ioba, &values, change))
    }

    /// How many entries the newest call of several stored.
    #[wasm_bindgen(getter, js_name = lastStored)]
    pub fn last_stored(&self) -> u32 {
        self.stored
    }

    /// How many extents the newest call unmapped.
    #[wasm_bindgen(getter, js_name = unmapsLength)]
    pub fn unmaps_length(&self) -> u32 {
        self.change.unmaps().len() as u32
    }

    /// How many extents the newest call mapped.
    #[wasm_bindgen(getter, js_name = mapsLength)]
    pub fn maps_length(&self) -> u32 {
        self.change.maps().len() as u32
    }

    /// Makes a batch of what the newest call unmapped, from extent `from` on; how many are in it.
    #[wasm_bindgen(js_name = unmapsBatch)]
    pub fn unmaps_batch(&mut self, from: u32) -> u32 {
        Self::batch(&mut self.records, self.change.unmaps(), from)
    }

    /// Makes a batch of what the newest call mapped, from extent `from` on; how many are in it.
    #[wasm_bindgen(js_name = mapsBatch)]
    pub fn maps_batch(&mut self, from: u32) -> u32 {
        Self::batch(&mut self.records, self.change.maps(), from)
    }

    /// Where the newest batch lies.
    #[wasm_bindgen(getter)]
    pub fn pointer(&self) -> u32 {
        pointer(&self.records)
    }

    /// Where the extents of [`RawTceTable::put_tce`] and [`RawTceTable::translate`] lie, for as long as this lives.
    #[wasm_bindgen(getter, js_name = singlePointer)]
    pub fn single_pointer(&self) -> u32 {
        pointer(&self.single)
    }

    /// Puts back what the newest call changed; only once.
    pub fn undo(&mut self) {
        self.table.borrow_mut().undo(&self.change);
        self.change.clear();
    }

    /// Makes every entry 0 that the newest call changed.
    #[wasm_bindgen(js_name = clearChanged)]
    pub fn clear_changed(&mut self) {
        self.table.borrow_mut().clear_changed(&self.change);
        self.change.clear();
    }

    /// Makes entries 0, for addresses that the host has lost: all entries that `start` to `last` touch, relative to the
    /// window's start.
    #[wasm_bindgen(js_name = clearAddresses)]
    pub fn clear_addresses(&mut self, start: u64, last: u64) {
        let mut table = self.table.borrow_mut();
        let shift = table.geometry().page_shift;
        let (Ok(first), last) = (u32::try_from(start >> shift), last >> shift) else { return };
        let last = u32::try_from(last).unwrap_or(u32::MAX);
        table.clear_range(first, last.saturating_sub(first).saturating_add(1));
    }

    /// Gives back the memory that a large call left behind.
    pub fn shrink(&mut self) {
        self.change.shrink();
    }

    /// Finds the one page that holds an address relative to the window's start; it lies at [`RawTceTable::single_pointer`]
    /// then. False outside the window.
    pub fn translate(&mut self, offset: u64) -> bool {
        let table = self.table.borrow();
        let Some(found) = table.translate(offset) else { return false };
        let page = offset >> found.page_shift << found.page_shift;
        let extent = Extent {
            iova: Iova(table.geometry().bus_offset.0.wrapping_add(page)),
            target: found.target,
            pages: 1,
            page_shift: found.page_shift,
            perm: found.perm,
        };
        let [first, _] = &mut self.single;
        *first = ExtentRecord::from(&extent);
        true
    }

    /// Makes a batch of at most `max` extents of entries `from` to `last`; how many are in it.
    ///
    /// `runs`: 0 full, 1 per call, 2 per page. [`RawTceTable::cursor`] says where to go on.
    #[wasm_bindgen(js_name = replayBatch)]
    pub fn replay_batch(&mut self, from: u32, last: u32, runs: u8, max: u32) -> u32 {
        let table = self.table.borrow();
        let (count, next) = self.found.fill(&table, from, last, runs, max);
        self.cursor = next;
        let Geometry { bus_offset, page_shift, .. } = table.geometry();
        let found = self.found.first(count).iter();
        self.records.clear();
        self.records.extend(found.map(|found| ExtentRecord::found(found, bus_offset, page_shift)));
        count as u32
    }

    /// The entry from which the next batch of the walk begins; nothing if the newest batch was the last.
    #[wasm_bindgen(getter)]
    pub fn cursor(&self) -> Option<u32> {
        self.cursor
    }

    /// A walk over the table's extents, with batches of its own.
    pub fn walk(&self) -> RawExtents {
        RawExtents::new(self.shared())
    }

    /// How many extents the table has; `runs` as for [`RawTceTable::replay_batch`].
    #[wasm_bindgen(js_name = countRuns)]
    pub fn count_runs(&self, runs: u8) -> u32 {
        self.table.borrow().count_runs(runs_from(runs))
    }
}

pub(crate) fn runs_from(runs: u8) -> Runs {
    match runs {
        0 => Runs::Full,
        1 => Runs::Call,
        _ => Runs::Page,
    }
}

/// Apart, as the other modules only hand out tables that they have: they need not know why one cannot be made.
#[cfg(feature = "table")]
#[wasm_bindgen]
impl RawTceTable {
    /// An empty table.
    ///
    /// # Errors
    /// The message of [`TableError`](giommu_core::tce_table::TableError) if the geometry is unsound.
    #[wasm_bindgen(constructor)]
    pub fn new(
        liobn: u32,
        bus_offset: u64,
        page_shift: u8,
        entries: u32,
        entry_limit: u32,
    ) -> Result<RawTceTable, JsError> {
        let geometry = Geometry { liobn, bus_offset: Iova(bus_offset), page_shift, entries };
        let table = TceTable::new(geometry, entry_limit)?;
        Ok(Self::from_shared(SharedTable::new(table.into())))
    }
}
