//! Guest memory through the IOMMU, by vm-memory's own types.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may stop at the first surprise"
)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use giommu_core::address::Iova;
use giommu_core::hcall::{H_SUCCESS, h_put_tce, h_put_tce_indirect, h_stuff_tce};
use giommu_core::tce_table::{Change, Geometry, TceTable};
use giommu_vm_memory::{LockedTable, TceIommu};
use vm_memory::iommu::{Error as IommuError, IommuMemory};
use vm_memory::{Bytes, GuestAddress, GuestMemory, GuestMemoryError, GuestMemoryMmap, Iommu, Permissions};

const LIOBN: u32 = 0x8000_0000;
const PAGE: u64 = 0x1000;
/// Pages of RAM, in two regions without a gap.
const RAM: u64 = 64;

type Memory = IommuMemory<GuestMemoryMmap<()>, TceIommu>;

/// RAM whose every page begins with its number.
fn ram() -> GuestMemoryMmap<()> {
    let half = usize::try_from(RAM / 2 * PAGE).expect("fits");
    let regions = [(GuestAddress(0), half), (GuestAddress(RAM / 2 * PAGE), half)];
    let ram = GuestMemoryMmap::from_ranges(&regions).expect("RAM");
    for page in 0..RAM {
        ram.write_obj(page, GuestAddress(page * PAGE)).expect("inside");
    }
    ram
}

/// An entry: a page of RAM, and what a device may do there.
fn tce(page: u64, perm: u64) -> u64 {
    (page * PAGE) | perm
}

fn window(liobn: u32, bus_offset: u64, page_shift: u8, entries: u32) -> TceTable {
    let geometry = Geometry { liobn, bus_offset: Iova(bus_offset), page_shift, entries };
    TceTable::new(geometry, u32::MAX).expect("sound")
}

/// One window of 4 KiB pages.
fn memory(bus_offset: u64, entries: u32) -> (Memory, LockedTable) {
    let iommu = TceIommu::new();
    let table = iommu.add_window(window(LIOBN, bus_offset, 12, entries)).expect("the first window");
    (IommuMemory::new(ram(), iommu, true, ()), table)
}

fn put(table: &LockedTable, ioba: u64, tce: u64) {
    let mut table = table.write().expect("nobody panicked");
    assert_eq!(h_put_tce(&mut table, ioba, tce, &mut Change::new()).ret, H_SUCCESS);
}

fn put_list(table: &LockedTable, ioba: u64, list: &[u64]) {
    let mut table = table.write().expect("nobody panicked");
    assert_eq!(h_put_tce_indirect(&mut table, ioba, list, &mut Change::new()).ret, H_SUCCESS);
}

fn stuff(table: &LockedTable, ioba: u64, tce: u64, pages: u64) {
    let mut table = table.write().expect("nobody panicked");
    assert_eq!(h_stuff_tce(&mut table, ioba, tce, pages, &mut Change::new()).ret, H_SUCCESS);
}

/// What a device reads at the start of a page: the number of the page of RAM.
fn seen(memory: &Memory, iova: u64) -> u64 {
    memory.read_obj(GuestAddress(iova)).expect("mapped")
}

/// Start and length of what could not be resolved, and why.
fn refusal<T: std::fmt::Debug>(result: Result<T, GuestMemoryError>) -> (u64, usize, String) {
    match result {
        Err(GuestMemoryError::IommuError(IommuError::CannotResolve { iova_range, reason })) => {
            (iova_range.base.0, iova_range.length, reason)
        }
        other => panic!("{other:?}"),
    }
}

/// Target and length of each mapping that an access goes through.
fn pieces(memory: &Memory, iova: u64, length: usize, access: Permissions) -> Vec<(u64, usize)> {
    let found = memory.iommu().translate(GuestAddress(iova), length, access).expect("mapped");
    found.map(|piece| (piece.base.0, piece.length)).collect()
}

#[test]
fn bytes_go_where_entries_say() {
    let (memory, table) = memory(0x8000_0000, 16);
    put(&table, 0x8000_3000, tce(5, 3));
    memory.write_slice(b"a device writes", GuestAddress(0x8000_3ff0)).expect("mapped");
    let mut ours = [0; 15];
    memory.get_backend().read_slice(&mut ours, GuestAddress(5 * PAGE + 0xff0)).expect("RAM");
    assert_eq!(&ours, b"a device writes");
    let mut theirs = [0; 15];
    memory.read_slice(&mut theirs, GuestAddress(0x8000_3ff0)).expect("mapped");
    assert_eq!(theirs, ours);
}

