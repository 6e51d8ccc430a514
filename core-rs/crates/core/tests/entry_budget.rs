//! A budget counts exactly what its tables store, whatever becomes of them, and refuses exactly what does not fit.

#![cfg(test)]

use std::sync::Arc;

use giommu_core::address::Iova;
use giommu_core::hcall::{self, H_NOT_ENOUGH_RESOURCES};
use giommu_core::tce_table::{Change, EntryBudget, Geometry, TableError, TceTable, Values};
use proptest::prelude::*;

const LIMIT: u32 = 900;
const ENTRIES: u32 = 2048;

fn geometry() -> Geometry {
    Geometry { liobn: 1, bus_offset: Iova(0), page_shift: 12, entries: ENTRIES }
}

fn empty() -> TceTable {
    TceTable::new(geometry(), u32::MAX).expect("sound")
}

#[derive(Clone, Debug)]
enum Op {
    Put(u32, u64),
    Learn(u32, u64, bool),
    Same(u32, u32, u64),
    List(u32, Vec<u64>),
    Undo,
    ClearAll,
    ClearRange(u32, u32),
    ClearChanged,
    Clone(usize),
    Replace(usize),
    Drop,
    Join,
    JoinOther,
    Leave,
}

fn op() -> impl Strategy<Value = Op> {
    let index = || prop_oneof![0..ENTRIES, 500u32..530];
    let value = || prop_oneof![1 => Just(0u64), 3 => (1u64..40).prop_map(|page| page << 12 | 3), 1 => any::<u64>()];
    let list = prop::collection::vec(value(), 1..400);
    prop_oneof![
        4 => (index(), value()).prop_map(|(index, value)| Op::Put(index, value)),
        1 => (index(), value(), any::<bool>()).prop_map(|(index, value, call)| Op::Learn(index, value, call)),
        4 => (index(), 1u32..1200, value()).prop_map(|(index, count, value)| Op::Same(index, count, value)),
        3 => (index(), list).prop_map(|(index, list)| Op::List(index, list)),
        4 => Just(Op::Undo),
        1 => Just(Op::ClearAll),
        1 => (index(), any::<u32>()).prop_map(|(index, count)| Op::ClearRange(index, count)),
        1 => Just(Op::ClearChanged),
        1 => (0usize..3).prop_map(Op::Clone),
        2 => (0usize..3).prop_map(Op::Replace),
        1 => Just(Op::Drop),
        2 => Just(Op::Join),
        1 => Just(Op::JoinOther),
        1 => Just(Op::Leave),
    ]
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Member {
    Nowhere,
    First,
    Second,
}

/// A table, the budget that it is part of, and whether its newest write can be undone.
struct One {
    table: TceTable,
    member: Member,
    change: Change,
    undoable: bool,
}

impl One {
    fn new() -> Self {
        Self { table: empty(), member: Member::Nowhere, change: Change::new(), undoable: false }
    }

    fn values(&self) -> Vec<u64> {
        (0..ENTRIES).map(|index| self.table.get(index)).collect()
    }
}

fn stored(tables: &[One], member: Member) -> u64 {
    tables.iter().filter(|one| one.member == member).map(|one| u64::from(one.table.stored())).sum()
}

/// Writes, and checks that it was refused exactly if it did not fit.
fn write(tables: &mut [One], at: usize, first: u32, values: &[u64], call: impl FnOnce(&mut One) -> bool) {
    let member = tables[at].member;
    let before = tables[at].values();
    let olds = &before[first as usize..first as usize + values.len()];
    let count = |values: &[u64]| values.iter().filter(|value| **value != 0).count() as u64;
    let (old, new) = (count(olds), count(values));
    let fits = member == Member::Nowhere || new <= old || stored(tables, member) + new - old <= u64::from(LIMIT);
    assert_eq!(call(&mut tables[at]), fits);
    tables[at].undoable = fits;
    let mut expected = before;
    if fits {
        expected[first as usize..first as usize + values.len()].copy_from_slice(values);
    }
    assert!(tables[at].values() == expected);
}

fn step(tables: &mut [One], budgets: &[Arc<EntryBudget>; 2], at: usize, op: &Op) {
    let fit = |index: u32, count: u32| count.min(ENTRIES - index);
    let refused = |result: Result<(), TableError>| match result {
        Ok(()) => true,
        Err(error) => {
            assert_eq!(error, TableError::EntryLimit { limit: LIMIT });
            false
        }
    };
    match op {
        Op::Put(index, value) => {
            write(tables, at, *index, &[*value], |one| one.table.put(*index, *value, &mut one.change));
        }
        Op::Learn(index, value, call) => {
            write(tables, at, *index, &[*value], |one| one.table.learn(*index, *value, *call, &mut one.change));
        }
        Op::Same(index, count, value) => {
            let count = fit(*index, *count);
            write(tables, at, *index, &vec![*value; count as usize], |one| {
                refused(one.table.write(*index, Values::Same(*value, count), &mut one.change))
            });
        }
        Op::List(index, list) => {
            let list = &list[..fit(*index, u32::try_from(list.len()).expect("short")) as usize];
            write(tables, at, *index, list, |one| {
                refused(one.table.write(*index, Values::List(list), &mut one.change))
            });
        }
        Op::Undo => {
            let one = &mut tables[at];
            if std::mem::take(&mut one.undoable) {
                one.table.undo(&one.change);
            }
        }
        Op::ClearAll | Op::ClearRange(..) | Op::ClearChanged => {
            let one = &mut tables[at];
            match op {
                Op::ClearRange(index, count) => one.table.clear_range(*index, *count),
                Op::ClearChanged => one.table.clear_changed(&one.change),
                _ => one.table.clear_all(),
            }
            one.undoable = false;
        }
        Op::Clone(from) => {
            let from = from % tables.len();
            let table = tables[from].table.clone();
            tables[at] = One { table, ..One::new() };
        }
        Op::Replace(from) => {
            let (values, with) = (tables[*from].values(), tables[*from].table.clone());
            write(tables, at, 0, &values, |one| refused(one.table.replace(with, &mut one.change)));
        }
        Op::Drop => tables[at] = One::new(),
        Op::Join | Op::JoinOther | Op::Leave => {
            let member = match op {
                Op::Join => Member::First,
                Op::JoinOther => Member::Second,
                _ => Member::Nowhere,
            };
            let budget = [Member::First, Member::Second].iter().position(|one| *one == member);
            tables[at].table.share(budget.map(|at| Arc::clone(&budgets[at])));
            tables[at].member = member;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_budget_counts_what_its_tables_store(ops in prop::collection::vec((0usize..3, op()), 1..80)) {
        let budgets = [EntryBudget::new(LIMIT), EntryBudget::new(LIMIT)];
        let mut tables = vec![One::new(), One::new(), One::new()];
        for (at, budget) in [0, 1, 0].into_iter().enumerate() {
            step(&mut tables, &budgets, at, if budget == 0 { &Op::Join } else { &Op::JoinOther });
        }
        for (at, op) in &ops {
            step(&mut tables, &budgets, *at, op);
            prop_assert_eq!(budgets[0].stored(), stored(&tables, Member::First));
            prop_assert_eq!(budgets[1].stored(), stored(&tables, Member::Second));
        }
        drop(tables);
        prop_assert_eq!(budgets.map(|budget| budget.stored()), [0, 0]);
    }
}

#[test]
fn an_undo_is_never_refused() {
    let budget = EntryBudget::new(2);
    let (mut one, mut other) = (empty(), empty());
    one.share(Some(Arc::clone(&budget)));
    other.share(Some(Arc::clone(&budget)));
    let (mut change, mut more) = (Change::new(), Change::new());
    assert!(one.put(0, 3, &mut change) && one.put(1, 3, &mut change));
    assert!(one.put(0, 0, &mut change) && other.put(9, 3, &mut more));
    one.undo(&change);
    assert_eq!((budget.stored(), budget.limit(), one.get(0)), (3, 2, 3));
    assert!(!other.put(8, 3, &mut more));
    assert!(other.put(9, 0x5003, &mut more), "an entry that is stored may change");
    assert!(one.put(1, 0, &mut change) && !one.put(1, 3, &mut change));
}

#[test]
fn a_table_that_takes_the_place_of_another_counts_once() {
    let budget = EntryBudget::new(3);
    let (mut one, mut with) = (empty(), empty());
    let mut change = Change::new();
    for (table, count) in [(&mut one, 1), (&mut with, 2)] {
        table.share(Some(Arc::clone(&budget)));
        table.write(0, Values::Same(3, count), &mut change).expect("room");
    }
    one.replace(with, &mut change).expect("room, as the other leaves");
    assert_eq!((one.stored(), budget.stored()), (2, 2));
    one.undo(&change);
    assert_eq!((one.stored(), budget.stored()), (1, 1));
    let mut full = empty();
    full.write(0, Values::Same(3, 4), &mut change).expect("no budget");
    assert_eq!(one.replace(full, &mut change), Err(TableError::EntryLimit { limit: 3 }));
    assert!(change.is_empty());
    let elsewhere = TceTable::new(Geometry { bus_offset: Iova(4096), ..geometry() }, u32::MAX).expect("sound");
    assert_eq!(one.replace(elsewhere, &mut change), Err(TableError::OtherGeometry));
    assert_eq!((one.stored(), budget.stored()), (1, 1));
}

#[test]
fn the_own_limit_of_a_table_holds_beside_its_budget() {
    let budget = EntryBudget::new(3);
    let mut table = TceTable::new(geometry(), 2).expect("sound");
    table.share(Some(Arc::clone(&budget)));
    let mut change = Change::new();
    let refused = |table: &mut TceTable, count, change: &mut Change| table.write(0, Values::Same(3, count), change);
    assert_eq!(refused(&mut table, 3, &mut change), Err(TableError::EntryLimit { limit: 2 }));
    let mut other = empty();
    other.share(Some(Arc::clone(&budget)));
    other.write(0, Values::Same(3, 2), &mut change).expect("room");
    assert_eq!(refused(&mut table, 2, &mut change), Err(TableError::EntryLimit { limit: 3 }));
    assert_eq!(hcall::h_stuff_tce(&mut table, 0, 3, 2, &mut change).ret, H_NOT_ENOUGH_RESOURCES);
    assert_eq!((table.stored(), budget.stored()), (0, 2));
}

#[test]
fn the_largest_tables_count_without_overflow() {
    // A budget counts in 64 bits: two tables of 2^32 - 1 entries each could be full.
    let budget = EntryBudget::new(u32::MAX);
    let geometry = Geometry { entries: u32::MAX, ..geometry() };
    let mut tables: Vec<_> = (0..3).map(|_| TceTable::new(geometry, u32::MAX).expect("sound")).collect();
    let mut change = Change::quiet();
    for table in &mut tables {
        table.share(Some(Arc::clone(&budget)));
        for index in [0, u32::MAX - 1] {
            assert!(table.put(index, 3, &mut change));
        }
    }
    assert_eq!(budget.stored(), 6);
    for table in &mut tables {
        table.clear_range(0, u32::MAX);
    }
    assert_eq!(budget.stored(), 0);
}
