//! A pseries machine's IOMMUs.

use std::sync::Arc;

use super::config::{ConfigError, PhbConfig, VioConfig};
use super::effects::Effects;
use super::phb::Phb;
use super::vio::VioDevice;
use crate::tce_table::{EntryBudget, SharedTable};

/// The guest-visible IOMMUs of a pseries machine: bridges, VIO devices, and the calls that a guest makes on them.
///
/// ```
/// use giommu_core::address::{Gpa, Iova};
/// use giommu_core::hcall::{H_PARAMETER, H_SUCCESS};
/// use giommu_core::perm::Perm;
/// use giommu_core::spapr::{DmaDevice, Effects, PhbConfig, SpaprMachine, VioConfig};
///
/// let mut machine = SpaprMachine::new(1 << 20);
/// let buid = machine.add_phb(PhbConfig::new(0))?.buid();
/// assert_eq!(buid, 0x0800_0000_2000_0000);
/// machine.add_vio(VioConfig::new(0x7100_0003))?;
///
/// let mut effects = Effects::new();
/// assert_eq!(machine.h_put_tce(0x8000_0000, 0x5000, 0x10_0001, &mut effects), H_SUCCESS);
/// assert_eq!(machine.h_put_tce(0x8000_0001, 0x5000, 0x10_0001, &mut effects), H_PARAMETER, "no such window");
/// let reach = machine.translate(DmaDevice::Pci(0), Iova(0x5123), 4).reach;
/// assert_eq!(reach.target(Perm::READ), Some(Gpa(0x10_0123)));
/// assert_eq!(reach.target(Perm::WRITE), None);
/// # Ok::<(), giommu_core::spapr::ConfigError>(())
/// ```
#[derive(Debug)]
pub struct SpaprMachine {
    /// By ascending index.
    phbs: Vec<Phb>,
    /// By ascending unit.
    vios: Vec<VioDevice>,
    budget: Arc<EntryBudget>,
    /// The LIOBN that the newest call named, and its table: a guest nearly always names it again. Forgotten whenever
    /// windows may come or go.
    newest: Option<(u64, SharedTable)>,
}

impl SpaprMachine {
    /// A machine without devices, whose tables together store at most `entry_limit` entries that are not zero.
    #[must_use]
    pub fn new(entry_limit: u32) -> Self {
        Self { phbs: Vec::new(), vios: Vec::new(), budget: EntryBudget::new(entry_limit), newest: None }
    }

    /// Adds a bridge, with its default window.
    ///
    /// # Errors
    /// [`ConfigError`] if its index is taken or its window is unsound.
    #[expect(clippy::indexing_slicing, reason = "it was put there")]
    pub fn add_phb(&mut self, config: PhbConfig) -> Result<&Phb, ConfigError> {
        self.newest = None;
        let Err(place) = self.phb_place(config.index) else {
            return Err(ConfigError::DuplicateLiobn(config.liobn(0)));
        };
        let phb = Phb::new(config, &self.budget)?;
        self.phbs.insert(place, phb);
        Ok(&self.phbs[place])
    }

    /// Adds a VIO device, with its table.
    ///
    /// # Errors
    /// [`ConfigError`] if its unit number is taken or its window is unsound.
    #[expect(clippy::indexing_slicing, reason = "it was put there")]
    pub fn add_vio(&mut self, config: VioConfig) -> Result<&VioDevice, ConfigError> {
        self.newest = None;
        let Err(place) = self.vio_place(config.unit) else {
            return Err(ConfigError::DuplicateLiobn(config.unit));
        };
        let device = VioDevice::new(config, &self.budget)?;
        self.vios.insert(place, device);
        Ok(&self.vios[place])
    }

    /// Where a bridge is, or would have to be.
    #[inline(never)]
    fn phb_place(&self, index: u32) -> Result<usize, usize> {
        self.phbs.binary_search_by_key(&index, |phb| phb.config().index)
    }

    #[inline(never)]
    fn vio_place(&self, unit: u32) -> Result<usize, usize> {
        self.vios.binary_search_by_key(&unit, VioDevice::unit)
    }

    /// The bridges, by ascending index.
    pub fn phbs(&self) -> impl Iterator<Item = &Phb> {
        self.phbs.iter()
    }

    /// The bridge with this index.
    #[must_use]
    pub fn phb(&self, index: u32) -> Option<&Phb> {
        self.phbs.get(self.phb_place(index).ok()?)
    }

    /// The VIO devices with tables, by ascending unit.
    pub fn vios(&self) -> impl Iterator<Item = &VioDevice> {
        self.vios.iter()
    }

