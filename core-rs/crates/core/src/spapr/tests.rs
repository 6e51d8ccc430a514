mod dma;
mod undo;

use super::*;
use crate::address::Iova;
use crate::hcall::{H_NOT_ENOUGH_RESOURCES, H_PARAMETER, H_SUCCESS};
use crate::tce_table::SharedTable;

const BUID: [u32; 2] = [0x0800_0000, 0x2000_0000];
const FIRST: u64 = 0x8000_0000;
const SECOND: u64 = 0x8000_0001;
const UNIT: u32 = 0x7100_0001;

struct Guest {
    machine: SpaprMachine,
    effects: Effects,
}

impl Guest {
    fn with_limit(limit: u32) -> Self {
        let mut machine = SpaprMachine::new(limit);
        machine.add_phb(PhbConfig::new(0)).expect("a bridge");
        machine.add_vio(VioConfig::new(UNIT)).expect("a device");
        Self { machine, effects: Effects::new() }
    }

    fn new() -> Self {
        Self::with_limit(u32::MAX)
    }

    fn rtas(&mut self, token: u32, args: &[u32], nret: u32) -> Vec<u32> {
        self.machine.rtas(token, args, nret, &mut self.effects).rets().to_vec()
    }

    fn create(&mut self, page: u32, window: u32) -> Vec<u32> {
        self.rtas(token::CREATE, &[0, BUID[0], BUID[1], page, window], 4)
    }

    fn remove(&mut self, liobn: u64) -> i32 {
        self.rtas(token::REMOVE, &[u32::try_from(liobn).expect("32 bits")], 1)[0].cast_signed()
    }

    fn put(&mut self, liobn: u64, ioba: u64, tce: u64) -> i64 {
        self.machine.h_put_tce(liobn, ioba, tce, &mut self.effects)
    }

    fn table(&self, liobn: u64) -> SharedTable {
        self.machine.table(liobn).expect("a window").clone()
    }

    /// What became of windows and devices, in short.
    fn events(&self) -> Vec<String> {
        let event = |event: &Event| match event {
            Event::WindowAdded { liobn, .. } => format!("+{liobn:x}"),
            Event::WindowRemoved { liobn, .. } => format!("-{liobn:x}"),
            Event::Changed { liobn, change, .. } => format!("0{liobn:x}:{}", change.unmaps().len()),
            Event::Bypass { unit, on } => format!("{unit:x}:{on}"),
        };
        self.effects.events.iter().map(event).collect()
    }
}

const PARAM: u32 = RTAS_PARAM_ERROR.cast_unsigned();
const HARDWARE: u32 = RTAS_HW_ERROR.cast_unsigned();

#[test]
fn shifts_of_64_and_more_are_parameter_errors() {
    let mut guest = Guest::new();
    for (page, window) in [(12, 64), (12, 76), (64, 64), (76, 76), (64, 128), (12, u32::MAX), (u32::MAX, u32::MAX)] {
        assert_eq!(guest.create(page, window), [PARAM], "{page} {window}");
    }
    assert!(guest.effects.is_empty());
}

#[test]
fn a_window_of_2_to_the_32_entries_fails_and_the_next_create_succeeds() {
    let mut guest = Guest::new();
    for window in [44, 45, 63] {
        assert_eq!(guest.create(12, window), [HARDWARE]);
        assert!(guest.effects.is_empty());
    }
    assert_eq!(guest.create(12, 43), [0, 0x8000_0001, 0x0800_0000, 0]);
    assert!(guest.machine.memory_bytes() < 1 << 20, "2^31 entries cost nothing");
}

#[test]
fn removing_the_table_of_a_vio_device_is_a_parameter_error() {
    let mut guest = Guest::new();
    assert_eq!(guest.remove(UNIT.into()), RTAS_PARAM_ERROR);
    assert!(guest.machine.table(UNIT.into()).is_some());
}

#[test]
fn a_window_past_the_top_of_the_bus_fails_and_leaves_nothing() {
    let mut guest = Guest::new();
    let config = PhbConfig { dma64_win_addr: Iova(u64::MAX << 20), ..PhbConfig::new(1) };
    guest.machine.add_phb(config).expect("a bridge");
    let args = |window| [0, BUID[0], BUID[1] + 1, 12, window];
    assert_eq!(guest.rtas(token::CREATE, &args(21), 4), [HARDWARE]);
    assert_eq!(guest.rtas(token::CREATE, &args(20), 4)[..2], [0, 0x8000_0101]);
}

