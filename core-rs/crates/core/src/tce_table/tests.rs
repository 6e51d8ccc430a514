//! What the sparse table promises, beside what the property tests in `tests/` compare with a plain model.

use super::*;
use crate::address::{Gpa, Iova};
use crate::extent::Extent;
use crate::perm::Perm;

fn table(entries: u32) -> TceTable {
    TceTable::new(geometry(entries), u32::MAX).expect("sound")
}

fn geometry(entries: u32) -> Geometry {
    Geometry { liobn: 0x8000_0000, bus_offset: Iova(0), page_shift: 12, entries }
}

fn put(table: &mut TceTable, index: u32, value: u64) -> Change {
    let mut change = Change::new();
    table.write(index, Values::Same(value, 1), &mut change).expect("in range");
    change
}

fn extents(table: &TceTable, runs: Runs) -> Vec<(u32, u64, u32)> {
    let mut list = Vec::new();
    let mut from = 0;
    while let Some((first, extent)) = table.next_extent(from, u32::MAX, runs) {
        list.push((first, extent.target.0, extent.pages));
        from = first + extent.pages;
    }
    let mut walked = Vec::new();
    let rest = table.each_extent(0, u32::MAX, runs, |first, extent: Extent| {
        walked.push((first, extent.target.0, extent.pages));
        core::ops::ControlFlow::Continue(())
    });
    assert_eq!(rest, None);
    assert_eq!(list, walked, "both walks tell the same");
    assert_eq!(list.len(), table.count_runs(runs) as usize, "and the count agrees");
    list
}

#[test]
fn neighbours_with_adjoining_targets_are_one_run_also_across_leaves() {
    let mut table = table(4096);
    for index in 500..530 {
        put(&mut table, index, (u64::from(index) << 12) | 3);
    }
    assert_eq!(extents(&table, Runs::Full), [(500, 500 << 12, 30)]);
    assert_eq!(extents(&table, Runs::Call).len(), 30);
    assert_eq!(extents(&table, Runs::Page).len(), 30);
}

#[test]
fn the_first_entry_of_an_absent_leaf_ends_a_run() {
    let mut table = table(4096);
    put(&mut table, 511, 0x1003);
    assert_eq!(extents(&table, Runs::Full), [(511, 0x1000, 1)]);
    put(&mut table, 511, 0);
    assert_eq!(extents(&table, Runs::Full), []);
    assert_eq!(table.directory.numbered().count(), 0, "and the leaf is gone");
}

#[test]
fn a_call_is_one_extent_until_another_call_writes_into_it() {
    let mut table = table(4096);
    let values: Vec<u64> = (0..100).map(|page| page << 12 | 3).collect();
    let mut change = Change::new();
    table.write(510, Values::List(&values), &mut change).expect("in range");
    assert_eq!(extents(&table, Runs::Call), [(510, 0, 100)]);
    put(&mut table, 512, 2 << 12 | 3);
    assert_eq!(extents(&table, Runs::Full), [(510, 0, 100)]);
    assert_eq!(extents(&table, Runs::Call), [(510, 0, 2), (512, 2 << 12, 1), (513, 3 << 12, 97)]);
}

#[test]
fn learned_entries_without_history_are_calls_of_their_own() {
    let mut table = table(1024);
    let mut change = Change::new();
    for index in 510..514 {
        assert!(table.learn(index, u64::from(index) << 12 | 1, true, &mut change));
        assert_eq!(change.maps().len(), 1);
    }
    for index in 514..517 {
        table.learn(index, u64::from(index) << 12 | 1, index == 514, &mut change);
    }
    assert_eq!(extents(&table, Runs::Call).len(), 5);
    assert!(!table.learn(1024, 1, true, &mut change), "beyond the end");
}

#[test]
fn an_in_place_change_is_told_as_unmap_and_map() {
    let mut table = table(16);
    put(&mut table, 3, 0x5003);
    let change = put(&mut table, 3, 0x6001);
    assert_eq!((change.unmaps()[0].target, change.unmaps()[0].perm), (Gpa(0x5000), Perm::READ_WRITE));
    assert_eq!((change.maps()[0].target, change.maps()[0].perm), (Gpa(0x6000), Perm::READ));
}

#[test]
fn ignored_bits_are_stored_and_nobody_is_told() {
    let mut table = table(16);
    put(&mut table, 3, 0x5003);
    let change = put(&mut table, 3, 0x5ff3);
    assert!(change.is_empty());
    assert_eq!(table.get(3), 0x5ff3);
    table.undo(&change);
    assert_eq!(table.get(3), 0x5003);
    assert!(put(&mut table, 4, 0).is_empty(), "clearing an empty entry");
    assert!(put(&mut table, 4, 0xfff0).is_empty(), "bits without permission");
    assert_eq!((table.stored(), table.mapped(), table.get(4)), (2, 1, 0xfff0));
}

#[test]
fn equal_targets_do_not_adjoin() {
    let mut table = table(2048);
    let mut change = Change::new();
    table.write(0, Values::Same(0x7003, 2048), &mut change).expect("in range");
    assert_eq!(change.maps().len(), 2048);
    assert_eq!(table.count_runs(Runs::Full), 2048);
    table.write(0, Values::Same(0, 2048), &mut change).expect("in range");
    assert_eq!(change.unmaps().len(), 2048);
    assert_eq!((table.stored(), table.directory.numbered().count()), (0, 0));
    table.undo(&change);
    assert_eq!(extents(&table, Runs::Full).len(), 2048);
}