#[test]
fn a_change_in_place_counts_from_the_next_access_on() {
    let (memory, table) = memory(0, 16);
    put(&table, PAGE, tce(7, 3));
    assert_eq!(seen(&memory, PAGE), 7);
    put(&table, PAGE, tce(9, 3));
    assert_eq!(seen(&memory, PAGE), 9);
    put(&table, PAGE, tce(9, 1));
    assert!(memory.write_obj(1u8, GuestAddress(PAGE)).is_err(), "the permission went");
    assert_eq!(seen(&memory, PAGE), 9);
}

#[test]
fn what_was_unmapped_between_two_accesses_is_gone() {
    let (memory, table) = memory(0, 16);
    stuff(&table, 0, tce(4, 3), 4);
    assert_eq!(seen(&memory, 2 * PAGE), 4);
    stuff(&table, 2 * PAGE, 0, 1);
    let failed = refusal(memory.read_obj::<u64>(GuestAddress(2 * PAGE)));
    assert_eq!(failed, (2 * PAGE, 8, "LIOBN 0x80000000 has no entry there".to_owned()));
    assert_eq!(seen(&memory, 3 * PAGE), 4, "its neighbours stay");
}

#[test]
fn an_access_that_runs_keeps_what_it_began_with_and_hinders_no_hypercall() {
    let (memory, table) = memory(0, 16);
    put_list(&table, 0, &[tce(3, 3), tce(8, 3)]);
    let mut running = memory.get_slices(GuestAddress(0), 0x2000, Permissions::Read).expect("mapped");
    let first = running.next().expect("two pages").expect("RAM");
    stuff(&table, 0, 0, 2); // would wait forever if the access held the table
    let second = running.next().expect("two pages").expect("RAM");
    assert_eq!((first.read_obj::<u64>(0).expect("8 bytes"), second.read_obj::<u64>(0).expect("8 bytes")), (3, 8));
    assert!(running.next().is_none());
    assert!(!memory.check_range(GuestAddress(0), 1, Permissions::Read));
}

#[test]
fn a_range_may_cross_leaves_of_the_table_and_regions_of_ram() {
    let (memory, table) = memory(0, 1024);
    // Leaves have 512 entries; both halves point across the border of the two regions of RAM.
    let list: Vec<u64> = (0..8).map(|page| tce(RAM / 2 - 4 + page, 3)).collect();
    put_list(&table, 508 * PAGE, &list);
    assert_eq!(pieces(&memory, 508 * PAGE, 0x8000, Permissions::ReadWrite), [((RAM / 2 - 4) * PAGE, 0x8000)]);
    let bytes: Vec<u8> = (0..0x7ffe_u32).map(|at| at.to_le_bytes()[0]).collect();
    memory.write_slice(&bytes, GuestAddress(508 * PAGE + 1)).expect("mapped");
    let mut back = vec![0; bytes.len()];
    memory.get_backend().read_slice(&mut back, GuestAddress((RAM / 2 - 4) * PAGE + 1)).expect("RAM");
    assert!(back == bytes);
}

#[test]
fn fragments_are_as_long_as_targets_adjoin() {
    let (memory, table) = memory(0, 16);
    // Pages 0 to 2 adjoin, page 3 is the same as page 2, pages 4 and 5 go backwards.
    put_list(&table, 0, &[10, 11, 12, 12, 21, 20].map(|page| tce(page, 3)));
    let expected = [(10 * PAGE + 8, 0x2ff8), (12 * PAGE, 0x1000), (21 * PAGE, 0x1000), (20 * PAGE, 0x10)];
    assert_eq!(pieces(&memory, 8, 0x5008, Permissions::Read), expected);
    assert_eq!(seen(&memory, 2 * PAGE), seen(&memory, 3 * PAGE));
}

#[test]
fn a_table_of_large_pages_translates_bytes_inside_them() {
    let iommu = TceIommu::new();
    let table = iommu.add_window(window(LIOBN, 1 << 59, 16, 4)).expect("the first window");
    let memory: Memory = IommuMemory::new(ram(), iommu, true, ());
    // The low bits of a target mean nothing within a page of 64 KiB.
    put(&table, (1 << 59) + 0x1_0000, 0x2_f003);
    assert_eq!(seen(&memory, (1 << 59) + 0x1_5000), 0x25);
}

