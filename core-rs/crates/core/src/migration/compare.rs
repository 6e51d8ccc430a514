//! Compares the tables that a log tells of with those of a migration stream.

use super::{StreamReader, StreamTable};
use crate::tce_table::{Geometry, TceTable};
use crate::trace::findings::First;
use crate::trace::machine::LogMachine;
use crate::trace::rebuilt::{GeometrySource, Knowledge, RebuiltTable};

/// How a table of a stream compares with the one that a log tells of.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct StateComparison {
    /// The table.
    pub liobn: u32,
    /// How many entries it has in the stream.
    pub entries: u32,
    /// Entries that are the same: in page and permission where no more is known, in all bits otherwise.
    pub agreed: u64,
    /// Entries that are not.
    pub differing: u64,
    /// Entries that the log does not tell.
    pub unknown: u64,
    /// The first entries that differ.
    pub differences: First<StateDifference>,
}

/// An entry that differs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub struct StateDifference {
    /// Its bus address.
    pub address: u64,
    /// What the log tells; only page and permission count if no more is known.
    pub log: u64,
    /// What the stream holds.
    pub stream: u64,
}

/// Compares every table of a stream with the log's, in the order of LIOBNs.
#[must_use]
pub fn compare(machine: &LogMachine, stream: &StreamReader) -> Vec<StateComparison> {
    let tables = stream.tables().iter();
    tables.map(|table| compare_one(machine.table(table.liobn), machine.is_gone(table.liobn), table)).collect()
}

fn compare_one(ours: Option<&RebuiltTable>, gone: bool, theirs: &StreamTable) -> StateComparison {
    let mut comparison = StateComparison {
        liobn: theirs.liobn,
        entries: 0,
        agreed: 0,
        differing: 0,
        unknown: 0,
        differences: First::default(),
    };
    let Some(table) = &theirs.table else {
        // A window that is not in use holds nothing.
        if let Some(ours) = ours {
            comparison.differing = u64::from(ours.table().mapped());
        }
        return comparison;
    };
    let table = table.borrow();
    let geometry = table.geometry();
    comparison.entries = geometry.entries;
    let Some(ours) = ours else {
        if gone {
            for index in 0..geometry.entries {
                comparison.count(&geometry, index, Knowledge::Value(0), table.get(index));
            }
        } else {
            comparison.unknown = u64::from(geometry.entries);
        }
        return comparison;
    };
    compare_tables(ours, &table, &mut comparison);
    comparison
}

fn compare_tables(ours: &RebuiltTable, theirs: &TceTable, comparison: &mut StateComparison) {
    let (geometry, expected) = (theirs.geometry(), ours.geometry());
    let same_place = geometry.bus_offset == expected.bus_offset && geometry.page_shift == expected.page_shift;
    let certain = ours.source() >= GeometrySource::Given;
    for index in 0..geometry.entries {
        let known = if same_place && index < expected.entries {
            ours.knowledge(index)
        } else if certain {
            Knowledge::Value(0)
        } else {
            Knowledge::Unknown
        };
        comparison.count(&geometry, index, known, theirs.get(index));
    }
}

impl StateComparison {
    fn count(&mut self, geometry: &Geometry, index: u32, known: Knowledge, stream: u64) {
        let page = (1u64 << geometry.page_shift) - 1;
        let (log, mask) = match known {
            Knowledge::Unknown => {
                self.unknown += 1;
                return;
            }
            Knowledge::Page(value) => (value, !page | 3),
            Knowledge::Value(value) => (value, u64::MAX),
        };
        if (log ^ stream) & mask == 0 {
            self.agreed += 1;
            return;
        }
        self.differing += 1;
        let address = geometry.bus_offset.0.wrapping_add(u64::from(index) << geometry.page_shift);
        self.differences.push(StateDifference { address, log, stream });
    }
}
