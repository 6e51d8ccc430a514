//! The state of one table, which a restore or a migration stream brings.

use super::effects::Effects;
use super::machine::SpaprMachine;
use crate::tce_table::TceTable;

/// What is to become of one table: of a VIO device, or of a bridge's place for a window.
#[derive(Debug)]
pub(super) struct TableState {
    pub(super) liobn: u32,
    /// Whether the place counts as the default window's; `None` leaves it as it is.
    pub(super) default: Option<bool>,
    /// Whether the VIO device goes past it.
    pub(super) bypass: bool,
    /// The table, in which nobody has a part yet; `None` if there is to be no window.
    pub(super) table: Option<TceTable>,
}

impl SpaprMachine {
    /// Brings tables into these states. The caller has made sure that the devices can have them, that they fit the
    /// entry limit together, and that no table is in use.
    pub(super) fn assume(&mut self, states: Vec<TableState>, effects: &mut Effects) {
        effects.clear();
        for TableState { liobn, default, bypass, table } in states {
            if let Some(slot) = self.slot_mut(liobn) {
                slot.assume(default, table, effects);
            } else if let (Some(device), Some(table)) = (self.vio_mut(liobn), table) {
                device.assume(bypass, table, effects);
            }
        }
        effects.arrange();
    }

    /// A table of which the caller itself holds a borrow, so that it can not be changed.
    pub(super) fn table_in_use(&self) -> Option<u32> {
        let tables = self.stream_tables();
        let mut used =
            tables.iter().filter(|one| one.table.as_ref().is_some_and(|table| table.try_borrow_mut().is_err()));
        used.next().map(|one| one.liobn)
    }
}