#[test]
fn a_device_may_only_do_what_an_entry_allows() {
    let (memory, table) = memory(0, 16);
    put_list(&table, 0, &[tce(4, 1), tce(5, 2), tce(6, 3), 7 * PAGE]);
    assert!(memory.read_obj::<u64>(GuestAddress(0)).is_ok());
    let read_only = refusal(memory.write_obj(0u64, GuestAddress(0)));
    assert_eq!(read_only, (0, 8, "LIOBN 0x80000000 allows r- there".to_owned()));
    assert!(memory.write_obj(0u64, GuestAddress(PAGE)).is_ok());
    let write_only = refusal(memory.read_obj::<u64>(GuestAddress(PAGE)));
    assert_eq!(write_only, (PAGE, 8, "LIOBN 0x80000000 allows -w there".to_owned()));
    for (page, allowed) in [
        (0, [true, true, false, false]),
        (1, [true, false, true, false]),
        (2, [true, true, true, true]),
        (3, [false, false, false, false]), // a target without permission is no mapping
    ] {
        let wanted = [Permissions::No, Permissions::Read, Permissions::Write, Permissions::ReadWrite];
        let found = wanted.map(|access| memory.check_range(GuestAddress(page * PAGE), 0x1000, access));
        assert_eq!(found, allowed, "page {page}");
    }
}

#[test]
fn one_page_that_may_not_be_written_refuses_all_of_a_write() {
    let (memory, table) = memory(0, 16);
    put_list(&table, 0, &[tce(4, 3), tce(5, 1), tce(6, 3)]);
    let failed = refusal(memory.write(&[0xff; 0x2800], GuestAddress(0x400)));
    assert_eq!(failed, (PAGE, 0x1000, "LIOBN 0x80000000 allows r- there".to_owned()));
    assert_eq!(seen(&memory, 0), 4, "nothing was written before it either");
    stuff(&table, PAGE, 0, 1);
    let failed = refusal(memory.write(&[0xff; 0x2800], GuestAddress(0x400)));
    assert_eq!(failed, (PAGE, 0x1000, "LIOBN 0x80000000 has no entry there".to_owned()));
}

#[test]
fn addresses_outside_of_every_window_reach_nothing() {
    let (memory, table) = memory(0x1_0000, 16);
    stuff(&table, 0x1_0000, tce(4, 3), 16);
    let before = refusal(memory.read(&mut [0; 0x20], GuestAddress(0xfff0)));
    assert_eq!(before, (0xfff0, 0x10, "no window is there".to_owned()));
    let behind = refusal(memory.read(&mut [0; 0x20], GuestAddress(0x1_fff0)));
    assert_eq!(behind, (0x2_0000, 0x10, "no window is there".to_owned()));
    let empty: Memory = IommuMemory::new(ram(), TceIommu::new(), true, ());
    assert_eq!(refusal(empty.read_obj::<u8>(GuestAddress(0))), (0, 1, "no window is there".to_owned()));
}

#[test]
fn nothing_is_asked_for_and_nothing_is_refused() {
    let (memory, _) = memory(0, 16);
    for iova in [0, 1, 1 << 40, u64::MAX] {
        assert_eq!(memory.read(&mut [], GuestAddress(iova)).expect("nothing"), 0);
        assert_eq!(pieces(&memory, iova, 0, Permissions::ReadWrite), []);
    }
}

#[test]
fn the_top_of_the_space_is_reached_up_to_its_last_byte() {
    let top = u64::MAX - 0xffff;
    let (memory, table) = memory(top, 16);
    stuff(&table, top, tce(4, 3), 16);
    assert_eq!(memory.read(&mut [0; 0xfff], GuestAddress(u64::MAX - 0xfff)).expect("mapped"), 0xfff);
    let failed = refusal(memory.read(&mut [0; 0x1000], GuestAddress(u64::MAX - 0xfff)));
    assert_eq!(failed, (u64::MAX - 0xfff, 0x1000, "it does not end below the top of the space".to_owned()));
    assert!(memory.read_obj::<u64>(GuestAddress(u64::MAX)).is_err());
    assert!(!memory.check_range(GuestAddress(2), usize::MAX, Permissions::Read));
}

#[test]
fn targets_that_are_no_ram_fail_in_vm_memory() {
    let (memory, table) = memory(0, 16);
    // RAM, nothing, the top of the space, RAM: the last two adjoin if one counts on past the top.
    put_list(&table, 0, &[tce(RAM - 1, 3), tce(RAM, 3), !0xfff | 3, 3]);
    assert_eq!(memory.read(&mut [0; 0x2000], GuestAddress(0)).expect("a part"), 0x1000);
    for iova in [PAGE, 2 * PAGE, 2 * PAGE + 0xff8] {
        assert!(!memory.check_range(GuestAddress(iova), 0x10, Permissions::Read), "{iova:#x}");
        let failed = memory.read_slice(&mut [0; 0x10], GuestAddress(iova)).expect_err("no RAM");
        assert!(!matches!(failed, GuestMemoryError::IommuError(_)), "{failed}");
    }
    assert_eq!(seen(&memory, 3 * PAGE), 0);
}

