use proptest::prelude::*;

use super::*;
use crate::tce_table::{Geometry, Runs};
use crate::trace::findings::{Answer, Trouble};
use crate::trace::hotplug::{Comparison, Unplug};
use crate::trace::rebuilt::{GeometrySource, Knowledge};
use crate::trace::window::sized;

const PCI: u32 = 0x8000_0000;
const DDW: u32 = 0x8000_0001;
const VIO: u32 = 0x7100_0003;

/// Runs a log to its end; returns where it stopped on the way, with the lines read then.
fn run(lines: &str) -> (LogMachine, Vec<(Stop, u64)>) {
    let mut machine = LogMachine::default();
    let stops = run_on(&mut machine, lines);
    (machine, stops)
}

fn run_on(machine: &mut LogMachine, lines: &str) -> Vec<(Stop, u64)> {
    let (mut stops, mut at) = (Vec::new(), 0);
    loop {
        match machine.run(lines.as_bytes(), &mut at, true) {
            Stop::End => return stops,
            stop => stops.push((stop, machine.parser().lines())),
        }
    }
}

fn machine(lines: &str) -> LogMachine {
    run(lines).0
}

fn value(machine: &LogMachine, liobn: u32, index: u32) -> Knowledge {
    machine.table(liobn).expect("a table").knowledge(index)
}

fn counts(machine: &LogMachine, liobn: u32) -> (u32, u64) {
    let table = machine.table(liobn).expect("a table");
    let mapped = table.table().mapped();
    (mapped, table.unknown())
}

const NEW: &str = "spapr_iommu_new_table liobn=0x80000000 table=0x1 fd=-1\n";
const NEW_VIO: &str = "spapr_iommu_new_table liobn=0x71000003 table=0x1 fd=-1\n";
const ALL: u64 = 1 << 18;

fn put(ioba: u64, tce: u64) -> String {
    format!("spapr_iommu_pci_put liobn=0x80000000 ioba={ioba:#x} tce={tce:#x} ret=0\n")
}

fn xlate(offset: u64, target: u64, perm: u8) -> String {
    format!("spapr_iommu_xlate liobn=0x80000000 {offset:#x} -> {target:#x} perm={perm} mask=0xfff\n")
}

fn indirect(ioba: u64, last: u64, tce: u64, ret: i64) -> String {
    format!(
        "spapr_iommu_pci_indirect liobn=0x80000000 ioba={ioba:#x} tcelist=0x20000 iobaN={last:#x} tceN={tce:#x} ret={ret}\n"
    )
}

fn stuff(end: u64, tce: u64, pages: u64, ret: i64) -> String {
    format!("spapr_iommu_pci_stuff liobn=0x80000000 ioba={end:#x} tcevalue={tce:#x} npages={pages} ret={ret}\n")
}

#[test]
fn the_first_new_table_is_empty_and_has_the_default_geometry() {
    let machine = machine(&(NEW.to_owned() + NEW_VIO));
    assert_eq!((counts(&machine, PCI), counts(&machine, VIO)), ((0, 0), (0, 0)));
    let geometries: Vec<Geometry> = machine.tables().map(|table| table.geometry()).collect();
    assert_eq!(geometries, [sized(VIO, 0, 12, 256 << 20).unwrap(), sized(PCI, 0, 12, 1 << 30).unwrap()]);
    assert!(machine.tables().all(|table| table.source() == GeometrySource::Default));
}

#[test]
fn a_log_that_begins_in_mid_run_leaves_what_it_does_not_tell_unknown() {
    let machine = machine(&(put(0x1000, 0x5003) + &put(0x2000, 0)));
    assert_eq!(counts(&machine, PCI), (1, ALL - 2));
    assert_eq!(value(&machine, PCI, 1), Knowledge::Value(0x5003));
    assert_eq!(value(&machine, PCI, 2), Knowledge::Value(0));
    assert_eq!(value(&machine, PCI, 3), Knowledge::Unknown);
    assert_eq!(machine.table(PCI).unwrap().source(), GeometrySource::Assumed);
}

#[test]
fn only_the_last_value_of_a_list_is_known_and_translations_teach_the_others() {
    let log = NEW.to_owned() + &put(0x5000, 0x9003) + &indirect(0x4000, 3, 0x7003, 0);
    let mut machine = machine(&log);
    assert_eq!(counts(&machine, PCI), (1, 3));
    assert_eq!(value(&machine, PCI, 7), Knowledge::Value(0x7003));
    assert_eq!(machine.table(PCI).unwrap().table().get(5), 0);
    run_on(&mut machine, &(xlate(0x6010, 0x6000, 3) + &xlate(0x4000, 0x4000, 3) + &xlate(0x5000, 0x5000, 3)));
    assert_eq!(machine.translations(), Agreement { agreed: 0, disagreed: 0, learned: 3 });
    assert_eq!((counts(&machine, PCI), value(&machine, PCI, 6)), ((4, 0), Knowledge::Page(0x6003)));
    // They were stored by one call, whatever the order in which they became known.
    let count = |runs| machine.table(PCI).unwrap().table().count_runs(runs);
    assert_eq!((count(Runs::Full), count(Runs::Call), count(Runs::Page)), (1, 1, 4));
    run_on(&mut machine, &(xlate(0x5000, 0x5000, 3) + &xlate(0x5000, 0x8000, 3)));
    assert_eq!(machine.translations(), Agreement { agreed: 1, disagreed: 1, learned: 3 });
}

#[test]
fn an_entry_put_into_a_list_is_a_call_of_its_own() {
    let list = NEW.to_owned() + &indirect(0x4000, 3, 0x7003, 0);
    let learnt = [4u64, 5, 6, 7].map(|page| xlate(page << 12, page << 12, 3)).concat();
    let machine = machine(&(list + &put(0x5000, 0x5003) + &learnt));
    let count = |runs| machine.table(PCI).unwrap().table().count_runs(runs);
    assert_eq!((count(Runs::Full), count(Runs::Call), count(Runs::Page)), (1, 3, 4));
}

