//! Writes a `spapr_iommu` section of a migration stream (QEMU, `hw/ppc/spapr_iommu.c` and `migration/savevm.c`).

use core::array;
use std::vec;

use super::StreamTable;
use super::section::{FOOTER, FULL, NAME, NAME_LENGTH, SUBSECTION, SUBSECTION_NAME};
use crate::tce_table::SharedTable;

/// Bytes of an entry.
const ENTRY: usize = 8;

/// Writes the section of one table in pieces, byte for byte as QEMU does.
///
/// A section holds 8 bytes for every entry that there could be, so that it is never made as a whole. Its version is 3,
/// or 2 for a table of which nobody knows whether it holds a default window: it was read from a section of that
/// version. The table must not change meanwhile.
///
/// ```
/// use giommu_core::migration::{SectionWriter, StreamReader};
/// use giommu_core::spapr::{PhbConfig, SpaprMachine};
///
/// let mut machine = SpaprMachine::new(1 << 20);
/// machine.add_phb(PhbConfig::new(0)).expect("the first bridge");
/// let mut stream = b"QEVM\\0\\0\\0\\x03".to_vec();
/// for (id, table) in (7..).zip(machine.stream_tables()) {
///     let mut writer = SectionWriter::new(id, &table);
///     while writer.next(&mut stream, 4096) {}
/// }
/// let mut reader = StreamReader::new();
/// reader.read(&stream, true);
/// assert_eq!(reader.tables().len(), 2);
/// assert_eq!(reader.tables()[1].section_id, Some(8));
/// ```
#[derive(Debug)]
pub struct SectionWriter {
    head: vec::IntoIter<u8>,
    table: Option<SharedTable>,
    entries: u32,
    /// The entry that comes next.
    next: u32,
    /// What is left of an entry that did not fit the piece before.
    split: array::IntoIter<u8, ENTRY>,
    tail: vec::IntoIter<u8>,
}

impl SectionWriter {
    /// A writer at the start of the section of a table. `id` is the section's number in its stream; one that was read
    /// has it in [`StreamTable::section_id`].
    ///
    /// # Panics
    /// If the caller itself is changing the table meanwhile.
    #[must_use]
    pub fn new(id: u32, of: &StreamTable) -> Self {
        let window = of.geometry();
        let entries = window.map_or(0, |window| window.entries);
        let version: u32 = if of.default_window.is_some() { 3 } else { 2 };
        let mut head = vec![FULL];
        put(&mut head, &id.to_be_bytes());
        put(&mut head, &[NAME_LENGTH]);
        put(&mut head, NAME);
        for field in [of.liobn, version, of.liobn, entries] {
            put(&mut head, &field.to_be_bytes());
        }
        put(&mut head, &[of.bypass.into()]);
        let mut tail = Vec::new();
        if let Some(default) = of.default_window {
            put(&mut tail, &[default.into()]);
        }
        // QEMU clears the place of a window that is not in use, and so tells it.
        let (bus_offset, page_shift) = window.map_or((0, 0), |window| (window.bus_offset.0, window.page_shift));
        if bus_offset != 0 || page_shift != 12 {
            put(&mut tail, &[SUBSECTION]);
            put(&mut tail, SUBSECTION_NAME);
            put(&mut tail, &1u32.to_be_bytes());
            put(&mut tail, &bus_offset.to_be_bytes());
            put(&mut tail, &u32::from(page_shift).to_be_bytes());
        }
        put(&mut tail, &[FOOTER]);
        put(&mut tail, &id.to_be_bytes());
        let mut split = [0; ENTRY].into_iter();
        split.by_ref().for_each(drop);
        Self { head: head.into_iter(), table: of.table.clone(), entries, next: 0, split, tail: tail.into_iter() }
    }

    /// Appends the next bytes, `max` of them at most; returns whether there are more.
    ///
    /// # Panics
    /// If the caller itself is changing the table meanwhile.
    pub fn next(&mut self, into: &mut Vec<u8>, max: usize) -> bool {
        let end = into.len().saturating_add(max);
        give(&mut self.head, into, end);
        self.give_entries(into, end);
        if self.next >= self.entries && self.split.len() == 0 {
            give(&mut self.tail, into, end);
        }
        self.tail.len() != 0
    }

    /// Appends entries until there are `end` bytes.
    fn give_entries(&mut self, into: &mut Vec<u8>, end: usize) {
        into.extend(self.split.by_ref().take(end - into.len()));
        let Some(table) = &self.table else { return };
        let table = table.borrow();
        while self.next < self.entries && into.len() < end {
            let stored = table.next_stored(self.next).unwrap_or(self.entries);
            let fitting = u32::try_from((end - into.len()) / ENTRY).unwrap_or(u32::MAX);
            let zeros = (stored - self.next).min(fitting);
            if zeros > 0 {
                into.resize(into.len() + zeros as usize * ENTRY, 0);
                self.next += zeros;
                continue;
            }
            self.split = table.get(self.next).to_be_bytes().into_iter();
            into.extend(self.split.by_ref().take(end - into.len()));
            self.next += 1;
        }
    }
}

/// Appends a field. Not where it is called: there are many fields, and none is in a hurry.
#[inline(never)]
fn put(bytes: &mut Vec<u8>, field: &[u8]) {
    bytes.extend_from_slice(field);
}

/// Appends what is left of `from` until there are `end` bytes.
#[inline(never)]
fn give(from: &mut vec::IntoIter<u8>, into: &mut Vec<u8>, end: usize) {
    into.extend(from.take(end - into.len()));
}
