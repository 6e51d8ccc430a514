//! Takes a call back.

use super::effects::{Effects, Event};
use super::machine::SpaprMachine;
use super::slot::WindowSlot;
use crate::tce_table::SharedTable;

impl SpaprMachine {
    /// Takes back everything that the newest call did, newest first: entries with all their bits and call starts,
    /// windows with the tables that they had, which slot counts as the default window's, bypass. `effects` must be what
    /// that call filled, and is empty afterwards.
    ///
    /// For a call whose effects a host refuses. The guest is then to be told that it failed:
    /// [`H_NOT_ENOUGH_RESOURCES`](crate::hcall::H_NOT_ENOUGH_RESOURCES) for a hypercall,
    /// [`RTAS_HW_ERROR`](super::RTAS_HW_ERROR) for an RTAS call. Nothing is ever refused for the entry limit here.
    ///
    /// Returns whether it did: not while the caller itself holds a borrow of a table that changed. Nothing happens then.
    pub fn undo(&mut self, effects: &mut Effects) -> bool {
        if effects.tables().any(|table| table.try_borrow_mut().is_err()) {
            return false;
        }
        if let Some(mut table) = effects.written.as_ref().and_then(|table| table.try_borrow_mut().ok()) {
            table.undo(&effects.change);
        }
        for event in effects.events.drain(..).rev() {
            self.undo_event(event);
        }
        for (liobn, default) in effects.defaults.drain(..).rev() {
            if let Some(slot) = self.slot_mut(liobn) {
                slot.put_back_default(default);
            }
        }
        effects.clear();
        true
    }

    fn undo_event(&mut self, event: Event) {
        match event {
            Event::Changed { table, change, .. } => {
                if let Ok(mut table) = table.try_borrow_mut() {
                    table.undo(&change);
                }
            }
            Event::WindowRemoved { liobn, table } => {
                if let Some(slot) = self.slot_mut(liobn) {
                    slot.put_back(table);
                }
            }
            Event::WindowAdded { liobn, table } => {
                if let Some(slot) = self.slot_mut(liobn) {
                    slot.take_back(&table);
                }
            }
            Event::Bypass { unit, on } => {
                if let Some(device) = self.vio_mut(unit) {
                    device.put_back_bypass(!on);
                }
            }
        }
    }

    /// The bridge's place for the window with this LIOBN.
    #[inline(never)]
    pub(super) fn slot_mut(&mut self, liobn: u32) -> Option<&mut WindowSlot> {
        self.owner_mut(liobn)?.slot_mut(liobn)
    }
}

impl Effects {
    /// The tables that an undo writes to.
    fn tables(&self) -> impl Iterator<Item = &SharedTable> {
        let events = self.events.iter().filter_map(|event| match event {
            Event::Changed { table, .. } | Event::WindowRemoved { table, .. } | Event::WindowAdded { table, .. } => {
                Some(table)
            }
            Event::Bypass { .. } => None,
        });
        events.chain(&self.written)
    }
}
