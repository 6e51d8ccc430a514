//! Compares what QEMU replayed at a hotplug with what the log tells of the tables.

use core::cmp::Reverse;
use std::collections::BinaryHeap;

use super::{Due, LogMachine};
use crate::address::{Iova, IovaRange};
use crate::tce_table::{Geometry, Runs};
use crate::trace::hotplug::Comparison;
use crate::trace::parser::Record;
use crate::trace::rebuilt::RebuiltTable;

impl LogMachine {
    pub(super) fn map_notify(&mut self, text: &[u8], start: u64, last: u64) {
        if self.tracker.is_replaying() {
            self.tracker.notify(text == b"MAP", start, last);
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
        self.due.set(Due::HOTPLUG, true);
    }

    #[inline(never)]
    fn compare_replay(&self, liobns: &[u32], replayed: &[IovaRange]) -> Comparison {
        let mut told = Vec::new();
        for table in self.tables() {
            if liobns.contains(&table.geometry().liobn) {
                told.push(Told { table, ranges: BinaryHeap::new() });
            }
        }
        let mut comparison = Comparison::default();
        for range in replayed {
            let mut at = Some(range.start().0);
            while let Some(start) = at.filter(|start| *start <= range.last().0) {
                let (found, last) = table_at(&mut told, start);
                let last = last.min(range.last().0);
                if let Some(told) = found {
                    told.insert(start, last);
                } else {
                    let pages = (last - start) / 0x1000 + 1;
                    comparison.replayed += pages;
                    comparison.missing += pages;
                }
                at = last.checked_add(1);
            }
        }
        for one in told {
            compare_table(one, &mut comparison);
        }
        comparison
    }
}

/// What QEMU told the newcomer of a table.
struct Told<'a> {
    table: &'a RebuiltTable,
    /// First and last entries, the lowest on top.
    ranges: BinaryHeap<Reverse<(u32, u32)>>,
}

impl Told<'_> {
    fn insert(&mut self, start: u64, last: u64) {
        let table = self.table.table();
        if let (Some(first), Some(last)) = (table.index_of(start), table.index_of(last)) {
            self.ranges.push(Reverse((first, last)));
        }
    }
}

/// The table that answers at an address, and the last address from there on where the same one or none does.
///
/// The higher LIOBN hides the lower where windows overlap.
#[inline(never)]
fn table_at<'a, 'b>(told: &'b mut [Told<'a>], start: u64) -> (Option<&'b mut Told<'a>>, u64) {
    let mut found = None;
    let mut edge = u64::MAX;
    for one in told.iter_mut() {
        let Some(window) = window(&one.table.geometry()) else { continue };
        if window.contains(Iova(start)) {
            found = Some(one);
            edge = edge.min(window.last().0);
        } else if window.start().0 > start {
            edge = edge.min(window.start().0 - 1);
        }
    }
    (found, edge)
}

#[inline(never)]
fn compare_table(one: Told<'_>, comparison: &mut Comparison) {
    let Told { table: rebuilt, mut ranges } = one;
    let table = rebuilt.table();
    let mut agreed = 0;
    let mut from = Some(0);
    while let Some(Reverse((first, last))) = ranges.pop() {
        // An entry that was told of twice counts once.
        let Some(first) = from.map(|from| first.max(from)).filter(|first| *first <= last) else { continue };
        from = last.checked_add(1);
        let mut mapped = 0;
        let mut at = Some(first);
        while let Some((first, extent)) = at.and_then(|at| table.next_extent(at, last, Runs::Full)) {
            mapped += u64::from(extent.pages);
            at = first.checked_add(extent.pages);
        }
        let unknown = rebuilt.unknown_in(first, last);
        let pages = u64::from(last - first) + 1;
        comparison.replayed += pages;
        comparison.unknown += unknown;
        // An entry may be mapped and yet unknown where a change was taken back.
        comparison.missing += pages.saturating_sub(unknown + mapped);
        agreed += mapped;
    }
    comparison.agreed += agreed;
    comparison.extra += u64::from(table.mapped()) - agreed;
}

fn window(geometry: &Geometry) -> Option<IovaRange> {
    IovaRange::from_length(geometry.bus_offset, geometry.size_minus_1().ok()?)
}
