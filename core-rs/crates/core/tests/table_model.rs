//! The sparse table against plain models: random calls, learned entries, undo and walks.
//!
//! A failure prints its seed and shrinks to a short list of operations; it then becomes a test of its own below.

#![cfg(test)]

use core::ops::ControlFlow;
use std::collections::{BTreeMap, BTreeSet};

use giommu_core::address::{Gpa, Iova};
use giommu_core::extent::Extent;
use giommu_core::perm::Perm;
use giommu_core::tce_table::{Change, Geometry, Runs, TceTable, Values};
use proptest::prelude::*;

/// What a test does to a table. Indexes are brought into the table by the one who applies them.
#[derive(Clone, Debug)]
enum Op {
    Put(u32, u64),
    List(u32, Vec<u64>),
    Stuff(u32, u32, u64),
    Learn(u32, u64, bool),
    ClearAll,
    /// Takes the place of the table: what these operations make of an empty one, or of a copy.
    Replace(bool, Vec<Op>),
}

/// The plain model: values, and where calls began, exactly as the rule says it, for the entries that were ever touched.
#[derive(Clone, Debug, PartialEq)]
struct Model {
    geometry: Geometry,
    values: BTreeMap<u32, u64>,
    calls: BTreeMap<u32, bool>,
}

impl Model {
    fn new(geometry: Geometry) -> Self {
        Self { geometry, values: BTreeMap::new(), calls: BTreeMap::new() }
    }

    fn get(&self, index: u32) -> u64 {
        self.values.get(&index).copied().unwrap_or(0)
    }

    fn set(&mut self, index: u32, value: u64, call: bool) {
        if value == 0 {
            self.values.remove(&index);
        } else {
            self.values.insert(index, value);
        }
        self.calls.insert(index, call);
        self.calls.insert(index + 1, true);
    }

    fn target(&self, value: u64) -> u64 {
        value >> self.geometry.page_shift << self.geometry.page_shift
    }

    fn extent(&self, index: u32, value: u64) -> Extent {
        Extent {
            iova: Iova(self.geometry.bus_offset.0 + (u64::from(index) << self.geometry.page_shift)),
            target: Gpa(self.target(value)),
            pages: 1,
            page_shift: self.geometry.page_shift,
            perm: Perm::from_bits(value),
        }
    }

    /// Appends one mapped entry to a list of extents, as part of the last one where that is right.
    fn append(&self, list: &mut Vec<(u32, Extent)>, index: u32, value: u64, cut: bool) {
        if let Some((first, run)) = list.last_mut()
            && !cut
            && *first + run.pages == index
            && run.perm == Perm::from_bits(value)
            && run.target.0.checked_add(u64::from(run.pages) << run.page_shift) == Some(self.target(value))
        {
            run.pages += 1;
            return;
        }
        list.push((index, self.extent(index, value)));
    }

    fn extents(&self, from: u32, last: u32, runs: Runs) -> Vec<(u32, Extent)> {
        let mut list = Vec::new();
        for (&index, &value) in self.values.range(from..=last).filter(|(_, value)| **value & 3 != 0) {
            let cut = match runs {
                Runs::Full => false,
                Runs::Call => self.calls.get(&index).copied().unwrap_or(false),
                Runs::Page => true,
            };
            self.append(&mut list, index, value, cut);
        }
        list
    }

    /// What has to be told if `old` becomes this state: unmaps, maps.
    fn told(&self, old: &Self) -> (Vec<Extent>, Vec<Extent>) {
        let (mut unmaps, mut maps) = (Vec::new(), Vec::new());
        let touched: BTreeSet<u32> = old.values.keys().chain(self.values.keys()).copied().collect();
        for index in touched {
            let (was, is) = (old.get(index), self.get(index));
            let key = |value: u64| (value & 3 != 0).then(|| (self.target(value), value & 3));
            if key(was) == key(is) {
                continue;
            }
            if was & 3 != 0 {
                self.append(&mut unmaps, index, was, false);
            }
            if is & 3 != 0 {
                self.append(&mut maps, index, is, false);
            }
        }
        let plain = |list: Vec<(u32, Extent)>| list.into_iter().map(|(_, extent)| extent).collect();
        (plain(unmaps), plain(maps))
    }