#[test]
fn entries_of_unknown_history_begin_calls() {
    let learnt = [4u64, 5, 6].map(|page| xlate(page << 12, page << 12, 3)).concat();
    let machine = machine(&learnt);
    let count = |runs| machine.table(PCI).unwrap().table().count_runs(runs);
    assert_eq!((count(Runs::Full), count(Runs::Call)), (1, 3));
}

#[test]
fn stuff_is_logged_with_the_address_after_its_range() {
    let log = NEW.to_owned() + &stuff(0x501_0000, 0x3003, 16, 0) + &stuff(0x500_2000, 0, 2, 0);
    let machine = machine(&log);
    assert_eq!(counts(&machine, PCI), (14, 0));
    assert_eq!(value(&machine, PCI, 0x5002), Knowledge::Value(0x3003));
    assert_eq!(value(&machine, PCI, 0x500f), Knowledge::Value(0x3003));
    assert_eq!(value(&machine, PCI, 0x5010), Knowledge::Value(0));
}

#[test]
fn calls_that_failed_may_have_stored_something() {
    let full = NEW.to_owned() + &stuff(0x4000_0000, 0x3003, 4, 0);
    // A list that ran off the end after two entries, and one that failed at its first or second entry.
    let run_off = machine(&(full.clone() + &indirect(0x3fff_e000, 1, 0x9003, -4)));
    assert_eq!(counts(&run_off, PCI), (2, 2));
    let first = machine(&(full.clone() + &indirect(0x3fff_c000, 0, 0x9003, -4)));
    assert_eq!(counts(&first, PCI), (3, 1));
    assert_eq!(value(&first, PCI, 0x3fffc), Knowledge::Unknown);
    // A stuff of four pages that stopped at the end has stored at most three.
    let stuffed = machine(&(full.clone() + &stuff(0x4000_0000, 0, 4, -4)));
    assert_eq!(counts(&stuffed, PCI), (1, 3));
    // A put that failed has stored nothing.
    let failed = machine(&(full + "spapr_iommu_pci_put liobn=0x80000000 ioba=0x3ffff000 tce=0x0 ret=-4\n"));
    assert_eq!(counts(&failed, PCI), (4, 0));
    assert_eq!(failed.problems().count(), 0);
}

#[test]
fn failed_calls_on_tables_that_are_not_there_make_none() {
    let machine = machine(
        "spapr_iommu_put liobn=0x123456789 ioba=0x0 tce=0x0 ret=-4\n\
         spapr_iommu_put liobn=0x1234 ioba=0x0 tce=0x0 ret=-4\n\
         spapr_iommu_stuff liobn=0x1234 ioba=0x0 tcevalue=0x0 npages=0 ret=-4\n\
         spapr_iommu_indirect liobn=0x1234 ioba=0x0 tcelist=0x0 iobaN=0x0 tceN=0x0 ret=-4\n\
         spapr_iommu_get liobn=0x1234 ioba=0x0 ret=-4 tce=0x0\n",
    );
    assert_eq!((machine.tables().count(), machine.problems().count()), (0, 0));
}

#[test]
fn a_guest_that_reads_an_entry_teaches_all_of_it() {
    let get = |tce: u64| format!("spapr_iommu_pci_get liobn=0x80000000 ioba=0x4000 ret=0 tce={tce:#x}\n");
    let log = NEW.to_owned() + &indirect(0x4000, 1, 0x7003, 0);
    let mut machine = machine(&(log + &xlate(0x4000, 0x4000, 3)));
    run_on(&mut machine, &get(0x4ff3));
    assert_eq!(value(&machine, PCI, 4), Knowledge::Value(0x4ff3));
    run_on(&mut machine, &(get(0x4ff3) + &get(0x4003)));
    assert_eq!(machine.reads(), Agreement { agreed: 2, disagreed: 1, learned: 0 });
    let [only] = machine.disagreements().shown() else { panic!("one") };
    assert!(only.read && only.ours.target == 0x4ff0 && only.theirs.target == 0x4000);
}

#[test]
fn a_disagreement_names_line_table_address_and_both_answers() {
    let machine = machine(&(NEW.to_owned() + &put(0x1000, 0x5003) + &xlate(0x1234, 0x5000, 1)));
    let [only] = machine.disagreements().shown() else { panic!("one") };
    let answer = |perm| Answer { target: 0x5000, perm, mask: 0xfff };
    assert_eq!((only.line, only.liobn, only.address, only.read), (3, PCI, 0x1234, false));
    assert_eq!((only.ours, only.theirs), (answer(3), answer(1)));
}

#[test]
fn many_disagreements_are_counted_and_ten_are_kept() {
    let machine = machine(&(NEW.to_owned() + &xlate(0, 0x5000, 3).repeat(25)));
    assert_eq!((machine.disagreements().shown().len(), machine.disagreements().count()), (10, 25));
    assert_eq!(machine.translations().disagreed, 25);
}

#[test]
fn translations_outside_a_window_are_compared_too() {
    let none = |liobn: u32, offset: u64| {
        format!("spapr_iommu_xlate liobn={liobn:#x} {offset:#x} -> 0x0 perm=0 mask=0xffffffff\n")
    };
    let log = NEW.to_owned() + &none(PCI, 1 << 30) + &none(PCI, u64::MAX) + &xlate(1 << 30, 0, 0);
    let machine = machine(&log);
    assert_eq!(machine.translations(), Agreement { agreed: 2, disagreed: 1, learned: 0 });
    // A window that was removed answers the same for every address.
    let log = format!("{NEW}spapr_iommu_ddw_remove liobn=0x80000000\n{}", none(PCI, 0));
    assert_eq!(self::machine(&log).translations().agreed, 1);
}

