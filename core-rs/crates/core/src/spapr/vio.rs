//! A VIO device and its table.

use core::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::config::{ConfigError, VioConfig};
use super::effects::{Effects, Event};
use super::slot::{clear, replace};
use crate::tce_table::{EntryBudget, SharedTable, TceTable};

/// A VIO device with a translation table, which it can be told to go past.
#[derive(Debug)]
pub struct VioDevice {
    config: VioConfig,
    table: SharedTable,
    bypass: bool,
}

impl VioDevice {
    pub(super) fn new(config: VioConfig, budget: &Arc<EntryBudget>) -> Result<Self, ConfigError> {
        let mut table = TceTable::new(config.window()?, u32::MAX).map_err(ConfigError::Window)?;
        table.share(Some(Arc::clone(budget)));
        Ok(Self { config, table: Rc::new(RefCell::new(table)), bypass: false })
    }

    /// What it was built from.
    #[must_use]
    pub fn config(&self) -> &VioConfig {
        &self.config
    }

    /// The unit number, which is also its LIOBN.
    #[must_use]
    pub fn unit(&self) -> u32 {
        self.config.unit
    }

    /// Its table; hypercalls reach it also while the device goes past it.
    #[must_use]
    pub fn table(&self) -> &SharedTable {
        &self.table
    }

    /// Whether its accesses are direct: bus addresses are guest-physical ones.
    #[must_use]
    pub fn bypass(&self) -> bool {
        self.bypass
    }

    #[inline(never)]
    pub(super) fn set_bypass(&mut self, on: bool, effects: &mut Effects) {
        if self.bypass != on {
            self.bypass = on;
            effects.events.push(Event::Bypass { unit: self.config.unit, on });
        }
    }

    /// The same, where it is an undo.
    pub(super) fn put_back_bypass(&mut self, on: bool) {
        self.bypass = on;
    }

    /// Takes over bypass, and the entries of a table.
    pub(super) fn assume(&mut self, bypass: bool, table: TceTable, effects: &mut Effects) {
        replace(self.config.unit, &self.table, table, effects);
        self.set_bypass(bypass, effects);
    }

    /// Makes its table empty; bypass stays as it is.
    pub(super) fn quiesce(&self, effects: &mut Effects) {
        clear(self.config.unit, &self.table, effects);
    }

    pub(super) fn reset(&mut self, effects: &mut Effects) {
        self.quiesce(effects);
        self.set_bypass(false, effects);
    }
}