    /// Applies an operation; returns the entries that it wrote.
    fn apply(&mut self, op: &Op) -> (u32, u32) {
        let fit = |first: u32, count: usize| {
            let first = first % self.geometry.entries;
            let count = u32::try_from(count).expect("small").min(self.geometry.entries - first);
            (first, count)
        };
        let (first, values): (u32, Vec<u64>) = match op {
            Op::Put(index, value) => (fit(*index, 1).0, vec![*value]),
            Op::List(index, values) => {
                let (first, count) = fit(*index, values.len());
                (first, values[..count as usize].to_vec())
            }
            Op::Stuff(index, count, value) => {
                let (first, count) = fit(*index, *count as usize);
                (first, vec![*value; count as usize])
            }
            Op::Learn(index, value, start) => {
                let (first, _) = fit(*index, 1);
                self.set(first, *value, *start);
                return (first, 1);
            }
            Op::ClearAll => {
                self.values.clear();
                return (0, 0);
            }
            Op::Replace(empty, ops) => {
                if *empty {
                    *self = Self::new(self.geometry);
                }
                for op in ops {
                    self.apply(op);
                }
                return (0, 0);
            }
        };
        for (value, index) in values.iter().zip(first..) {
            self.set(index, *value, index == first);
        }
        (first, u32::try_from(values.len()).expect("small"))
    }
}

/// Applies the same operation to the table.
fn apply(table: &mut TceTable, op: &Op, change: &mut Change) {
    let entries = table.geometry().entries;
    let fit = |index: u32| (index % entries, entries - index % entries);
    match op {
        Op::Put(index, value) => {
            let Geometry { bus_offset, page_shift, .. } = table.geometry();
            let ioba = bus_offset.0 + (u64::from(fit(*index).0) << page_shift);
            assert_eq!(table.put_at(ioba, *value, change), Some(true));
            Ok(())
        }
        Op::List(index, values) => {
            let (first, room) = fit(*index);
            table.write(first, Values::List(&values[..values.len().min(room as usize)]), change)
        }
        Op::Stuff(index, count, value) => {
            let (first, room) = fit(*index);
            table.write(first, Values::Same(*value, room.min(*count)), change)
        }
        Op::Learn(index, value, start) => {
            assert!(table.learn(fit(*index).0, *value, *start, change));
            Ok(())
        }
        Op::ClearAll => {
            table.clear_all();
            change.clear();
            Ok(())
        }
        Op::Replace(empty, ops) => {
            let copy = TceTable::new(table.geometry(), u32::MAX).expect("sound");
            let mut with = if *empty { copy } else { table.clone() };
            for op in ops {
                apply(&mut with, op, &mut Change::quiet());
            }
            let copy = with.clone();
            let version = table.version();
            let replaced = table.replace(with, change);
            assert!(*table == copy && table.version() > version);
            replaced
        }
    }
    .expect("in range");
}