#[test]
fn ddw_create_makes_an_empty_table_where_it_says() {
    let log = NEW.to_owned()
        + "spapr_iommu_new_table liobn=0x80000001 table=0x1 fd=-1\n\
           spapr_iommu_ddw_create buid=0x800000020000000 addr=0x0, page size=0x1000000, requested=0x40000000, start addr=0x800000000000000, liobn=0x80000001\n\
           spapr_iommu_pci_put liobn=0x80000001 ioba=0x800000001000000 tce=0x7000003 ret=0\n\
           spapr_iommu_xlate liobn=0x80000001 0x1000010 -> 0x7000000 perm=3 mask=0xffffff\n";
    let mut machine = machine(&log);
    assert_eq!(machine.table(DDW).unwrap().geometry(), sized(DDW, 1 << 59, 24, 1 << 30).unwrap());
    assert_eq!((counts(&machine, DDW), machine.translations().agreed), ((1, 0), 1));
    run_on(&mut machine, "spapr_iommu_ddw_remove liobn=0x80000001\n");
    assert!(machine.table(DDW).is_none() && machine.table(PCI).is_some());
    run_on(&mut machine, "spapr_iommu_pci_put liobn=0x80000001 ioba=0x800000001000000 tce=0x7000003 ret=0\n");
    assert_eq!(machine.problems().shown()[0].trouble, Trouble::NoTable);
}

#[test]
fn ddw_reset_restores_the_default_window_empty() {
    let log = NEW.to_owned()
        + &put(0x1000, 3)
        + "spapr_iommu_new_table liobn=0x80000001 table=0x1 fd=-1\n\
           spapr_iommu_ddw_create buid=0x800000020000000 addr=0x0, page size=0x10000, requested=0x40000000, start addr=0x800000000000000, liobn=0x80000001\n\
           spapr_iommu_new_table liobn=0x80000000 table=0x1 fd=-1\n\
           spapr_iommu_ddw_reset buid=0x800000020000000 addr=0x0\n";
    let machine = machine(&log);
    assert_eq!(counts(&machine, PCI), (0, 0));
    assert!(machine.table(DDW).is_none());
}

#[test]
fn a_dynamic_window_in_the_first_slot_does_not_remove_the_second() {
    let create = |liobn: u32, start: u64| {
        format!(
            "spapr_iommu_new_table liobn={liobn:#x} table=0x1 fd=-1\n\
             spapr_iommu_ddw_create buid=0x800000020000000 addr=0x0, page size=0x10000, requested=0x40000000, start addr={start:#x}, liobn={liobn:#x}\n"
        )
    };
    let log = format!("{NEW}{}spapr_iommu_ddw_remove liobn=0x80000000\n{}", create(DDW, 1 << 59), create(PCI, 0));
    let machine = machine(&log);
    assert_eq!((counts(&machine, PCI), counts(&machine, DDW)), ((0, 0), (0, 0)));
    assert_eq!(machine.table(PCI).unwrap().geometry().page_shift, 16);
}

#[test]
fn another_new_table_leaves_everything_unknown_but_what_a_reset_cannot_change() {
    let log = NEW.to_owned()
        + NEW_VIO
        + &put(0x1000, 3)
        + "spapr_iommu_put liobn=0x71000003 ioba=0x1000 tce=0x5003 ret=0\n\
           spapr_iommu_new_table liobn=0x80000001 table=0x1 fd=-1\n\
           spapr_iommu_ddw_create buid=0x800000020000000 addr=0x0, page size=0x10000, requested=0x40000000, start addr=0x800000000000000, liobn=0x80000001\n"
        + NEW;
    let mut machine = machine(&log);
    assert_eq!(counts(&machine, PCI), (0, ALL));
    // The reset also empties VIO tables: what was empty stays so, what was not is unknown.
    assert_eq!(counts(&machine, VIO), (0, 1));
    assert!(machine.table(DDW).is_none());
    // It was no reset after all: the window is used.
    run_on(&mut machine, "spapr_iommu_pci_put liobn=0x80000001 ioba=0x800000000010000 tce=0x7000003 ret=0\n");
    assert_eq!(counts(&machine, DDW), (1, (1 << 14) - 1));
    assert_eq!(machine.problems().count(), 0);
}

#[test]
fn a_table_that_moves_keeps_its_contents() {
    let region = "vfio_listener_region_add_iommu region_add [iommu] tce-iommu-80000000 0x0 - 0x3fffffff\n";
    let known = machine(&(NEW.to_owned() + &put(0x1000, 3) + region + NEW));
    assert_eq!(counts(&known, PCI), (1, 0));
    // Not directly after it.
    let later = machine(&(NEW.to_owned() + region + &put(0x1000, 3) + NEW));
    assert_eq!(counts(&later, PCI), (0, ALL));
    // In a log that begins in mid-run nothing is known of what moved.
    let begun = machine(&(region.to_owned() + NEW));
    assert_eq!(counts(&begun, PCI), (0, ALL));
}

#[test]
fn a_table_in_the_kernel_and_one_from_a_stream_are_unknown() {
    let kernel = machine(&(NEW.to_owned() + &put(0x1000, 3) + &NEW.replace("-1", "7")));
    assert_eq!(counts(&kernel, PCI), (0, ALL));
    let kernel = machine(&(NEW.replace("-1", "7") + &xlate(0, 0x5000, 3) + &xlate(0, 0x6000, 3)));
    // Who changes it does not log it: the newest answer counts.
    assert_eq!(kernel.translations(), Agreement { agreed: 0, disagreed: 0, learned: 2 });
    let loaded = machine(
        &(NEW.to_owned()
            + &put(0x1000, 3)
            + "spapr_iommu_post_load liobn=80000000 40000 => 0x20 bus_offset=0x800000000000000 ps=24\n"),
    );
    assert_eq!(counts(&loaded, PCI), (0, 32));
    assert_eq!(loaded.table(PCI).unwrap().geometry(), sized(PCI, 1 << 59, 24, 32 << 24).unwrap());
    let loaded = machine(&(NEW.to_owned() + "spapr_iommu_post_load liobn=80000000 40000 => 0x0 bus_offset=0x0 ps=0\n"));
    assert!(loaded.table(PCI).is_none());
}

