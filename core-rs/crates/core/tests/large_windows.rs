//! Windows as large as a guest can ask for cost what is stored in them, whatever is done to them.

#![cfg(test)]

use std::rc::Rc;
use std::time::{Duration, Instant};

use giommu_core::address::Iova;
use giommu_core::hcall::{H_NOT_ENOUGH_RESOURCES, H_PARAMETER, H_SUCCESS};
use giommu_core::spapr::{Effects, Event, PhbConfig, SpaprMachine, token};
use giommu_core::tce_table::{Change, Geometry, Runs, TceTable, Values};

/// Far more than any of it takes, and far less than to visit what could be stored.
const SOON: Duration = Duration::from_secs(2);
const FIRST: u64 = 0x8000_0000;
const SECOND: u64 = 0x8000_0001;

/// A bridge whose guest may create windows with pages of 4 KiB and of 4 GiB.
fn machine() -> SpaprMachine {
    let mut machine = SpaprMachine::new(1 << 20);
    machine.add_phb(PhbConfig { pgsz: 1 << 12 | 1 << 32, ..PhbConfig::new(0) }).expect("a bridge");
    machine
}

fn create(machine: &mut SpaprMachine, page: u32, window: u32, effects: &mut Effects) -> u64 {
    let args = [0, 0x0800_0000, 0x2000_0000, page, window];
    let reply = machine.rtas(token::CREATE, &args, 4, effects);
    assert_eq!(reply.status(), 0);
    u64::from(reply.rets()[1])
}

fn remove(machine: &mut SpaprMachine, liobn: u64, effects: &mut Effects) {
    let args = [u32::try_from(liobn).expect("32 bits")];
    assert_eq!(machine.rtas(token::REMOVE, &args, 1, effects).status(), 0);
}

#[test]
fn windows_of_2_to_the_31_entries_cost_what_is_stored() {
    for (page, window) in [(12, 43), (32, 63)] {
        let begun = Instant::now();
        let (mut machine, mut effects) = (machine(), Effects::new());
        let empty = machine.save();
        assert_eq!(create(&mut machine, page, window, &mut effects), SECOND);
        assert!(machine.memory_bytes() < 4096, "an empty window costs nothing");
        let (first, last) = (1u64 << 59, (1u64 << 59) + ((1 << window) - 1));
        for ioba in [first, last] {
            assert_eq!(machine.h_put_tce(SECOND, ioba, u64::MAX, &mut effects), H_SUCCESS);
            assert_eq!(machine.h_get_tce(SECOND, ioba), Ok(u64::MAX));
        }
        for ioba in [first - 1, last + 1] {
            assert_eq!(machine.h_put_tce(SECOND, ioba, 3, &mut effects), H_PARAMETER);
        }
        // What passes the end is stored up to there.
        let from = last - (511 << page);
        assert_eq!(machine.h_stuff_tce([SECOND, from, 0x5003, 1 << 31], &mut effects), H_PARAMETER);
        assert_eq!(machine.h_stuff_tce([SECOND, first, 0x5003, 1 << 31], &mut effects), H_NOT_ENOUGH_RESOURCES);
        assert_eq!(machine.stored(), 513);
        let saved = machine.save();
        assert!(machine.memory_bytes() < 400 << 10, "{} bytes", machine.memory_bytes());
        assert!(saved.len() < empty.len() + 64, "{} bytes", saved.len());
        assert_eq!(machine.h_stuff_tce([SECOND, first, 0, 1 << 31], &mut effects), H_SUCCESS);
        assert_eq!(effects.change.unmaps().len(), 513);
        machine.restore(&saved, &mut effects).expect("its own");
        let [Event::Changed { change, .. }] = &effects.events[..] else { panic!("{:?}", effects.events) };
        assert_eq!(change.maps().len(), 513);
        assert!(machine.undo(&mut effects));
        assert_eq!(machine.stored(), 0);
        let again = SpaprMachine::from_snapshot(&saved, 513).expect("its own");
        assert_eq!(again.save(), saved);
        machine.restore(&saved, &mut effects).expect("its own");
        remove(&mut machine, SECOND, &mut effects);
        assert_eq!((machine.stored(), machine.save() == empty), (0, true));
        assert!(machine.undo(&mut effects));
        assert_eq!((machine.stored(), machine.save() == saved), (513, true));
        machine.reset(&mut effects);
        assert!(machine.save() == empty);
        assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    }
}

