//! A bridge's place for one DMA window.

use core::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::effects::{Effects, Event};
use crate::tce_table::{EntryBudget, Geometry, SharedTable, TableError, TceTable, Values};

/// A place for one DMA window: its LIOBN is fixed, its window comes and goes.
#[derive(Debug)]
pub struct WindowSlot {
    liobn: u32,
    default: bool,
    table: Option<SharedTable>,
    /// In which the entries of a window count while it is here.
    budget: Arc<EntryBudget>,
}

impl WindowSlot {
    pub(super) fn new(liobn: u32, budget: &Arc<EntryBudget>) -> Self {
        Self { liobn, default: false, table: None, budget: Arc::clone(budget) }
    }

    /// How a guest names the table.
    #[must_use]
    pub fn liobn(&self) -> u32 {
        self.liobn
    }

    /// Whether the slot counts as the default window's. It does so from the first reset on, whatever window it holds
    /// later: QEMU keeps the flag with the slot (seen: a created window there is not followed by the default one).
    #[must_use]
    pub fn is_default(&self) -> bool {
        self.default
    }

    /// The window's table; `None` while there is no window.
    #[must_use]
    pub fn table(&self) -> Option<&SharedTable> {
        self.table.as_ref()
    }

    /// The window, if there is one.
    #[must_use]
    pub fn window(&self) -> Option<Geometry> {
        Some(self.table.as_ref()?.try_borrow().ok()?.geometry())
    }

    pub(super) fn enable(&mut self, window: Geometry, effects: &mut Effects) -> Result<(), TableError> {
        self.add(TceTable::new(window, u32::MAX)?, effects);
        Ok(())
    }

    /// Makes a table, empty or not, the one of a window that was not there.
    pub(super) fn add(&mut self, mut table: TceTable, effects: &mut Effects) {
        table.share(Some(Arc::clone(&self.budget)));
        let table = Rc::new(RefCell::new(table));
        effects.events.push(Event::WindowAdded { liobn: self.liobn, table: Rc::clone(&table) });
        self.table = Some(table);
    }

    /// Takes the window away; returns whether there was one.
    #[inline(never)]
    pub(super) fn disable(&mut self, effects: &mut Effects) -> bool {
        let Some(table) = self.table.take() else { return false };
        leave(&table);
        effects.events.push(Event::WindowRemoved { liobn: self.liobn, table });
        true
    }

    /// Says whether the slot counts as the default window's.
    #[inline(never)]
    pub(super) fn set_default(&mut self, default: bool, effects: &mut Effects) {
        if self.default != default {
            effects.defaults.push((self.liobn, self.default));
            self.default = default;
        }
    }

    /// The same, where it is an undo.
    pub(super) fn put_back_default(&mut self, default: bool) {
        self.default = default;
    }

    /// Undoes that a window appeared.
    pub(super) fn take_back(&mut self, added: &SharedTable) {
        if self.table.as_ref().is_some_and(|table| Rc::ptr_eq(table, added)) {
            self.table = None;
            leave(added);
        }
    }

    /// Undoes that a window went.
    pub(super) fn put_back(&mut self, removed: SharedTable) {
        if let Ok(mut table) = removed.try_borrow_mut() {
            table.share(Some(Arc::clone(&self.budget)));
        }
        self.table = Some(removed);
    }

    /// Takes over a flag, where it is known, and a window. One that lies where it does keeps its table.
    #[inline(never)]
    pub(super) fn assume(&mut self, default: Option<bool>, window: Option<TceTable>, effects: &mut Effects) {
        if let Some(default) = default {
            self.set_default(default, effects);
        }
        match (&self.table, window) {
            (Some(table), Some(with)) if self.window() == Some(with.geometry()) => {
                replace(self.liobn, table, with, effects);
            }
            (_, window) => {
                self.disable(effects);
                if let Some(table) = window {
                    self.add(table, effects);
                }
            }
        }
    }

    /// Makes this the default window, and empty. One that is there already stays, so that handles to it live on.
    pub(super) fn enable_default(&mut self, window: Geometry, effects: &mut Effects) {
        self.set_default(true, effects);
        match &self.table {
            Some(table) if self.window() == Some(window) => clear(self.liobn, table, effects),
            _ => {
                self.disable(effects);
                // The bridge was built with this window.
                let _ = self.enable(window, effects);
            }
        }
    }
}

/// Lets a table that no call finds any more count for itself alone. If a caller holds a borrow of it, it counts on until
/// it is dropped: rather too much than too little.
#[inline(never)]
fn leave(table: &SharedTable) {
    if let Ok(mut table) = table.try_borrow_mut() {
        table.share(None);
    }
}

/// Makes all entries of a table 0, and says what that changed.
pub(super) fn clear(liobn: u32, table: &SharedTable, effects: &mut Effects) {
    let Ok(mut cleared) = table.try_borrow_mut() else { return };
    if cleared.stored() == 0 {
        return;
    }
    let mut change = effects.new_change();
    let entries = cleared.geometry().entries;
    // Zeros in range are never refused.
    let _ = cleared.write(0, Values::Same(0, entries), &mut change);
    effects.events.push(Event::Changed { liobn, table: Rc::clone(table), change: Box::new(change) });
}

/// Makes the entries of a table those of another one, and says what that changed.
pub(super) fn replace(liobn: u32, table: &SharedTable, with: TceTable, effects: &mut Effects) {
    let Ok(mut replaced) = table.try_borrow_mut() else { return };
    if *replaced == with {
        return;
    }
    let mut change = effects.new_change();
    replaced.take_over(with, &mut change);
    effects.events.push(Event::Changed { liobn, table: Rc::clone(table), change: Box::new(change) });
}
