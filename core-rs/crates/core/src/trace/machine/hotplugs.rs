//! Compares what QEMU replayed at a hotplug with what the log tells of the tables.

use super::LogMachine;
use crate::address::{Iova, IovaRange};
use crate::tce_table::{Geometry, Runs};
use crate::trace::hotplug::Comparison;
use crate::trace::interval::IntervalSet;
use crate::trace::parser::Record;
use crate::trace::rebuilt::RebuiltTable;

impl LogMachine {
    #[inline]
    pub(super) fn map_notify(&mut self, record: &Record<'_>) {
        if self.tracker.is_replaying() {
            let [start, last, ..] = record.fields;
            self.tracker.notify(record.text == b"MAP", start, last);
        }
    }

    /// The replay to a newcomer has ended with the line before this one.
    #[cold]
    pub(super) fn end_replay(&mut self, next: Option<&Record<'_>>) {
        let call = next.and_then(|record| self.live_call(record));
        let replayed = self.tracker.end_replay(call);
        let liobns = self.tracker.hotplugs().last().map(|hotplug| hotplug.liobns.clone()).unwrap_or_default();
        let comparison = self.compare_replay(&liobns, &replayed);
        self.tracker.compared(comparison);
        self.stops.hotplug = true;
    }

    fn compare_replay(&self, liobns: &[u32], replayed: &[IovaRange]) -> Comparison {
        // The higher LIOBN hides the lower where windows overlap.
        let mut tables: Vec<&RebuiltTable> =
            self.tables().filter(|table| liobns.contains(&table.geometry().liobn)).collect();
        tables.reverse();
        let mut told: Vec<IntervalSet> = tables.iter().map(|_| IntervalSet::default()).collect();
        let mut comparison = Comparison::default();
        for range in replayed {
            let mut at = Some(range.start().0);
            while let Some(start) = at.filter(|start| *start <= range.last().0) {
                let found = tables
                    .iter()
                    .zip(&mut told)
                    .find(|(table, _)| window(&table.geometry()).is_some_and(|window| window.contains(Iova(start))));
                let end = next_edge(&tables, start).min(range.last().0);
                if let Some((table, told)) = found {
                    let table = table.table();
                    if let (Some(first), Some(last)) = (table.index_of(start), table.index_of(end)) {
                        told.insert(first, last, 0);
                    }
                } else {
                    let pages = (end - start) / 0x1000 + 1;
                    comparison.replayed += pages;
                    comparison.missing += pages;
                }
                at = end.checked_add(1);
            }
        }
        for (table, told) in tables.iter().zip(&told) {
            compare_table(table, told, &mut comparison);
        }
        comparison
    }
}

fn compare_table(rebuilt: &RebuiltTable, told: &IntervalSet, comparison: &mut Comparison) {
    let table = rebuilt.table();
    let mut agreed = 0;
    let mut from = Some(0);
    while let Some((run, last)) = from.and_then(|from| told.next(from)) {
        let mut mapped = 0;
        let mut at = Some(run.first);
        while let Some((first, extent)) = at.and_then(|at| table.next_extent(at, last, Runs::Full)) {
            mapped += u64::from(extent.pages);
            at = first.checked_add(extent.pages);
        }
        let unknown = rebuilt.unknown_in(run.first, last);
        let pages = u64::from(last - run.first) + 1;
        comparison.replayed += pages;
        comparison.unknown += unknown;
        comparison.missing += pages - unknown - mapped;
        agreed += mapped;
        from = last.checked_add(1);
    }
    comparison.agreed += agreed;
    comparison.extra += u64::from(table.mapped()) - agreed;
}

fn window(geometry: &Geometry) -> Option<IovaRange> {
    IovaRange::from_length(geometry.bus_offset, geometry.size_minus_1().ok()?)
}

/// The last address from `start` on for which the same table answers.
fn next_edge(tables: &[&RebuiltTable], start: u64) -> u64 {
    let edges = tables.iter().filter_map(|table| window(&table.geometry())).flat_map(|window| {
        let before = window.start().0.checked_sub(1);
        [before, Some(window.last().0)]
    });
    edges.flatten().filter(|edge| *edge >= start).min().unwrap_or(u64::MAX)
}