#[test]
fn the_entry_limit_counts_entries_that_are_not_zero() {
    let mut table = TceTable::new(geometry(4096), 600).expect("sound");
    let mut change = Change::new();
    table.write(0, Values::Same(0xff0, 600), &mut change).expect("just fits");
    assert_eq!(table.write(1000, Values::Same(1, 1), &mut change), Err(TableError::EntryLimit { limit: 600 }));
    assert!(!table.learn(1000, 1, true, &mut change));
    table.write(100, Values::Same(3, 500), &mut change).expect("replaces");
    assert_eq!(table.write(101, Values::Same(3, 500), &mut change), Err(TableError::EntryLimit { limit: 600 }));
    assert!(change.is_empty());
    table.write(0, Values::Same(0, 1), &mut change).expect("clears");
    table.write(4095, Values::Same(3, 1), &mut change).expect("room again");
    assert_eq!(table.stored(), 600);
}

#[test]
fn a_target_run_never_passes_the_top_of_its_space() {
    let mut table = table(16);
    put(&mut table, 0, 0xffff_ffff_ffff_f003);
    put(&mut table, 1, 0x0000_0000_0000_0003);
    assert_eq!(extents(&table, Runs::Full).len(), 2);
}

#[test]
fn geometry_is_refused_where_it_cannot_be() {
    let refused = |bus_offset, page_shift, entries| {
        TceTable::new(Geometry { liobn: 0, bus_offset: Iova(bus_offset), page_shift, entries }, 0).err()
    };
    assert_eq!(refused(0, 64, 1), Some(TableError::PageShift(64)));
    assert_eq!(refused(0, 12, 0), Some(TableError::NoEntries));
    assert_eq!(refused(0, 63, 2), None);
    assert_eq!(refused(0, 63, 3), Some(TableError::PastTheTop));
    assert_eq!(refused(1, 63, 2), Some(TableError::PastTheTop));
    assert_eq!(refused(u64::MAX - 0xfff, 12, 1), None);
}

#[test]
fn every_page_shift_works() {
    for page_shift in 0..=63 {
        let geometry = Geometry { liobn: 0, bus_offset: Iova(0), page_shift, entries: 2 };
        let mut table = TceTable::new(geometry, u32::MAX).expect("sound");
        let change = put(&mut table, 1, u64::MAX);
        let start = 1u64 << page_shift;
        assert_eq!(change.maps()[0].iova, Iova(start));
        assert_eq!(change.maps()[0].range().last(), Iova(start + (start - 1)));
        assert_eq!(table.index_of(start), Some(1));
        assert_eq!(table.translate(start - 1).map(|found| found.perm), Some(Perm::NONE));
        let found = table.translate(start).expect("inside");
        assert_eq!((found.perm, found.target), (Perm::READ_WRITE, Gpa(u64::MAX - (start - 1))));
        if page_shift < 63 {
            assert_eq!(table.translate(start << 1), None);
        }
    }
}

#[test]
fn a_bus_address_below_the_window_is_outside() {
    let geometry = Geometry { liobn: 0, bus_offset: Iova(1 << 59), page_shift: 16, entries: 4 };
    let table = TceTable::new(geometry, u32::MAX).expect("sound");
    assert_eq!(table.index_of(0), None);
    assert_eq!(table.index_of((1 << 59) - 1), None);
    assert_eq!(table.index_of((1 << 59) + 0x3_ffff), Some(3));
    assert_eq!(table.index_of((1 << 59) + 0x4_0000), None);
}

#[test]
fn an_empty_table_of_2_to_the_24_entries_is_small() {
    assert!(table(1 << 24).memory_bytes() < 160 << 10);
    assert!(table(u32::MAX).memory_bytes() < 160 << 10);
}

#[test]
fn a_dense_table_takes_8_3_bytes_per_entry() {
    let mut table = table(1 << 20);
    let mut change = Change::quiet();
    table.write(0, Values::Same(3, 1 << 20), &mut change).expect("in range");
    assert!(table.memory_bytes() as f64 / f64::from(1 << 20) < 8.3);
}

#[test]
fn memory_comes_back_when_entries_are_cleared() {
    let mut table = table(1 << 24);
    let empty = table.memory_bytes();
    let mut change = Change::quiet();
    table.write(5, Values::Same(3, 1 << 20), &mut change).expect("in range");
    assert!(table.memory_bytes() > 8 << 20);
    table.write(5, Values::Same(0, 1 << 20), &mut change).expect("in range");
    assert!(table.memory_bytes() < empty + (64 << 10));
    table.clear_all();
    assert!(table.memory_bytes() <= empty + (1 << 10));
}

#[test]
fn clearing_a_sparse_table_costs_what_is_there() {
    let mut table = TceTable::new(geometry(1 << 31), u32::MAX).expect("sound");
    for index in [0, 511, 512, (1 << 19) - 1, (1 << 31) - 1] {
        put(&mut table, index, 0x1003);
    }
    let before = extents(&table, Runs::Full);
    let mut change = Change::new();
    let start = std::time::Instant::now();
    table.write(0, Values::Same(0, 1 << 31), &mut change).expect("in range");
    assert!(start.elapsed().as_millis() < 100);
    assert_eq!(change.unmaps().len(), 5);
    assert_eq!((table.stored(), extents(&table, Runs::Full)), (0, vec![]));
    table.undo(&change);
    assert_eq!(extents(&table, Runs::Full), before);
}