#[test]
fn geometry_is_taken_from_lines_that_tell_it() {
    // A default window of 2 GiB, and a dynamic one that was made before the log began.
    let region = |liobn: u32, start: u64, last: u64| {
        format!("vfio_listener_region_add_iommu region_add [iommu] tce-iommu-{liobn:x} {start:#x} - {last:#x}\n")
    };
    let log = NEW.to_owned() + &put(0x1000, 3) + &region(PCI, 0, 0x7fff_ffff) + &put(0x7fff_f000, 3);
    let wide = machine(&log);
    assert_eq!((counts(&wide, PCI), wide.problems().count()), ((2, 0), 0));
    assert_eq!(wide.table(PCI).unwrap().geometry().entries, 1 << 19);
    // A section that another window hides in part.
    let part = machine(&(NEW.to_owned() + &region(PCI, 0x1000_0000, 0x3fff_ffff)));
    assert_eq!(part.table(PCI).unwrap().geometry().entries, 1 << 18);
    let begun = machine(&region(DDW, 1 << 59, (1 << 59) + 0x3fff_ffff));
    assert_eq!(begun.table(DDW).unwrap().geometry(), sized(DDW, 1 << 59, 12, 1 << 30).unwrap());
    let saved = machine("spapr_iommu_pre_save liobn=80000001 20 bus_offset=0x800000000000000 ps=24\n");
    assert_eq!(saved.table(DDW).unwrap().geometry(), sized(DDW, 1 << 59, 24, 32 << 24).unwrap());
    assert_eq!(counts(&saved, DDW), (0, 32));
    let answer = machine("spapr_iommu_xlate liobn=0x80000001 0x10 -> 0x50000 perm=3 mask=0xffff\n");
    assert_eq!(answer.table(DDW).unwrap().geometry(), sized(DDW, 0, 16, 1 << 30).unwrap());
    assert_eq!(answer.translations().learned, 1);
}

#[test]
fn geometry_that_the_caller_gives_is_kept() {
    let given = sized(PCI, 0, 12, 2 << 30).unwrap();
    let mut machine = LogMachine::new(&[given]);
    run_on(&mut machine, &(NEW.to_owned() + &put(0x7fff_f000, 3)));
    assert_eq!((counts(&machine, PCI), machine.table(PCI).unwrap().geometry()), ((1, 0), given));
    run_on(&mut machine, "spapr_iommu_pre_save liobn=80000000 40000 bus_offset=0x0 ps=12\n");
    assert_eq!(machine.problems().shown()[0].trouble, Trouble::OtherGeometry);
    // Its default window has it after a reset, too.
    run_on(&mut machine, &(NEW.to_owned() + "spapr_iommu_ddw_reset buid=0x800000020000000 addr=0x0\n"));
    assert_eq!((counts(&machine, PCI), machine.table(PCI).unwrap().geometry()), ((0, 0), given));
}

#[test]
fn calls_that_contradict_the_geometry_are_reported() {
    let log = NEW.to_owned()
        + &put(0x4000_0000, 3)
        + &stuff(0x4000_1000, 0, 4, 0)
        + &stuff(0x1000, 0, 4, 0)
        + &stuff(0x1000, 0, u64::MAX >> 1, 0)
        + "spapr_iommu_pci_put liobn=0x180000000 ioba=0x0 tce=0x3 ret=0\n\
           spapr_iommu_ddw_create buid=0x0 addr=0x0, page size=0x1001, requested=0x40000000, start addr=0x0, liobn=0x80000001\n\
           spapr_iommu_ddw_create buid=0x0 addr=0x0, page size=0x1000, requested=0xffffffffffffffff, start addr=0x0, liobn=0x80000001\n";
    let machine = machine(&log);
    let troubles: Vec<(Trouble, u64)> = machine.problems().shown().iter().map(|one| (one.trouble, one.line)).collect();
    assert_eq!(
        troubles,
        [
            (Trouble::OutsideWindow, 2),
            (Trouble::OutsideWindow, 3),
            (Trouble::OutsideWindow, 4),
            (Trouble::OutsideWindow, 5),
            (Trouble::NoTable, 6),
            (Trouble::BadGeometry, 7),
            (Trouble::BadGeometry, 8),
        ]
    );
    assert_eq!(counts(&machine, PCI), (0, 0));
}

#[test]
fn lists_outside_a_window_leave_the_entries_inside_unknown() {
    let ddw = "spapr_iommu_ddw_create buid=0x800000020000000 addr=0x0, page size=0x1000, requested=0x10000, start addr=0x100000, liobn=0x80000000\n";
    for (ioba, last, ret, unknown) in
        [(0, 15, -4, 0), (0xf_0000, 15, 0, 0), (0x11_0000, 15, -4, 0), (0xf_f000, 1, 0, 1), (0x10_f000, 511, -4, 1)]
    {
        let machine = machine(&(ddw.to_owned() + &indirect(ioba, last, 0x5003, ret)));
        assert_eq!(counts(&machine, PCI), (0, unknown), "{ioba:#x}");
    }
}