    /// The VIO device with this unit number.
    #[must_use]
    pub fn vio(&self, unit: u32) -> Option<&VioDevice> {
        self.vios.get(self.vio_place(unit).ok()?)
    }

    #[inline(never)]
    pub(super) fn vio_mut(&mut self, unit: u32) -> Option<&mut VioDevice> {
        self.newest = None;
        let place = self.vio_place(unit).ok()?;
        self.vios.get_mut(place)
    }

    /// The bridge that RTAS calls name so; its windows must be dynamic.
    pub(super) fn ddw_phb(&self, buid: u64) -> Option<&Phb> {
        self.phbs.iter().find(|phb| phb.buid() == buid && phb.config().ddw)
    }

    #[inline(never)]
    pub(super) fn ddw_phb_mut(&mut self, buid: u64) -> Option<&mut Phb> {
        self.newest = None;
        self.phbs.iter_mut().find(|phb| phb.buid() == buid && phb.config().ddw)
    }

    /// The bridge that owns a LIOBN of PCI.
    #[inline(never)]
    pub(super) fn owner(&self, liobn: u32) -> Option<&Phb> {
        if liobn >> 31 == 0 {
            return None;
        }
        self.phb(liobn >> 8 & PhbConfig::MAX_INDEX)
    }

    /// The same, to change it.
    #[inline(never)]
    pub(super) fn owner_mut(&mut self, liobn: u32) -> Option<&mut Phb> {
        self.newest = None;
        if liobn >> 31 == 0 {
            return None;
        }
        let place = self.phb_place(liobn >> 8 & PhbConfig::MAX_INDEX).ok()?;
        self.phbs.get_mut(place)
    }

    /// The table that a guest names so; `None` if no such window is there now, or any of the high 32 bits is set.
    #[must_use]
    pub fn table(&self, liobn: u64) -> Option<&SharedTable> {
        let liobn = u32::try_from(liobn).ok()?;
        if liobn >> 31 == 0 {
            return self.vio(liobn).map(VioDevice::table);
        }
        self.owner(liobn)?.slot(liobn)?.table()
    }

    /// The same, for a call that writes.
    #[inline]
    pub(super) fn table_to_write(&mut self, liobn: u64) -> Option<&SharedTable> {
        if self.newest.as_ref().is_none_or(|(newest, _)| *newest != liobn) {
            self.look_up(liobn);
        }
        self.newest.as_ref().map(|(_, table)| table)
    }

    #[cold]
    #[inline(never)]
    fn look_up(&mut self, liobn: u64) {
        self.newest = self.table(liobn).map(|table| (liobn, table.clone()));
    }

    /// All tables of windows that are there now, by ascending LIOBN.
    pub fn tables(&self) -> impl Iterator<Item = &SharedTable> {
        let windows = self.phbs.iter().flat_map(Phb::slots).filter_map(|slot| slot.table());
        self.vios.iter().map(VioDevice::table).chain(windows)
    }

    /// How many entries that are not zero the tables store together.
    #[must_use]
    pub fn stored(&self) -> u64 {
        self.budget.stored()
    }

    /// How many they may store.
    #[must_use]
    pub fn entry_limit(&self) -> u32 {
        self.budget.limit()
    }

    /// Bytes of memory that the tables hold.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.tables().filter_map(|table| table.try_borrow().ok()).map(|table| table.memory_bytes()).sum()
    }

    /// Resets the machine, as a reboot does: default windows, empty tables, no bypass.
    pub fn reset(&mut self, effects: &mut Effects) {
        effects.clear();
        self.newest = None;
        for device in &mut self.vios {
            device.reset(effects);
        }
        for phb in &mut self.phbs {
            phb.reset(effects);
        }
        effects.arrange();
    }

    /// Resets one bridge; returns whether there is such a one.
    pub fn reset_phb(&mut self, index: u32, effects: &mut Effects) -> bool {
        effects.clear();
        self.newest = None;
        let Ok(place) = self.phb_place(index) else { return false };
        self.phbs.get_mut(place).map(|phb| phb.reset(effects)).is_some()
    }

    /// Resets one VIO device; returns whether there is such a one.
    pub fn reset_vio(&mut self, unit: u32, effects: &mut Effects) -> bool {
        effects.clear();
        self.vio_mut(unit).map(|device| device.reset(effects)).is_some()
    }

    pub(super) fn quiesce(&self, effects: &mut Effects) {
        for device in &self.vios {
            device.quiesce(effects);
        }
    }
}