#[test]
fn a_bus_has_several_windows_and_the_higher_liobn_hides_the_lower() {
    let iommu = TceIommu::new();
    let high = iommu.add_window(window(LIOBN + 1, 0x4000, 12, 2)).expect("a window");
    let low = iommu.add_window(window(LIOBN, 0, 12, 8)).expect("another");
    let memory: Memory = IommuMemory::new(ram(), iommu.clone(), true, ());
    put_list(&low, 0, &[1, 2, 3, 4, 5, 6, 7, 8].map(|page| tce(page, 3)));
    put(&high, 0x4000, tce(20, 3));
    assert_eq!([0x3000, 0x4000, 0x6000].map(|iova| seen(&memory, iova)), [4, 20, 7]);
    let expected = [(4 * PAGE, 0x1000), (20 * PAGE, 0x1000)];
    assert_eq!(pieces(&memory, 0x3000, 0x2000, Permissions::Read), expected);
    let failed = refusal(memory.read(&mut [0; 0x5000], GuestAddress(0x3000)));
    assert_eq!(failed, (0x5000, 0x1000, "LIOBN 0x80000001 has no entry there".to_owned()));
    assert!(iommu.remove_window(LIOBN + 1).is_some());
    assert_eq!(seen(&memory, 0x4000), 5);
    assert!(iommu.remove_window(LIOBN + 1).is_none());
    put(&high, 0x4000, 0); // its table lives on, and means nothing to the bus
    assert_eq!(pieces(&memory, 0, 0x8000, Permissions::Read), [(PAGE, 0x8000)]);
}

#[test]
fn a_table_that_a_thread_left_in_pieces_is_not_believed() {
    let (memory, table) = memory(0, 16);
    put(&table, 0, tce(1, 3));
    let held = table.clone();
    let ended = std::thread::spawn(move || {
        let _guard = held.write().expect("nobody panicked yet");
        panic!("while the table changes");
    });
    assert!(ended.join().is_err());
    let failed = memory.read_obj::<u64>(GuestAddress(0)).expect_err("unknown");
    assert!(matches!(failed, GuestMemoryError::IommuError(IommuError::IommuMisconfigured { .. })), "{failed}");
}

#[test]
fn windows_come_and_go_while_a_table_is_held_and_an_access_waits_for_it() {
    let (memory, table) = memory(0, 16);
    put(&table, 0, tce(5, 3));
    let iommu = TceIommu::clone(memory.iommu());
    let (sender, receiver) = mpsc::channel();
    std::thread::scope(|threads| {
        let held = table.write().expect("nobody panicked");
        let access = threads.spawn(|| seen(&memory, 0));
        std::thread::sleep(Duration::from_millis(50)); // time to get to the table
        threads.spawn(move || {
            iommu.remove_window(LIOBN);
            sender.send(()).expect("somebody waits");
        });
        let removed = receiver.recv_timeout(Duration::from_secs(10));
        drop(held);
        assert_eq!(removed, Ok(()));
        assert_eq!(access.join().expect("mapped"), 5, "it began before");
    });
    assert!(!memory.check_range(GuestAddress(0), 1, Permissions::Read));
}

#[test]
fn an_access_sees_a_hypercall_as_a_whole_or_not_at_all() {
    let (memory, table) = memory(0, 1024);
    let sides = [0, 32].map(|side| (0..8).map(|page| tce(side + page, 3)).collect::<Vec<u64>>());
    put_list(&table, 508 * PAGE, &sides[0]);
    let (done, mut met) = (AtomicBool::new(false), [false; 2]);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                sides.iter().for_each(|side| put_list(&table, 508 * PAGE, side));
            }
        });
        while met != [true; 2] {
            let found = pieces(&memory, 508 * PAGE, 0x8000, Permissions::Read);
            let side = [0, 32].iter().position(|side| found == [(side * PAGE, 0x8000)]);
            // No assertion here: the other thread would go on for ever.
            match side.and_then(|side| met.get_mut(side)) {
                Some(met) => *met = true,
                None => break,
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(met, [true; 2], "a mixture of both was seen");
}
