mod forged;

use super::*;
use crate::address::Iova;
use crate::hcall::H_SUCCESS;
use crate::spapr::{Event, token};
use crate::tce_table::Runs;

const UNIT: u32 = 0x7100_0001;
const FIRST: u64 = 0x8000_0000;
const SECOND: u64 = 0x8000_0001;

struct Guest {
    machine: SpaprMachine,
    effects: Effects,
}

impl Guest {
    fn new() -> Self {
        Self::with(PhbConfig::new(0))
    }

    fn with(config: PhbConfig) -> Self {
        let mut machine = SpaprMachine::new(1 << 20);
        machine.add_phb(config).expect("a bridge");
        machine.add_vio(VioConfig::new(UNIT)).expect("a device");
        Self { machine, effects: Effects::new() }
    }

    fn create(&mut self, page: u32, window: u32) {
        let args = [0, 0x0800_0000, 0x2000_0000, page, window];
        assert_eq!(self.machine.rtas(token::CREATE, &args, 4, &mut self.effects).status(), 0);
    }

    fn remove(&mut self, liobn: u64) {
        let liobn = u32::try_from(liobn).expect("32 bits");
        assert_eq!(self.machine.rtas(token::REMOVE, &[liobn], 1, &mut self.effects).status(), 0);
    }

