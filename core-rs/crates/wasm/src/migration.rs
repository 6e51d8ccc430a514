//! Migration streams as JavaScript feeds them.

use giommu_core::migration::StreamReader;
use giommu_core::tce_table::SharedTable;
use wasm_bindgen::prelude::*;

use crate::buffer::Buffer;
use crate::table::RawTceTable;

/// A handle on a table, which shares it. Not where it is called, as it is large.
#[inline(never)]
pub(crate) fn handle(table: &SharedTable) -> RawTceTable {
    RawTceTable::from_shared(table.clone())
}

/// Finds tables in a migration stream.
#[wasm_bindgen]
#[derive(Debug)]
pub struct RawMigrationReader {
    reader: StreamReader,
    buffer: Buffer,
}

impl RawMigrationReader {
    pub(crate) fn reader(&self) -> &StreamReader {
        &self.reader
    }
}

impl Default for RawMigrationReader {
    fn default() -> Self {
        Self::new()
    }
}

#[wasm_bindgen]
impl RawMigrationReader {
    /// A reader that has read nothing.
    #[wasm_bindgen(constructor)]
    #[must_use]
    pub fn new() -> Self {
        Self { reader: StreamReader::new(), buffer: Buffer::default() }
    }

    /// Makes room for bytes; returns where JavaScript puts them.
    pub fn room(&mut self, length: u32) -> u32 {
        self.buffer.room(length)
    }

    /// Reads on with the bytes that were put there.
    pub fn feed(&mut self, length: u32, last: bool) {
        self.buffer.fill(length, last);
        let (bytes, at, last) = self.buffer.parts();
        *at += self.reader.read(bytes.get(*at..).unwrap_or_default(), last);
    }

    /// Bytes read; sections that began like a table's and were none; sections that the end cut.
    pub fn counts(&self) -> Vec<u64> {
        vec![self.reader.offset(), self.reader.unsound(), self.reader.cut().len() as u64]
    }

    /// The LIOBNs of the sections that the end cut.
    pub fn cut(&self) -> Vec<u32> {
        self.reader.cut().to_vec()
    }

    /// Eight numbers for each table: LIOBN, entries (0: a window that is not in use), bus offset, page shift, mapped,
    /// stored, whether bypassed, whether a default window (2: the stream does not say).
    pub fn tables(&self) -> Vec<u64> {
        let mut list = Vec::new();
        for one in self.reader.tables() {
            let (mut place, mut counts) = ([0; 3], [0; 2]);
            if let Some(table) = &one.table {
                let table = table.borrow();
                let geometry = table.geometry();
                place = [u64::from(geometry.entries), geometry.bus_offset.0, u64::from(geometry.page_shift)];
                counts = [u64::from(table.mapped()), u64::from(table.stored())];
            }
            list.push(u64::from(one.liobn));
            list.extend(place);
            list.extend(counts);
            list.push(u64::from(one.bypass));
            list.push(one.default_window.map_or(2, u64::from));
        }
        list
    }

    /// A handle on a table, which shares it.
    pub fn table(&self, liobn: u32) -> Option<RawTceTable> {
        let found = self.reader.tables().iter().find(|table| table.liobn == liobn)?;
        found.table.as_ref().map(handle)
    }
}