#[test]
fn a_log_with_too_many_tables_or_too_much_knowledge_takes_bounded_memory() {
    let tables: String = (0..3000).map(|at| format!("spapr_iommu_new_table liobn={at:#x} table=0x1 fd=-1\n")).collect();
    let machine = machine(&tables);
    assert_eq!((machine.tables().count(), machine.problems().count()), (1024, 3000 - 1024));
    let mut log = String::new();
    for liobn in ["0x80000001", "0x80000101"] {
        log += &format!(
            "spapr_iommu_ddw_create buid=0x800000020000000 addr=0x0, page size=0x1000, requested=0x80000000000, start addr=0x0, liobn={liobn}\n"
        );
        // One entry of each 512 stays unknown.
        for at in 0..100_000u64 {
            let ioba = at << 21;
            log += &format!(
                "spapr_iommu_pci_indirect liobn={liobn} ioba={ioba:#x} tcelist=0x0 iobaN=0x1 tceN=0x0 ret=0\n"
            );
        }
    }
    let machine = self::machine(&log);
    assert!((1..20).contains(&machine.problems().count()));
    let problem = machine.problems().shown()[0];
    assert_eq!((problem.trouble, problem.liobn), (Trouble::TooMuch, 0x8000_0101));
    assert_eq!(machine.table(DDW).map(RebuiltTable::unknown), Some(100_000));
}

const HOTPLUG: &str = "vfio_listener_region_add_iommu region_add [iommu] tce-iommu-80000000 0x0 - 0x3fffffff\n\
    spapr_iommu_new_table liobn=0x80000000 table=0x2 fd=-1\n";

fn notify(what: &str, start: u64) -> String {
    format!("vfio_iommu_map_notify iommu {what} @ {start:#x} - {:#x}\n", start + 0xfff)
}

#[test]
fn a_hotplug_stops_before_the_first_live_call() {
    let log = NEW.to_owned()
        + &put(0x1000, 0x1003)
        + &indirect(0x4000, 1, 0x5003, 0)
        + HOTPLUG
        + &notify("MAP", 0x1000)
        + &notify("MAP", 0x4000)
        + &notify("MAP", 0x5000)
        + "vfio_listener_region_skip SKIPPING region_add 0x40000000000 - 0x40000000fff\n"
        + &notify("MAP", 0x6000)
        + &put(0x6000, 0x6003)
        + &notify("UNMAP", 0x6000)
        + &stuff(0x7000, 0, 1, 0)
        + "vfio_listener_region_del_iommu region_del [iommu] tce-iommu-80000000\n\
           vfio_listener_region_del region_del 0x0 - 0x3fffffff\n\
           vfio_disconnect_container close container->fd=13\n"
        + &put(0x7000, 3);
    let (machine, stops) = run(&log);
    assert_eq!(stops, [(Stop::Hotplug, 10), (Stop::Unplug, 15)]);
    let [hotplug] = machine.hotplugs() else { panic!("one") };
    assert_eq!((hotplug.line, &hotplug.liobns[..]), (4, &[PCI][..]));
    assert_eq!(hotplug.comparison, Some(Comparison { replayed: 3, agreed: 2, missing: 0, extra: 0, unknown: 1 }));
    assert_eq!(hotplug.unplug, Some(Unplug { line: 14, events: 13 }));
}

#[test]
fn what_qemu_replayed_is_compared_with_what_is_known() {
    let log =
        NEW.to_owned() + &put(0x1000, 3) + &put(0x2000, 3) + HOTPLUG + &notify("MAP", 0x2000) + &notify("MAP", 0x9000);
    let (machine, stops) = run(&log);
    assert_eq!(stops, [(Stop::Hotplug, 7)]);
    let expected = Comparison { replayed: 2, agreed: 1, missing: 1, extra: 1, unknown: 0 };
    assert_eq!(machine.hotplugs()[0].comparison, Some(expected));
}

#[test]
fn what_qemu_reveals_while_it_replays_is_known_at_the_hotplug() {
    let log =
        HOTPLUG.to_owned() + &xlate(0x1000, 0x5000, 3) + &notify("MAP", 0x1000) + &xlate(0x2000, 0, 0) + &put(0, 3);
    let mut machine = LogMachine::default();
    let mut at = 0;
    assert_eq!(machine.run(log.as_bytes(), &mut at, true), Stop::Hotplug);
    assert_eq!(counts(&machine, PCI), (1, ALL - 2));
    assert_eq!(machine.run(log.as_bytes(), &mut at, true), Stop::End);
    assert_eq!(counts(&machine, PCI), (2, ALL - 3));
}

#[test]
fn a_window_that_is_added_or_removed_while_a_container_is_attached_is_no_hotplug() {
    let create = "spapr_iommu_new_table liobn=0x80000001 table=0x1 fd=-1\n\
        vfio_listener_region_add_iommu region_add [iommu] tce-iommu-80000001 0x800000000000000 - 0x80000003fffffff\n\
        spapr_iommu_new_table liobn=0x80000001 table=0x2 fd=-1\n\
        spapr_iommu_ddw_create buid=0x800000020000000 addr=0x0, page size=0x10000, requested=0x40000000, start addr=0x800000000000000, liobn=0x80000001\n";
    let remove = "vfio_listener_region_del_iommu region_del [iommu] tce-iommu-80000001\n\
        vfio_listener_region_del region_del 0x800000000000000 - 0x80000003fffffff\n\
        spapr_iommu_ddw_remove liobn=0x80000001\n";
    let mut machine = LogMachine::default();
    machine.watch(PCI);
    let log = NEW.to_owned() + HOTPLUG + &put(0x1000, 3) + create + &put(0x2000, 0x2003) + remove + &put(0x2000, 0);
    let stops = run_on(&mut machine, &log);
    let expected = [
        // What the first line means shows the put; the hotplug's stop comes after the table's.
        (Stop::Topology, 3),
        (Stop::Hotplug, 3),
        (Stop::Change, 4),
        (Stop::Topology, 8),
        (Stop::Change, 9),
        (Stop::Topology, 12),
        (Stop::Change, 13),
    ];
    assert_eq!(stops, expected);
    assert_eq!((machine.hotplugs().len(), machine.hotplugs()[0].unplug), (1, None));
}