    fn put(&mut self, liobn: u64, ioba: u64, values: &[u64]) {
        assert_eq!(self.machine.h_put_tce_list(liobn, ioba, values, &mut self.effects), H_SUCCESS);
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<Vec<String>, SnapshotError> {
        self.machine.restore(bytes, &mut self.effects)?;
        let event = |event: &Event| match event {
            Event::WindowAdded { liobn, table } => format!("+{liobn:x}:{}", table.borrow().stored()),
            Event::WindowRemoved { liobn, .. } => format!("-{liobn:x}"),
            Event::Changed { liobn, change, .. } => {
                format!("!{liobn:x}:{}:{}", change.unmaps().len(), change.maps().len())
            }
            Event::Bypass { unit, on } => format!("{unit:x}:{on}"),
        };
        Ok(self.effects.events.iter().map(event).collect())
    }
}

/// A machine in which most things are other than at the start.
fn busy() -> Guest {
    let mut guest = Guest::new();
    guest.create(16, 40);
    guest.put(FIRST, 0x5000, &[0x1003, 0x2003, 0x3003, 0, u64::MAX, 0x9001, 0x7ff0, 8, 8, 8]);
    guest.put(FIRST, 0x7000, &[0x3003]);
    guest.put(SECOND, 1 << 59, &[0x10_0003, 0x11_0003]);
    guest.put(UNIT.into(), 0xfff_f000, &[0x77_7003]);
    assert_eq!(guest.machine.rtas(token::SET_TCE_BYPASS, &[UNIT, 1], 1, &mut guest.effects).status(), 0);
    guest
}

fn refused(bytes: &[u8]) -> SnapshotError {
    SpaprMachine::from_snapshot(bytes, 1 << 20).map(|_| ()).expect_err("refused")
}

#[test]
fn a_restored_machine_is_the_one_that_was_saved() {
    let saved = busy().machine.save();
    let machine = SpaprMachine::from_snapshot(&saved, 1 << 20).expect("sound");
    assert_eq!(machine.save(), saved);
    assert_eq!(machine.stored(), busy().machine.stored());
    let mut other = Guest::new();
    let events = other.restore(&saved).expect("the same devices");
    assert_eq!(events, ["!71000001:0:1", "!80000000:0:3", "+80000001:2", "71000001:true"]);
    assert_eq!(other.machine.save(), saved);
    assert_eq!(other.restore(&saved).expect("again"), [""; 0], "nothing changes then");
    let first = other.machine.table(FIRST).expect("a window").borrow();
    assert_eq!(first.get(9), u64::MAX);
    assert_eq!([Runs::Full, Runs::Call].map(|runs| first.count_runs(runs)), [3, 4], "calls are still calls");
}

#[test]
fn a_window_that_lies_elsewhere_is_replaced_and_one_that_does_not_keeps_its_handle() {
    let saved = busy().machine.save();
    let mut guest = Guest::new();
    let first = guest.machine.table(FIRST).expect("a window").clone();
    guest.create(12, 40);
    guest.put(SECOND, 1 << 59, &[3]);
    let before = guest.machine.save();
    let events = guest.restore(&saved).expect("the same devices");
    assert_eq!(events, ["!71000001:0:1", "!80000000:0:3", "-80000001", "+80000001:2", "71000001:true"]);
    assert!(std::rc::Rc::ptr_eq(&first, guest.machine.table(FIRST).expect("a window")));
    assert!(guest.machine.undo(&mut guest.effects));
    assert_eq!(guest.machine.save(), before);
    assert_eq!(guest.machine.stored(), 1);
}

#[test]
fn what_only_the_bits_that_mean_nothing_tell_apart_is_restored_and_told_to_nobody() {
    let mut guest = Guest::new();
    guest.put(FIRST, 0, &[0x1003]);
    let saved = guest.machine.save();
    guest.put(FIRST, 0, &[0x1ff3]);
    let before = guest.machine.save();
    assert_eq!(guest.restore(&saved).expect("the same devices"), ["!80000000:0:0"]);
    assert_eq!(guest.machine.save(), saved);
    assert!(guest.machine.undo(&mut guest.effects));
    assert_eq!(guest.machine.save(), before);
}

#[test]
fn the_removal_of_all_windows_is_restored() {
    let mut guest = Guest::new();
    guest.remove(FIRST);
    guest.create(16, 30);
    guest.remove(FIRST);
    let saved = guest.machine.save();
    let mut other = busy();
    let events = other.restore(&saved).expect("the same devices");
    assert_eq!(events, ["!71000001:1:0", "-80000000", "-80000001", "71000001:false"]);
    assert_eq!((other.machine.stored(), other.machine.tables().count()), (0, 1));
    assert!(SpaprMachine::from_snapshot(&saved, 0).expect("it stores nothing").table(FIRST).is_none());
}

#[test]
fn the_limit_of_the_machine_holds_for_what_is_restored() {
    let guest = busy();
    let saved = guest.machine.save();
    let stored = u32::try_from(guest.machine.stored()).expect("few");
    assert!(SpaprMachine::from_snapshot(&saved, stored).is_ok());
    let limit = stored - 1;
    let error = SpaprMachine::from_snapshot(&saved, limit).map(|_| ()).expect_err("too many");
    assert_eq!(error, SnapshotError::EntryLimit { limit });
}

#[test]
fn a_machine_with_other_devices_or_options_is_told_which() {
    let saved = busy().machine.save();
    let error = |guest: &mut Guest| guest.restore(&saved).expect_err("another machine").to_string();
    let with = |change: &dyn Fn(&mut PhbConfig)| {
        let mut config = PhbConfig::new(0);
        change(&mut config);
        error(&mut Guest::with(config))
    };
    assert_eq!(with(&|phb| phb.index = 1), "bridge 0 is part of the snapshot alone");
    assert_eq!(with(&|phb| phb.ddw = false), "bridge 0 has ddw 0x0, and 0x1 in the snapshot");
    assert_eq!(with(&|phb| phb.pgsz = 0x1000), "bridge 0 has pgsz 0x1000, and 0x1211000 in the snapshot");
    assert_eq!(with(&|phb| phb.dma_win_addr = Iova(4096)), "bridge 0 has dma_win_addr 0x1000, and 0x0 in the snapshot");
    let size = with(&|phb| phb.dma_win_size = 1 << 31);
    assert_eq!(size, "bridge 0 has dma_win_size 0x80000000, and 0x40000000 in the snapshot");
    let far = with(&|phb| phb.dma64_win_addr = Iova(1 << 60));
    assert_eq!(far, "bridge 0 has dma64_win_addr 0x1000000000000000, and 0x800000000000000 in the snapshot");
    let mut more = Guest::new();
    more.machine.add_phb(PhbConfig::new(7)).expect("a bridge");
    assert_eq!(error(&mut more), "bridge 7 is part of the machine alone");
    let mut more = Guest::new();
    more.machine.add_vio(VioConfig::new(UNIT + 1)).expect("a device");
    assert_eq!(error(&mut more), "VIO device 0x71000002 is part of the machine alone");
    let mut other = SpaprMachine::new(9);
    other.add_phb(PhbConfig::new(0)).expect("a bridge");
    other.add_vio(VioConfig { unit: UNIT, window_size: 1 << 20 }).expect("a device");
    let error = other.restore(&saved, &mut Effects::new()).expect_err("another machine").to_string();
    assert_eq!(error, "the snapshot holds more than 9 entries that are not zero");
    let saved = Guest::new().machine.save();
    let error = other.restore(&saved, &mut Effects::new()).expect_err("another machine").to_string();
    assert_eq!(error, "VIO device 0x71000001 has window_size 0x100000, and 0x10000000 in the snapshot");
}

#[test]
fn bytes_that_are_no_snapshot_are_told_apart() {
    let saved = busy().machine.save();
    let alter = |at: usize, byte: u8| {
        let mut bytes = saved.clone();
        bytes[at] ^= byte;
        refused(&bytes)
    };
    assert_eq!(alter(3, 0x20), SnapshotError::Magic);
    assert_eq!(refused(b"QEVM"), SnapshotError::Magic);
    assert_eq!(alter(8, 3), SnapshotError::Version(2));
    assert!(matches!(alter(HEAD, 1), SnapshotError::Checksum { .. }));
    assert!(matches!(alter(saved.len() - 1, 1), SnapshotError::Checksum { .. }));
    let actual = saved.len() as u64;
    assert_eq!(alter(HEAD - 1, 0x80), SnapshotError::Cut { expected: actual | 1 << 63, actual });
    let more = [&saved[..], &[0]].concat();
    assert_eq!(refused(&more), SnapshotError::Inconsistent("bytes follow its end"));
    for length in 0..saved.len() {
        let expected = if length < HEAD { (HEAD + CHECKSUM) as u64 } else { actual };
        assert_eq!(refused(&saved[..length]), SnapshotError::Cut { expected, actual: length as u64 }, "{length}");
    }
}

#[test]
fn a_restore_that_is_refused_changes_nothing() {
    let mut guest = busy();
    let before = guest.machine.save();
    let saved = Guest::new().machine.save();
    guest.put(FIRST, 0, &[0x1003]);
    let after = guest.machine.save();
    assert!(guest.restore(&before[..before.len() - 1]).is_err());
    assert!(guest.effects.is_empty() && guest.machine.save() == after);
    let table = guest.machine.table(SECOND).expect("a window").clone();
    let held = table.borrow();
    assert_eq!(guest.restore(&saved), Err(SnapshotError::InUse(0x8000_0001)));
    drop(held);
    assert!(guest.machine.save() == after);
    assert!(guest.restore(&saved).is_ok());
}
