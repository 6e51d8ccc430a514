//! A PCI host bridge and its DMA windows.

use std::sync::Arc;

use super::config::{ConfigError, PhbConfig};
use super::effects::Effects;
use super::rtas_reply::{RTAS_HW_ERROR, RTAS_PARAM_ERROR};
use super::slot::WindowSlot;
use crate::tce_table::{EntryBudget, Geometry};

/// A PCI host bridge: two slots for DMA windows, or one without dynamic windows.
#[derive(Debug)]
pub struct Phb {
    config: PhbConfig,
    default_window: Geometry,
    slots: Vec<WindowSlot>,
}

impl Phb {
    /// A bridge with its default window, of which nobody is told.
    pub(super) fn new(config: PhbConfig, budget: &Arc<EntryBudget>) -> Result<Self, ConfigError> {
        let default_window = config.default_window()?;
        let slots = (0..config.windows()).map(|slot| WindowSlot::new(config.liobn(slot), budget)).collect();
        let mut phb = Self { config, default_window, slots };
        phb.reset(&mut Effects::new());
        Ok(phb)
    }

    /// What it was built from.
    #[must_use]
    pub fn config(&self) -> &PhbConfig {
        &self.config
    }

    /// How RTAS calls name it.
    #[must_use]
    pub fn buid(&self) -> u64 {
        0x0800_0000_2000_0000 + u64::from(self.config.index)
    }

    /// Its places for windows, by ascending LIOBN.
    #[must_use]
    pub fn slots(&self) -> &[WindowSlot] {
        &self.slots
    }

    /// The window that a reset brings back.
    #[must_use]
    pub fn default_window(&self) -> Geometry {
        self.default_window
    }

    /// How many windows there are now.
    #[must_use]
    #[inline(never)]
    pub fn active_windows(&self) -> usize {
        self.slots.iter().filter(|slot| slot.table().is_some()).count()
    }

    /// The slot of one of its LIOBNs.
    pub(super) fn slot(&self, liobn: u32) -> Option<&WindowSlot> {
        self.slots.get((liobn & 0xff) as usize)
    }

    pub(super) fn slot_mut(&mut self, liobn: u32) -> Option<&mut WindowSlot> {
        self.slots.get_mut((liobn & 0xff) as usize)
    }

    /// Makes a window in the lowest free slot; where it lies depends on how many there are, not on which.
    pub(super) fn create(&mut self, page: u32, window: u32, effects: &mut Effects) -> Result<Geometry, i32> {
        if !self.config.allows(page) || window < page || window >= 64 {
            return Err(RTAS_PARAM_ERROR);
        }
        let none = self.active_windows() == 0;
        let bus_offset = if none { self.config.dma_win_addr } else { self.config.dma64_win_addr };
        let slot = self.slots.iter_mut().find(|slot| slot.table().is_none()).ok_or(RTAS_HW_ERROR)?;
        // 2^32 entries and more: QEMU cuts the number to 32 bits, finds no table and fails.
        let entries = 1u32.checked_shl(window - page).ok_or(RTAS_HW_ERROR)?;
        let page_shift = u8::try_from(page).map_err(|_| RTAS_PARAM_ERROR)?;
        let geometry = Geometry { liobn: slot.liobn(), bus_offset, page_shift, entries };
        slot.enable(geometry, effects).map_err(|_| RTAS_HW_ERROR)?;
        Ok(geometry)
    }

    /// Takes a window away. The default one returns after the last, unless the last was in its slot.
    pub(super) fn remove(&mut self, liobn: u32, effects: &mut Effects) -> Result<(), i32> {
        if !self.config.ddw {
            return Err(RTAS_PARAM_ERROR);
        }
        let slot = self.slot_mut(liobn).ok_or(RTAS_PARAM_ERROR)?;
        let was_default = slot.is_default();
        if !slot.disable(effects) {
            return Err(RTAS_PARAM_ERROR);
        }
        if !was_default && self.active_windows() == 0 {
            self.reset(effects);
        }
        Ok(())
    }

    /// Drops created windows and brings the default one back, empty.
    pub(super) fn reset(&mut self, effects: &mut Effects) {
        let window = self.default_window;
        let Some((first, others)) = self.slots.split_first_mut() else { return };
        for slot in others {
            slot.disable(effects);
        }
        first.enable_default(window, effects);
        effects.arrange();
    }
}