#[test]
fn a_hotplug_onto_two_windows_is_one() {
    let log = NEW.to_owned()
        + "spapr_iommu_new_table liobn=0x80000001 table=0x1 fd=-1\n\
           spapr_iommu_ddw_create buid=0x800000020000000 addr=0x0, page size=0x10000, requested=0x10000000, start addr=0x1000000000, liobn=0x80000001\n\
           spapr_iommu_pci_put liobn=0x80000001 ioba=0x1000000000 tce=0x10003 ret=0\n"
        + HOTPLUG
        + "vfio_listener_region_add_iommu region_add [iommu] tce-iommu-80000001 0x1000000000 - 0x100fffffff\n\
           spapr_iommu_new_table liobn=0x80000001 table=0x2 fd=-1\n\
           vfio_iommu_map_notify iommu MAP @ 0x1000000000 - 0x100000ffff\n\
           vfio_listener_region_del_iommu region_del [iommu] tce-iommu-80000000\n\
           vfio_listener_region_del_iommu region_del [iommu] tce-iommu-80000001\n";
    let (machine, stops) = run(&log);
    assert_eq!(stops, [(Stop::Hotplug, 9), (Stop::Unplug, 11)]);
    let [hotplug] = machine.hotplugs() else { panic!("one") };
    assert_eq!(hotplug.liobns, [PCI, DDW]);
    assert_eq!(hotplug.comparison.unwrap().agreed, 1);
    assert_eq!(hotplug.unplug.unwrap().line, 10);
}

#[test]
fn regions_of_other_iommus_are_no_hotplug() {
    let (machine, stops) = run("vfio_listener_region_add_iommu region_add [iommu] vtd-04.0-dmar 0x0 - 0xfedfffff\n\
         vfio_iommu_map_notify iommu MAP @ 0x0 - 0xfff\n\
         vfio_listener_region_del_iommu region_del [iommu] vtd-04.0-dmar\n");
    assert!(stops.is_empty() && machine.hotplugs().is_empty());
    assert_eq!(machine.parser().events(), 3);
}

#[test]
fn a_watched_table_tells_what_changes() {
    let mut machine = LogMachine::default();
    run_on(&mut machine, &(NEW.to_owned() + &put(0x1000, 0x1003)));
    machine.watch(PCI);
    let log = put(0x1000, 0x2003) + &put(0x1000, 0x2ff3) + &put(0x3000, 0) + &stuff(0x2000, 0, 1, -4);
    let mut at = 0;
    assert_eq!(machine.run(log.as_bytes(), &mut at, true), Stop::Change);
    assert_eq!(machine.changed(), PCI);
    assert_eq!((machine.change().unmaps()[0].target.0, machine.change().maps()[0].target.0), (0x1000, 0x2000));
    // Neither the same mapping again, nor the clearing of an empty entry, nor a call that can have stored nothing.
    assert_eq!(machine.run(log.as_bytes(), &mut at, true), Stop::End);
    // What becomes unknown is no longer there, what becomes known is.
    let mut at = 0;
    let log = indirect(0x1000, 1, 0x9003, 0) + &xlate(0x1000, 0x7000, 3);
    assert_eq!(machine.run(log.as_bytes(), &mut at, true), Stop::Change);
    assert_eq!((machine.change().unmaps().len(), machine.change().maps()[0].iova.0), (1, 0x2000));
    assert_eq!(machine.run(log.as_bytes(), &mut at, true), Stop::Change);
    assert_eq!((machine.change().unmaps().len(), machine.change().maps()[0].iova.0), (0, 0x1000));
    machine.unwatch(PCI);
    assert!(run_on(&mut machine, &put(0x1000, 0)).is_empty());
}

#[test]
fn who_watches_everything_hears_of_tables_that_nobody_named() {
    let mut machine = LogMachine::default();
    machine.watch_all(true);
    let vio = "spapr_iommu_put liobn=0x71000003 ioba=0x1000 tce=0x5003 ret=0\n";
    // A reset of the machine empties the tables of VIO devices, without a line of theirs.
    let log = NEW.to_owned() + &put(0x1000, 0x1003) + vio + NEW + &put(0x2000, 0x2003);
    let expected = [
        (Stop::Topology, 1),
        (Stop::Change, 2),
        (Stop::Topology, 3),
        (Stop::Change, 3),
        (Stop::Topology, 4),
        (Stop::Change, 5),
    ];
    assert_eq!(run_on(&mut machine, &log), expected);
    machine.watch_all(false);
    assert!(run_on(&mut machine, &put(0x1000, 0)).is_empty());
}

#[test]
fn the_peak_is_the_last_line_that_made_it() {
    let log = NEW.to_owned() + &put(0x1000, 3) + &put(0x2000, 3) + &put(0x2000, 0) + &put(0x3000, 3) + &put(0x3000, 0);
    let machine = machine(&log);
    let peaks: Vec<Peak> = machine.peaks().collect();
    assert_eq!(peaks, [Peak { owner: PCI, in_use: 1, peak: 2, line: 5 }]);
    // What a list stored is in use, though nobody knows where it points.
    let machine = self::machine(&(NEW.to_owned() + &indirect(0, 15, 0x3003, 0) + &stuff(0x10000, 0, 16, 0)));
    assert_eq!(machine.peaks().next().unwrap().peak, 16);
}