#[test]
fn a_window_of_2_to_the_63_bytes_at_0_hides_nothing_above_it() {
    let (mut machine, mut effects) = (machine(), Effects::new());
    remove(&mut machine, FIRST, &mut effects);
    assert_eq!(create(&mut machine, 32, 63, &mut effects), FIRST);
    assert_eq!(machine.h_put_tce(FIRST, (1 << 63) - 1, 0x7_0000_0003, &mut effects), H_SUCCESS);
    assert_eq!(machine.h_put_tce(FIRST, 1 << 63, 3, &mut effects), H_PARAMETER);
    assert_eq!(machine.h_put_tce(FIRST, u64::MAX, 3, &mut effects), H_PARAMETER);
    let saved = machine.save();
    assert_eq!(SpaprMachine::from_snapshot(&saved, 1).expect("its own").save(), saved);
}

#[test]
fn a_table_of_2_to_the_64_bytes_is_filled_replaced_and_emptied() {
    for (page_shift, entries) in [(33, 1 << 31), (63, 2)] {
        let begun = Instant::now();
        let geometry = Geometry { liobn: 1, bus_offset: Iova(0), page_shift, entries };
        let mut table = TceTable::new(geometry, 4).expect("2^64 bytes");
        let empty = table.clone();
        let mut change = Change::new();
        for (index, ioba) in [(0, 0), (entries - 1, u64::MAX)] {
            assert_eq!(table.index_of(ioba), Some(index));
            assert!(table.put(index, 3, &mut change));
        }
        let full = table.clone();
        assert_eq!(full.next_stored(1), Some(entries - 1));
        assert_eq!(full.next_stored(entries), None);
        table.replace(empty.clone(), &mut change).expect("room");
        assert_eq!((change.unmaps().len(), change.maps().len(), table == empty), (2, 0, true));
        assert_eq!(change.unmaps()[1].range().last(), Iova(u64::MAX));
        table.undo(&change);
        assert!(table == full);
        table.replace(empty, &mut change).expect("room");
        table.replace(full.clone(), &mut change).expect("room");
        assert_eq!((change.unmaps().len(), change.maps().len(), table == full), (0, 2, true));
        assert_eq!(table.count_runs(Runs::Full), 2);
        table.write(0, Values::Same(0, entries), &mut change).expect("zeros");
        assert_eq!((table.stored(), change.unmaps().len()), (0, 2));
        assert!(table.memory_bytes() < 300 << 10);
        assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    }
}

#[test]
fn a_full_window_is_saved_in_runs_and_restored_soon() {
    let begun = Instant::now();
    let (mut machine, mut effects) = (machine(), Effects::new());
    create(&mut machine, 12, 32, &mut effects);
    let empty = machine.save();
    let list = |at: u64| -> Vec<u64> { (at..at + 512).map(|page| page << 12 | 3).collect() };
    for at in (0..1 << 20).step_by(512) {
        assert_eq!(machine.h_put_tce_list(SECOND, (1 << 59) + (at << 12), &list(at), &mut effects), H_SUCCESS);
    }
    let saved = machine.save();
    assert!(saved.len() < 16 << 10, "one run, 2048 calls: {} bytes", saved.len());
    let window = Rc::clone(machine.table(SECOND).expect("a window"));
    machine.restore(&empty, &mut effects).expect("its own");
    machine.restore(&saved, &mut effects).expect("its own");
    assert_eq!([Runs::Full, Runs::Call].map(|runs| window.borrow().count_runs(runs)), [1, 2048]);
    let [Event::Changed { change, .. }] = &effects.events[..] else { panic!("{:?}", effects.events) };
    assert_eq!(change.maps().len(), 1);
    // One call for each entry costs no more.
    for at in 0..1 << 20 {
        assert_eq!(machine.h_put_tce(SECOND, (1 << 59) + (at << 12), at << 12 | 3, &mut effects), H_SUCCESS);
    }
    assert!(machine.save().len() < 1 << 10, "{} bytes", machine.save().len());
    // Entries without any rule take 8 bytes each, and little more.
    for at in 0..1u64 << 16 {
        let tce = at.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 3;
        assert_eq!(machine.h_put_tce(SECOND, (1 << 59) + (at << 12), tce, &mut effects), H_SUCCESS);
    }
    let saved = machine.save();
    assert!(saved.len() < (8 << 16) + (2 << 10), "{} bytes", saved.len());
    assert_eq!(SpaprMachine::from_snapshot(&saved, 1 << 20).expect("its own").save(), saved);
    assert!(begun.elapsed() < 5 * SOON, "{:?}", begun.elapsed());
}