#[test]
fn the_limit_counts_the_entries_of_all_tables() {
    let mut guest = Guest::with_limit(3);
    assert_eq!(guest.put(FIRST, 0, 3), H_SUCCESS);
    assert_eq!(guest.put(UNIT.into(), 0, 3), H_SUCCESS);
    let stuff =
        |guest: &mut Guest, tce, npages| guest.machine.h_stuff_tce([FIRST, 0x1000, tce, npages], &mut guest.effects);
    assert_eq!(stuff(&mut guest, 3, 2), H_NOT_ENOUGH_RESOURCES);
    assert_eq!(guest.machine.stored(), 2);
    assert_eq!(stuff(&mut guest, 3, 1), H_SUCCESS);
    assert_eq!(guest.put(UNIT.into(), 0x1000, 8), H_NOT_ENOUGH_RESOURCES);
    assert_eq!(guest.put(UNIT.into(), 0, 0x5003), H_SUCCESS, "an entry that is stored may change");
    // What is gone makes room, however it went.
    assert_eq!(guest.rtas(token::QUIESCE, &[], 1), [0]);
    assert_eq!(guest.put(FIRST, 0x2000, 3), H_SUCCESS);
    guest.machine.reset(&mut guest.effects);
    assert_eq!(stuff(&mut guest, 1, 3), H_SUCCESS);
    assert_eq!(guest.put(UNIT.into(), 0, 1), H_NOT_ENOUGH_RESOURCES);
}

#[test]
fn an_undone_call_counts_no_more() {
    let mut guest = Guest::with_limit(2);
    assert_eq!(guest.put(FIRST, 0, 3), H_SUCCESS);
    assert_eq!(guest.put(FIRST, 0x1000, 3), H_SUCCESS);
    let table = guest.effects.written.clone().expect("a table");
    table.borrow_mut().undo(&guest.effects.change);
    assert_eq!(guest.put(UNIT.into(), 0, 3), H_SUCCESS);
    assert_eq!(guest.put(FIRST, 0x1000, 3), H_NOT_ENOUGH_RESOURCES);
}

#[test]
fn windows_come_and_go_in_the_order_that_listeners_need() {
    let mut guest = Guest::new();
    guest.create(16, 30);
    assert_eq!(guest.events(), ["+80000001"]);
    guest.remove(FIRST);
    assert_eq!(guest.events(), ["-80000000"]);
    guest.remove(SECOND);
    assert_eq!(guest.events(), ["-80000001", "+80000000"], "the default window returns");
    guest.create(16, 30);
    guest.remove(FIRST);
    guest.create(16, 30);
    assert_eq!(guest.table(FIRST).borrow().geometry().page_shift, 16);
    assert_eq!(guest.rtas(token::RESET, &[0, BUID[0], BUID[1]], 1), [0]);
    assert_eq!(guest.events(), ["-80000001", "-80000000", "+80000000"]);
    guest.remove(FIRST);
    guest.create(16, 30);
    guest.remove(FIRST);
    assert_eq!(guest.events(), ["-80000000"], "a created window in the default's slot is not followed by it");
}

#[test]
fn a_reset_empties_the_default_window_and_keeps_its_handle() {
    let mut guest = Guest::new();
    let (window, vio) = (guest.table(FIRST), guest.table(UNIT.into()));
    guest.put(FIRST, 0, 0x1003);
    guest.put(UNIT.into(), 0, 0x1003);
    guest.rtas(token::SET_TCE_BYPASS, &[UNIT, 1], 1);
    assert_eq!(guest.events(), ["71000001:true"]);
    guest.machine.reset(&mut guest.effects);
    assert_eq!(guest.events(), ["071000001:1", "080000000:1", "71000001:false"]);
    assert!(std::rc::Rc::ptr_eq(&window, &guest.table(FIRST)));
    assert_eq!((window.borrow().stored(), vio.borrow().stored()), (0, 0));
    guest.machine.reset(&mut guest.effects);
    assert!(guest.effects.is_empty());
}

#[test]
fn a_window_that_a_host_can_not_hold_is_taken_back() {
    let mut guest = Guest::new();
    guest.remove(FIRST);
    guest.create(16, 30);
    assert_eq!(guest.events(), ["+80000000"]);
    assert!(guest.machine.undo(&mut guest.effects));
    assert!(guest.effects.is_empty() && guest.machine.table(FIRST).is_none());
    assert!(guest.machine.undo(&mut guest.effects), "nothing is left to undo");
    assert_eq!(guest.create(16, 30), [0, 0x8000_0000, 0, 0]);
}

#[test]
fn a_list_that_leaves_ram_reads_as_zeros_from_there() {
    let mut guest = Guest::new();
    let ram = 0x1003u64.to_be_bytes().repeat(2);
    let ret = guest.machine.h_put_tce_indirect([FIRST, 0, 0, 3], ram.as_slice(), &mut guest.effects);
    assert_eq!(ret, H_SUCCESS);
    let table = guest.table(FIRST);
    assert_eq!([0, 1, 2].map(|index| table.borrow().get(index)), [0x1003, 0x1003, 0]);
}