#[test]
fn the_last_line_is_read_without_its_end_unless_it_seems_cut() {
    let log = NEW.to_owned() + &put(0x1000, 0x5003);
    let ends = |line: &str| {
        let machine = machine(&(log.clone() + line.trim_end()));
        let parser = machine.parser();
        (parser.events(), parser.unparsed(), machine.translations().disagreed, machine.problems().count())
    };
    assert_eq!(ends(&put(0x2000, 3)), (3, 0, 0, 0));
    assert_eq!(ends(&xlate(0x1000, 0x5000, 3)), (3, 0, 0, 0));
    assert_eq!(ends(&xlate(0x1000, 0x6000, 3)), (3, 0, 1, 0));
    // However short it is cut, a line that agrees does not disagree.
    let lines = [
        xlate(0x1000, 0x5000, 3),
        put(0x2000, 3),
        indirect(0x2000, 3, 0x9003, 0),
        stuff(0x2000, 0, 1, 0),
        "spapr_iommu_pci_get liobn=0x80000000 ioba=0x1000 ret=0 tce=0x5003\n".to_owned(),
        "spapr_iommu_pre_save liobn=80000000 40000 bus_offset=0x0 ps=12\n".to_owned(),
        "spapr_iommu_ddw_remove liobn=0x80000000\n".to_owned(),
        "vfio_listener_region_add_iommu region_add [iommu] tce-iommu-80000000 0x0 - 0x3fffffff\n".to_owned(),
        "spapr_iommu_ddw_create buid=0x800000020000000 addr=0x0, page size=0x10000, requested=0x10000000, start addr=0x1000000000, liobn=0x80000001\n".to_owned(),
    ];
    for line in lines {
        for length in 0..line.len() {
            let cut: String = line.chars().take(length).collect();
            let (_, _, disagreed, problems) = ends(&cut);
            assert_eq!((disagreed, problems), (0, 0), "{cut}");
        }
    }
}

#[test]
fn limits_stop_before_the_events_beyond_them() {
    let log = NEW.to_owned() + &put(0x1000, 3) + &put(0x2000, 3);
    let mut machine = LogMachine::default();
    machine.set_limits(Limits { line: 2, ..Limits::NONE });
    let mut at = 0;
    assert_eq!(machine.run(log.as_bytes(), &mut at, true), Stop::Limit);
    assert_eq!(counts(&machine, PCI), (1, 0));
    machine.set_limits(Limits::NONE);
    assert_eq!(machine.run(log.as_bytes(), &mut at, true), Stop::End);
    assert_eq!(counts(&machine, PCI), (2, 0));
}

/// A plain model: what each of some entries is known to hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Plain {
    Unknown,
    Page(u64),
    Value(u64),
}

#[derive(Clone, Debug)]
enum Step {
    Put(u32, u64),
    Stuff(u32, u32, u64),
    Indirect(u32, u32, u64),
    Failed(u32, u32),
    /// QEMU's answer about an entry; the machine learns it where it knows nothing.
    Xlate(u32, u64),
    Get(u32, u64),
}

const SPACE: u32 = 24;

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let tce = prop_oneof![Just(0u64), (1..6u64, 0..4u64).prop_map(|(page, perm)| page << 12 | perm)];
    let run = (0..SPACE, 1..8u32).prop_map(|(first, count)| (first, count.min(SPACE - first)));
    prop::collection::vec(
        prop_oneof![
            (0..SPACE, tce.clone()).prop_map(|(index, tce)| Step::Put(index, tce)),
            (run.clone(), tce.clone()).prop_map(|((first, count), tce)| Step::Stuff(first, count, tce)),
            (run.clone(), tce.clone()).prop_map(|((first, count), tce)| Step::Indirect(first, count, tce)),
            run.prop_map(|(first, count)| Step::Failed(first, count)),
            (0..SPACE, tce.clone()).prop_map(|(index, tce)| Step::Xlate(index, tce)),
            (0..SPACE, tce).prop_map(|(index, tce)| Step::Get(index, tce)),
        ],
        1..60,
    )
}

fn line(step: &Step) -> String {
    let address = |index: u32| u64::from(index) << 12;
    match *step {
        Step::Put(index, tce) => put(address(index), tce),
        Step::Stuff(first, count, tce) => stuff(address(first + count), tce, u64::from(count), 0),
        Step::Indirect(first, count, tce) => indirect(address(first), u64::from(count - 1), tce, 0),
        Step::Failed(first, count) => indirect(address(first), u64::from(count - 1), 7, -4),
        Step::Xlate(index, tce) => xlate(address(index), tce & !0xfff, (tce & 3) as u8),
        Step::Get(index, tce) => {
            format!("spapr_iommu_pci_get liobn=0x80000000 ioba={:#x} ret=0 tce={tce:#x}\n", address(index))
        }
    }
}

fn apply(model: &mut [Plain], step: &Step) {
    let span = |first: u32, count: u32| first as usize..(first + count) as usize;
    match *step {
        Step::Put(index, tce) => model[index as usize] = Plain::Value(tce),
        Step::Stuff(first, count, tce) => model[span(first, count)].fill(Plain::Value(tce)),
        Step::Indirect(first, count, tce) => {
            model[span(first, count)].fill(Plain::Unknown);
            model[(first + count - 1) as usize] = Plain::Value(tce);
        }
        Step::Failed(first, count) => model[span(first, count)].fill(Plain::Unknown),
        Step::Xlate(index, tce) => {
            let entry = &mut model[index as usize];
            if *entry == Plain::Unknown {
                *entry = Plain::Page(tce);
            }
        }
        Step::Get(index, tce) => {
            let entry = &mut model[index as usize];
            let known = matches!(*entry, Plain::Value(_)) || matches!(*entry, Plain::Page(page) if page != tce);
            if !known {
                *entry = Plain::Value(tce);
            }
        }
    }
}

