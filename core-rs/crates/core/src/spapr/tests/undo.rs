use super::*;
use crate::tce_table::Change;

#[test]
fn an_undo_puts_back_what_a_remove_took_and_takes_the_default_window_away_again() {
    let mut guest = Guest::new();
    guest.create(16, 30);
    guest.put(SECOND, 1 << 59, 0x7f_0003);
    guest.remove(FIRST);
    let (second, before) = (guest.table(SECOND), guest.machine.save());
    assert_eq!(guest.remove(SECOND), RTAS_OK);
    assert_eq!(guest.events(), ["-80000001", "+80000000"]);
    assert_eq!(guest.machine.stored(), 0, "what no call finds does not count");
    assert!(guest.machine.undo(&mut guest.effects));
    assert!(guest.machine.table(FIRST).is_none() && std::rc::Rc::ptr_eq(&second, &guest.table(SECOND)));
    assert_eq!((guest.machine.stored(), guest.machine.save() == before), (1, true));
    // It counts again, also where its owner writes to it without a call.
    assert!(second.borrow_mut().put(1, 3, &mut Change::new()));
    assert_eq!(guest.machine.stored(), 2);
}

#[test]
fn a_window_that_was_taken_back_counts_no_more_though_somebody_holds_it() {
    let mut guest = Guest::with_limit(4);
    guest.create(12, 30);
    guest.machine.h_stuff_tce([SECOND, 1 << 59, 3, 3], &mut guest.effects);
    let saved = guest.machine.save();
    guest.remove(SECOND);
    guest.create(16, 30);
    guest.put(SECOND, 1 << 59, 3);
    let before = guest.machine.save();
    guest.machine.restore(&saved, &mut guest.effects).expect("its own");
    assert_eq!(guest.events(), ["-80000001", "+80000001"]);
    let (held, stored) = (guest.table(SECOND), guest.machine.stored());
    assert!(guest.machine.undo(&mut guest.effects));
    assert_eq!((stored, guest.machine.stored(), held.borrow().stored()), (3, 1, 3));
    assert!(guest.machine.save() == before);
    assert!(held.borrow_mut().put(9, 3, &mut Change::new()));
    assert_eq!(guest.machine.stored(), 1);
    assert_eq!(guest.machine.h_stuff_tce([FIRST, 0, 3, 3], &mut guest.effects), H_SUCCESS);
    assert_eq!(guest.put(FIRST, 0x3000, 3), H_NOT_ENOUGH_RESOURCES);
}

#[test]
fn an_undo_waits_for_borrows_and_does_nothing_meanwhile() {
    let mut guest = Guest::new();
    guest.put(FIRST, 0, 0x1003);
    guest.put(UNIT.into(), 0, 0x1003);
    let before = guest.machine.save();
    guest.machine.reset(&mut guest.effects);
    let (table, after) = (guest.table(FIRST), guest.machine.save());
    let held = table.borrow();
    assert!(!guest.machine.undo(&mut guest.effects));
    assert!(guest.machine.save() == after && guest.events().len() == 2);
    drop(held);
    assert!(guest.machine.undo(&mut guest.effects));
    assert!(guest.machine.save() == before);
}

#[test]
fn a_call_that_was_refused_leaves_nothing_to_undo() {
    let mut guest = Guest::with_limit(1);
    guest.put(FIRST, 0, 3);
    let before = guest.machine.save();
    assert_eq!(guest.put(FIRST, 0x1000, 3), H_NOT_ENOUGH_RESOURCES);
    assert!(guest.machine.undo(&mut guest.effects));
    assert_eq!(guest.put(FIRST, 1 << 40, 3), H_PARAMETER);
    assert!(guest.machine.undo(&mut guest.effects));
    assert_eq!(guest.create(12, 99), [PARAM]);
    assert!(guest.machine.undo(&mut guest.effects));
    assert!(guest.machine.restore(b"", &mut guest.effects).is_err());
    assert!(guest.machine.undo(&mut guest.effects));
    assert!(guest.machine.save() == before);
}

#[test]
fn a_partial_write_is_undone_as_a_whole() {
    let mut guest = Guest::new();
    let before = guest.machine.save();
    let last = (1 << 30) - 0x1000;
    assert_eq!(guest.machine.h_stuff_tce([FIRST, last, 3, 2], &mut guest.effects), H_PARAMETER);
    assert_eq!(guest.machine.stored(), 1);
    assert!(guest.machine.undo(&mut guest.effects));
    assert!(guest.machine.save() == before && guest.effects.written.is_none());
}