fn walked(table: &TceTable, from: u32, last: u32, runs: Runs, batch: usize) -> Vec<(u32, Extent)> {
    let mut list = Vec::new();
    let mut next = Some(from);
    while let Some(from) = next {
        let mut room = batch;
        next = table.each_extent(from, last, runs, |first, extent| {
            list.push((first, extent));
            room -= 1;
            if room == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
    }
    list
}

fn stepped(table: &TceTable, from: u32, last: u32, runs: Runs) -> Vec<(u32, Extent)> {
    let mut list = Vec::new();
    let mut next = Some(from);
    while let Some((first, extent)) = next.and_then(|from| table.next_extent(from, last, runs)) {
        list.push((first, extent));
        next = first.checked_add(extent.pages);
    }
    list
}

fn compare(table: &TceTable, model: &Model, window: (u32, u32)) {
    for runs in [Runs::Full, Runs::Call, Runs::Page] {
        let expected = model.extents(0, u32::MAX, runs);
        assert_eq!(walked(table, 0, u32::MAX, runs, usize::MAX), expected, "{runs:?}");
        assert_eq!(table.count_runs(runs) as usize, expected.len(), "{runs:?}");
        let (a, b) = (window.0 % model.geometry.entries, window.1 % model.geometry.entries);
        let (from, last) = (a.min(b), a.max(b));
        let expected = model.extents(from, last, runs);
        assert_eq!(stepped(table, from, last, runs), expected, "{runs:?} from {from} to {last}");
        assert_eq!(walked(table, from, last, runs, 3), expected, "{runs:?} from {from} to {last} in batches");
    }
    assert_eq!(table.stored() as usize, model.values.len());
    assert_eq!(table.mapped() as usize, model.values.values().filter(|value| **value & 3 != 0).count());
}

/// Runs operations, each possibly undone, and compares after every one.
fn run(geometry: Geometry, ops: &[(Op, bool, (u32, u32))]) {
    let mut table = TceTable::new(geometry, u32::MAX).expect("sound");
    let mut quiet = table.clone();
    let mut model = Model::new(geometry);
    let (mut change, mut quiet_change) = (Change::new(), Change::quiet());
    for (op, undone, window) in ops {
        let (before, old) = (model.clone(), table.clone());
        let (first, count) = model.apply(op);
        apply(&mut table, op, &mut change);
        apply(&mut quiet, op, &mut quiet_change);
        let (unmaps, maps) = if matches!(op, Op::ClearAll) { (vec![], vec![]) } else { model.told(&before) };
        assert_eq!(*change.unmaps(), *unmaps, "{op:?}");
        assert_eq!(*change.maps(), *maps, "{op:?}");
        assert!(quiet_change.is_empty());
        for index in first..first + count {
            assert_eq!(table.get(index), model.get(index), "entry {index}");
        }
        compare(&table, &model, *window);
        if *undone && !matches!(op, Op::ClearAll) {
            table.undo(&change);
            assert!(table == old, "call starts are put back as well");
            quiet.undo(&quiet_change);
            model = before;
            for index in first..first + count {
                assert_eq!(table.get(index), model.get(index), "entry {index} put back");
            }
            compare(&table, &model, *window);
        }
        compare(&quiet, &model, *window);
    }
}

/// Values that often adjoin, sometimes carry bits that mean nothing, and are sometimes anything.
fn value() -> impl Strategy<Value = u64> {
    prop_oneof![
        3 => Just(0u64),
        4 => (0u64..8, 1u64..4).prop_map(|(page, perm)| page << 12 | perm),
        1 => (0u64..8).prop_map(|page| page << 12 | 0xff0),
        1 => (0u64..8).prop_map(|page| page << 12 | 0xff3),
        1 => any::<u64>(),
    ]
}

/// A list as guests write it: mostly pages in a row.
fn list() -> impl Strategy<Value = Vec<u64>> {
    prop_oneof![
        3 => (0u64..6, 1u64..4, 1usize..600).prop_map(|(page, perm, length)| {
            (page..).take(length).map(|page| page << 12 | perm).collect()
        }),
        1 => prop::collection::vec(value(), 1..80),
    ]
}

/// Indexes near the edges of leaves, blocks, summary words and the table.
fn index() -> impl Strategy<Value = u32> + Clone {
    let edge = prop_oneof![
        2 => Just(0u32),
        3 => Just(512),
        1 => Just(1024),
        3 => Just(1 << 15),
        1 => Just(1 << 16),
        1 => Just(1 << 19),
        1 => Just(1 << 20),
        2 => Just(1 << 25),
        1 => Just(3 << 25),
        2 => Just((1 << 31) - 1),
        1 => Just(u32::MAX >> 1),
    ];
    (edge, -6i32..6).prop_map(|(edge, near)| edge.saturating_add_signed(near))
}

/// Indexes in a small table: few, so that calls meet, and some at the edges of words.
fn small_index() -> impl Strategy<Value = u32> + Clone {
    prop_oneof![2 => 0u32..2600, 2 => 500u32..530, 2 => (0u32..41).prop_map(|word| word * 64)]
}

/// The value for an entry that maps it to where its neighbours are mapped to as well.
fn identity(index: u32, perm: u64) -> u64 {
    u64::from(index & 0xffff) << 12 | perm
}

fn op(index: impl Strategy<Value = u32> + Clone) -> impl Strategy<Value = Op> {
    let length = prop_oneof![2 => 1usize..100, 1 => prop::sample::select(vec![64usize, 128, 448, 512])];
    prop_oneof![
        2 => (index.clone(), value()).prop_map(|(index, value)| Op::Put(index, value)),
        3 => (index.clone(), 2u64..4).prop_map(|(index, perm)| Op::Put(index, identity(index, perm))),
        2 => (index.clone(), list()).prop_map(|(index, list)| Op::List(index, list)),
        3 => (index.clone(), length).prop_map(|(index, length)| {
            Op::List(index, (index..).take(length).map(|index| identity(index, 3)).collect())
        }),
        3 => (index.clone(), 1u32..1400, value()).prop_map(|(index, count, value)| Op::Stuff(index, count, value)),
        1 => (index.clone(), 500u32..5000).prop_map(|(index, count)| Op::Stuff(index, count, 0)),
        // Whole blocks of leaves.
        1 => (index.clone(), 30_000u32..70_000).prop_map(|(index, count)| Op::Stuff(index, count, 0)),
        1 => (index.clone(), value(), any::<bool>()).prop_map(|(index, value, start)| Op::Learn(index, value, start)),
        1 => (index, any::<bool>()).prop_map(|(index, start)| Op::Learn(index, identity(index, 3), start)),
    ]
}

/// An operation, or a few on a table that then takes the place of the other.
fn op_or_replace(index: impl Strategy<Value = u32> + Clone + 'static) -> impl Strategy<Value = Op> {
    let ops = prop::collection::vec(op(index.clone()), 0..6);
    prop_oneof![12 => op(index), 1 => (any::<bool>(), ops).prop_map(|(empty, ops)| Op::Replace(empty, ops))]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_small_table_equals_the_model(
        entries in prop::sample::select(vec![1u32, 5, 63, 64, 511, 512, 513, 1024, 1500, 2600]),
        page_shift in prop::sample::select(vec![12u8, 16, 21, 45]),
        ops in prop::collection::vec(
            (prop_oneof![40 => op_or_replace(small_index()), 1 => Just(Op::ClearAll)], any::<bool>(), any::<(u32, u32)>()),
            1..25,
        ),
    ) {
        let bus_offset = Iova(7 << 57);
        run(Geometry { liobn: 1, bus_offset, page_shift, entries }, &ops);
    }

    #[test]
    fn a_table_of_2_to_the_31_entries_equals_the_model(
        ops in prop::collection::vec((op_or_replace(index()), any::<bool>(), (index(), index())), 1..25),
    ) {
        run(Geometry { liobn: 1, bus_offset: Iova(1 << 59), page_shift: 12, entries: 1 << 31 }, &ops);
    }

    #[test]
    fn any_page_shift_equals_the_model(
        page_shift in 0u8..=63,
        ops in prop::collection::vec((op_or_replace(0u32..2), any::<bool>(), (0u32..2, 0u32..2)), 1..25),
    ) {
        run(Geometry { liobn: 1, bus_offset: Iova(0), page_shift, entries: 2 }, &ops);
    }
}

#[test]
fn the_largest_table_works_at_its_last_entry() {
    let entries = u32::MAX;
    let last = entries - 1;
    let ops = [
        (Op::Put(last, 0x1003), false, (0, last)),
        (Op::List(last - 600, (0..601).map(|page| page << 12 | 1).collect()), true, (5, last)),
        (Op::Stuff(last - 1500, 1501, 3), true, (last - 1, last)),
        (Op::Learn(last, 0x9002, false), false, (last, last)),
        (Op::Put(last, 0), false, (0, last)),
    ];
    run(Geometry { liobn: 1, bus_offset: Iova(0), page_shift: 12, entries }, &ops);
}

fn run_small(ops: &[(Op, bool)]) {
    let ops: Vec<_> = ops.iter().map(|(op, undone)| (op.clone(), *undone, (0, 2047))).collect();
    run(Geometry { liobn: 1, bus_offset: Iova(0), page_shift: 12, entries: 2048 }, &ops);
}

#[test]
fn clearing_a_leaf_before_an_absent_one_and_its_undo_move_the_end_of_a_run() {
    let put = (Op::Put(1023, identity(1023, 3)), false);
    run_small(&[put.clone(), (Op::Stuff(512, 1024, 0), true), (Op::Stuff(512, 1024, 0), false)]);
    run_small(&[put.clone(), (Op::Stuff(600, 1024, 0), true), (Op::Stuff(600, 1024, 0), false)]);
    run_small(&[put, (Op::Stuff(512, 512, 0), true), (Op::Stuff(512, 512, 0), false)]);
}

#[test]
fn undo_puts_back_that_a_run_ends_where_a_cleared_block_begins() {
    let ops = [
        (Op::List(65535, vec![1]), false, (0, 0)),
        (Op::List(32767, vec![0x1001]), false, (0, 0)),
        (Op::Stuff(512, 65024, 0), true, (0, 65535)),
    ];
    run(Geometry { liobn: 1, bus_offset: Iova(0), page_shift: 12, entries: 1 << 20 }, &ops);
}

#[test]
fn undo_puts_back_that_a_call_began_right_after_the_write() {
    let list = |from: u32, to: u32, perm| Op::List(from, (from..to).map(|index| identity(index, perm)).collect());
    for end in [63, 64, 65, 511, 512, 513] {
        let before = [(list(0, 700, 3), false), (Op::Put(end, identity(end, 3)), false)];
        for write in
            [list(end - 20, end, 1), Op::Put(end - 1, 0), Op::Stuff(end - 20, 20, 0), Op::Stuff(end - 20, 20, 3)]
        {
            run_small(&[before[0].clone(), before[1].clone(), (write, true)]);
        }
        // The same where no call began there.
        run_small(&[(list(0, 700, 3), false), (list(end - 20, end, 1), true)]);
        run_small(&[(list(0, 700, 3), false), (Op::Put(end - 1, 0), true)]);
    }
}