proptest! {
    #[test]
    fn a_machine_knows_what_a_plain_model_knows(begun: bool, steps in steps()) {
        let mut model = [if begun { Plain::Unknown } else { Plain::Value(0) }; SPACE as usize];
        let mut machine = LogMachine::default();
        machine.watch(PCI);
        if !begun {
            run_on(&mut machine, NEW);
        }
        // By which call each entry was stored; an entry of unknown history has a call of its own.
        let mut calls: Vec<u32> = (0..SPACE).collect();
        let mut newest = SPACE;
        // What a mirror that is told of changes holds.
        let mut mirror = [0u64; SPACE as usize];
        for step in &steps {
            let text = line(step);
            let mut at = 0;
            loop {
                match machine.run(text.as_bytes(), &mut at, true) {
                    Stop::End => break,
                    Stop::Change => {
                        for extent in machine.change().unmaps() {
                            let first = (extent.iova.0 >> 12) as usize;
                            for (page, entry) in mirror[first..first + extent.pages as usize].iter_mut().enumerate() {
                                let target = extent.target.0 + ((page as u64) << 12);
                                prop_assert_eq!(*entry, target | u64::from(extent.perm.bits()));
                                *entry = 0;
                            }
                        }
                        for extent in machine.change().maps() {
                            let first = (extent.iova.0 >> 12) as usize;
                            for (page, entry) in mirror[first..first + extent.pages as usize].iter_mut().enumerate() {
                                prop_assert_eq!(*entry, 0);
                                *entry = (extent.target.0 + ((page as u64) << 12)) | u64::from(extent.perm.bits());
                            }
                        }
                    }
                    Stop::Topology => {}
                    stop => prop_assert!(false, "{stop:?}"),
                }
            }
            apply(&mut model, step);
            match *step {
                Step::Put(first, _) => calls[first as usize] = newest,
                Step::Stuff(first, count, _) | Step::Indirect(first, count, _) => {
                    calls[first as usize..(first + count) as usize].fill(newest);
                }
                Step::Failed(first, count) => (first..first + count).for_each(|at| calls[at as usize] = newest + at),
                Step::Xlate(..) | Step::Get(..) => {}
            }
            newest += SPACE;
            let Some(table) = machine.table(PCI) else { continue };
            for (index, expected) in (0u32..).zip(&model) {
                let found = match table.knowledge(index) {
                    Knowledge::Unknown => Plain::Unknown,
                    Knowledge::Page(value) => Plain::Page(value),
                    Knowledge::Value(value) => Plain::Value(value),
                };
                prop_assert_eq!(found, *expected, "entry {} after {:?}", index, step);
                let mapped = match expected {
                    Plain::Page(value) | Plain::Value(value) if value & 3 != 0 => *value,
                    _ => 0,
                };
                prop_assert_eq!(mirror[index as usize], mapped, "entry {} of the mirror after {:?}", index, step);
            }
            let begins_run = |at: &usize| {
                let (before, this) = (at.checked_sub(1).map_or(0, |at| mirror[at]), mirror[*at]);
                this != 0 && (this != before + 0x1000 || before == 0 || calls[*at] != calls[at - 1])
            };
            let runs = u32::try_from((0..SPACE as usize).filter(begins_run).count()).unwrap();
            prop_assert_eq!(table.table().count_runs(Runs::Call), runs, "runs of calls after {:?}", step);
            let unknown = model.iter().filter(|entry| **entry == Plain::Unknown).count() as u64;
            let others = if begun { ALL - u64::from(SPACE) } else { 0 };
            prop_assert_eq!(table.unknown(), unknown + others);
        }
    }

    #[test]
    fn pieces_and_limits_do_not_change_what_a_machine_finds(
        lines in prop::collection::vec(0..12usize, 1..60),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let kinds = [
            NEW.to_owned(), NEW_VIO.to_owned(), HOTPLUG.to_owned(), put(0x1000, 0x5003), indirect(0x1000, 7, 0x9003, 0),
            indirect(0x3fff_f000, 3, 0x9003, -4), stuff(0x9000, 0, 9, 0), xlate(0x1000, 0x5000, 3), notify("MAP", 0x1000),
            "vfio_listener_region_del_iommu region_del [iommu] tce-iommu-80000000\n".to_owned(),
            "spapr_iommu_ddw_create buid=0x800000020000000 addr=0x0, page size=0x10000, requested=0x10000000, start addr=0x1000000000, liobn=0x80000001\n".to_owned(),
            "spapr_iommu_ddw_reset buid=0x800000020000000 addr=0x0\n".to_owned(),
        ];
        let mut log = lines.iter().map(|at| kinds[*at].as_str()).collect::<String>().into_bytes();
        let length = log.len();
        for (at, byte) in damage {
            log[at.index(length)] = byte;
        }
        let mut cuts: Vec<usize> = cuts.iter().map(|at| at.index(length)).collect();
        cuts.sort_unstable();
        let state = |machine: &LogMachine| {
            let tables: Vec<_> = machine.tables().map(|table| (table.geometry(), table.table().mapped(), table.unknown())).collect();
            (
                machine.parser().clone(), tables, machine.translations(), machine.disagreements().clone(),
                machine.problems().clone(), machine.hotplugs().to_vec(), machine.peaks().collect::<Vec<_>>(),
            )
        };
        let mut whole = LogMachine::default();
        let mut at = 0;
        while whole.run(&log, &mut at, true) != Stop::End {}
        let mut pieces = LogMachine::default();
        let (mut kept, mut from) = (Vec::new(), 0);
        for to in cuts.into_iter().chain([length]) {
            kept.extend_from_slice(&log[from..to]);
            from = to;
            let mut at = 0;
            while !matches!(pieces.run(&kept, &mut at, to == length), Stop::End | Stop::Input) {}
            kept.drain(..at);
        }
        prop_assert_eq!(state(&whole), state(&pieces));
    }
}