#[test]
fn a_block_that_was_read_beforehand_is_answered_like_one_in_memory() {
    let mut guest = Guest::new();
    let words = [token::QUERY, 3, 6, 0, BUID[0], BUID[1], 9, 9];
    let (reply, at) = guest.machine.rtas_words(words, &mut guest.effects);
    assert_eq!((reply.rets(), at), ([0, 1, 0x20, 0, 0x107, 0].as_slice(), 24));
    let (reply, at) = guest.machine.rtas_words([token::QUERY, u32::MAX, 6, 0, 0, 0, 0, 0], &mut guest.effects);
    assert_eq!((reply.rets(), at), ([PARAM].as_slice(), 12 + 4 * u64::from(u32::MAX)));
}

#[test]
fn registers_change_only_as_calls_say() {
    let mut guest = Guest::new();
    let mut ram = vec![0; 64];
    guest.put(FIRST, 0, 0x77);
    let mut call = |registers: [u64; 10]| {
        let mut after = registers;
        let ours = guest.machine.hcall(&mut after, ram.as_mut_slice(), &mut guest.effects);
        ours.then_some(after)
    };
    assert_eq!(call([H_GET_TCE, FIRST, 0, 3, 4, 5, 6, 7, 8, 9]), Some([0, 0x77, 0, 3, 4, 5, 6, 7, 8, 9]));
    let refused = H_PARAMETER.cast_unsigned();
    assert_eq!(
        call([H_GET_TCE, FIRST | 1 << 32, 0, 3, 4, 5, 6, 7, 8, 9]).expect("known")[..2],
        [refused, FIRST | 1 << 32]
    );
    assert_eq!(call([H_RTAS, u64::MAX, 0, 0, 0, 0, 0, 0, 0, 0]).expect("known")[0], refused);
    assert_eq!(call([0x24, FIRST, 0, 3, 4, 5, 6, 7, 8, 9]), None);
}

#[test]
fn a_borrow_that_a_caller_holds_is_no_panic() {
    let mut guest = Guest::new();
    let table = guest.table(FIRST);
    let held = table.borrow_mut();
    assert_eq!(guest.put(FIRST, 0, 3), crate::hcall::H_HARDWARE);
    assert_eq!(guest.machine.h_get_tce(FIRST, 0), Err(crate::hcall::H_HARDWARE));
    drop(held);
    assert_eq!(guest.put(FIRST, 0, 3), H_SUCCESS);
}

#[test]
fn the_device_tree_says_sizes_in_32_bits() {
    let mut guest = Guest::new();
    let config = PhbConfig { dma_win_addr: Iova(1 << 40), dma_win_size: (1 << 32) + 0x1800, ..PhbConfig::new(2) };
    let phb = guest.machine.add_phb(config).expect("a bridge");
    assert_eq!(phb.ibm_dma_window(), [0x8000_0200, 0x100, 0, 0, 0x1000]);
    assert_eq!(phb.ibm_ddw_applicable(), Some([0x2026, 0x2027, 0x2028]));
    assert_eq!(phb.ibm_ddw_extensions(), Some([2, 0x2029, 1]));
    let off = guest.machine.add_phb(PhbConfig { ddw: false, ..PhbConfig::new(3) }).expect("a bridge");
    assert_eq!((off.ibm_ddw_applicable(), off.ibm_ddw_extensions()), (None, None));
    let vio = guest.machine.vio(UNIT).expect("a device");
    assert_eq!(vio.ibm_my_dma_window(), [UNIT, 0, 0, 0, 0x1000_0000]);
    assert_eq!(cells_to_bytes(&[0x8000_0200, 1]), [0x80, 0, 2, 0, 0, 0, 0, 1]);
}

#[test]
fn a_machine_refuses_devices_that_can_not_be() {
    let mut machine = Guest::new().machine;
    let refused = |machine: &mut SpaprMachine, config| machine.add_phb(config).map(|_| ()).expect_err("no bridge");
    assert_eq!(refused(&mut machine, PhbConfig::new(0)), ConfigError::DuplicateLiobn(0x8000_0000));
    assert_eq!(refused(&mut machine, PhbConfig::new(0x80_0000)), ConfigError::PhbIndex(0x80_0000));
    let sized = |dma_win_size| PhbConfig { dma_win_size, ..PhbConfig::new(1) };
    assert_eq!(refused(&mut machine, sized(1 << 44)), ConfigError::WindowSize(1 << 44));
    assert!(matches!(refused(&mut machine, sized(0xfff)), ConfigError::Window(_)));
    let mut vio = |unit| machine.add_vio(VioConfig::new(unit)).map(|_| ()).expect_err("no device");
    assert_eq!(vio(UNIT), ConfigError::DuplicateLiobn(UNIT));
    assert_eq!(vio(1 << 31), ConfigError::VioUnit(1 << 31));
}
