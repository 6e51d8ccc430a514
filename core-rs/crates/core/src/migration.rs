//! Reads the TCE tables out of QEMU's migration streams, writes them as QEMU does, and compares them with tables that a
//! log tells of.

mod compare;
mod section;
mod section_writer;
#[cfg(test)]
mod tests;

use crate::tce_table::{Geometry, SharedTable};
use section::{HEADER, Progress, Section};

pub use compare::{StateComparison, StateDifference, compare};
pub use section_writer::SectionWriter;

/// How a migration stream begins.
pub const MAGIC: &[u8; 4] = b"QEVM";

/// What stands before the name of a section, in bytes: the section's type and its number.
const BEFORE_NAME: usize = 5;
/// The most sections that are read at once. Only noise that looks like sections makes more than one.
const SECTIONS_MAX: usize = 16;
/// The most tables of one stream.
const TABLES_MAX: usize = 1024;

/// One table as a stream holds it.
#[derive(Clone, Debug)]
pub struct StreamTable {
    /// The LIOBN.
    pub liobn: u32,
    /// The number of its section, where it comes from a stream.
    pub section_id: Option<u32>,
    /// Its entries; none for a window that is not in use.
    pub table: Option<SharedTable>,
    /// Whether a VIO device bypasses it.
    pub bypass: bool,
    /// Whether it holds a default window, where the stream says so (version 3).
    pub default_window: Option<bool>,
}

impl StreamTable {
    /// Where the table lies; `None` for a window that is not in use.
    #[must_use]
    pub fn geometry(&self) -> Option<Geometry> {
        self.table.as_ref().map(|table| table.borrow().geometry())
    }
}

/// Finds the `spapr_iommu` sections of a migration stream that comes in pieces of any size.
///
/// A stream says how long its sections are nowhere but in the code that wrote it, so sections are found by their header
/// and proven by what must be equal in them: the LIOBN and the instance, the number of entries and where the footer
/// stands, the footer's number and the header's. What is not proven is not taken. Memory holds the tables, not the stream.
///
/// An example stands with [`SectionWriter`].
#[derive(Debug, Default)]
pub struct StreamReader {
    tables: Vec<StreamTable>,
    open: Vec<Section>,
    /// The position in the stream of the first byte of the input.
    base: u64,
    /// Where the next name may begin.
    search: u64,
    unsound: u64,
    cut: Vec<u32>,
}

impl StreamReader {
    /// A reader that has read nothing.
    #[must_use]
    pub fn new() -> Self {
        Self { search: BEFORE_NAME as u64, ..Self::default() }
    }

    /// The tables found so far, in the order of LIOBNs. Of two with one LIOBN the later counts.
    #[must_use]
    pub fn tables(&self) -> &[StreamTable] {
        &self.tables
    }

    /// How many sections began like one of a table and were none.
    #[must_use]
    pub fn unsound(&self) -> u64 {
        self.unsound
    }

    /// The LIOBNs of the sections that were not at their end when the stream was.
    #[must_use]
    pub fn cut(&self) -> &[u32] {
        &self.cut
    }

    /// Bytes read.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.base
    }

    /// Reads on. Returns how many bytes are done with: the rest must stand before the next bytes in the next call.
    /// `last` says that none follow.
    pub fn read(&mut self, input: &[u8], last: bool) -> usize {
        self.find_sections(input);
        let mut keep = self.search.saturating_sub(BEFORE_NAME as u64);
        let (mut done, mut at) = (Vec::new(), 0);
        while let Some(section) = self.open.get_mut(at) {
            let from = usize::try_from(section.position().saturating_sub(self.base)).unwrap_or(usize::MAX);
            match section.read(input.get(from..).unwrap_or_default()) {
                Progress::More => {
                    keep = keep.min(section.position());
                    at += 1;
                    continue;
                }
                Progress::Unsound => self.unsound += 1,
                Progress::Done(table) => done.push(table),
            }
            self.open.remove(at);
        }
        for table in done {
            self.take(table);
        }
        if last {
            self.cut.extend(self.open.drain(..).map(|section| section.liobn()));
            self.base += input.len() as u64;
            return input.len();
        }
        let used = usize::try_from(keep.saturating_sub(self.base)).unwrap_or(0).min(input.len());
        self.base += used as u64;
        used
    }

    fn take(&mut self, table: StreamTable) {
        match self.tables.binary_search_by_key(&table.liobn, |other| other.liobn) {
            Ok(at) => {
                if let Some(other) = self.tables.get_mut(at) {
                    *other = table;
                }
            }
            Err(at) if self.tables.len() < TABLES_MAX => self.tables.insert(at, table),
            Err(_) => self.unsound += 1,
        }
    }

    /// Looks for the headers of sections, and remembers where to look next.
    fn find_sections(&mut self, input: &[u8]) {
        loop {
            let from = usize::try_from(self.search.saturating_sub(self.base)).unwrap_or(usize::MAX);
            let Some(rest) = input.get(from..) else { return };
            let Some(found) = crate::trace::find(rest, section::NAME_LENGTH) else {
                self.search = self.base + input.len().max(BEFORE_NAME) as u64;
                return;
            };
            let name = from + found;
            self.search = self.base + name as u64;
            let start = name.saturating_sub(BEFORE_NAME);
            let Some(header) = input.get(start..).and_then(|rest| rest.first_chunk::<HEADER>()) else { return };
            if let Some(section) = Section::begin(header, self.base + (start + HEADER) as u64) {
                if self.open.len() < SECTIONS_MAX {
                    self.open.push(section);
                } else {
                    self.unsound += 1;
                }
            }
            self.search += 1;
        }
    }
}
