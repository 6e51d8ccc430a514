//! A snapshot that was read, and proved to be of some machine.

use super::SnapshotError;
use super::body;
use super::entries::take_entries;
use super::fields::{Fields, Flaw};
use crate::address::Iova;
use crate::spapr::config::{PhbConfig, VioConfig};
use crate::spapr::state::TableState;
use crate::tce_table::Geometry;

/// What a snapshot says: which devices there are, and the state of every table of theirs.
#[derive(Debug)]
pub(super) struct Saved {
    pub(super) phbs: Vec<PhbConfig>,
    pub(super) vios: Vec<VioConfig>,
    pub(super) tables: Vec<TableState>,
}

impl Saved {
    /// Reads a snapshot, whose tables may together store so many entries that are not zero.
    pub(super) fn read(bytes: &[u8], entry_limit: u32) -> Result<Self, SnapshotError> {
        Self::read_body(body(bytes)?, entry_limit).map_err(|flaw| match flaw {
            Flaw::Inconsistent(how) => SnapshotError::Inconsistent(how),
            Flaw::EntryLimit => SnapshotError::EntryLimit { limit: entry_limit },
        })
    }

    fn read_body(body: &[u8], entry_limit: u32) -> Result<Self, Flaw> {
        let mut fields = Fields::new(body);
        let mut room = entry_limit;
        let mut saved = Self { phbs: Vec::new(), vios: Vec::new(), tables: Vec::new() };
        for _ in 0..fields.u32()? {
            saved.take_phb(&mut fields, &mut room)?;
        }
        for _ in 0..fields.u32()? {
            saved.take_vio(&mut fields, &mut room)?;
        }
        if !fields.is_empty() {
            return Err(Flaw::Inconsistent("bytes follow the last device"));
        }
        // In the order of LIOBNs, in which everything else is told: those of VIO devices are lower than those of PCI.
        let slots: usize = saved.phbs.iter().map(|phb| phb.windows() as usize).sum();
        saved.tables.rotate_left(slots);
        Ok(saved)
    }

    fn take_phb(&mut self, fields: &mut Fields<'_>, room: &mut u32) -> Result<(), Flaw> {
        let config = PhbConfig {
            index: fields.u32()?,
            ddw: fields.flags(1)? != 0,
            pgsz: fields.u64()?,
            dma_win_addr: Iova(fields.u64()?),
            dma_win_size: fields.u64()?,
            dma64_win_addr: Iova(fields.u64()?),
        };
        if self.phbs.last().is_some_and(|last| last.index >= config.index) {
            return Err(Flaw::Inconsistent("bridges are not in ascending order"));
        }
        config.default_window().map_err(|_| Flaw::Inconsistent("a bridge can not have its options"))?;
        for slot in 0..config.windows() {
            let liobn = config.liobn(slot);
            let flags = fields.flags(2)?;
            let table = if flags & 2 == 0 {
                None
            } else {
                let window = take_window(fields, &config, liobn)?;
                Some(take_entries(fields, window, room)?)
            };
            self.tables.push(TableState { liobn, default: Some(flags & 1 != 0), bypass: false, table });
        }
        self.phbs.push(config);
        Ok(())
    }

    fn take_vio(&mut self, fields: &mut Fields<'_>, room: &mut u32) -> Result<(), Flaw> {
        let config = VioConfig { unit: fields.u32()?, window_size: fields.u64()? };
        if self.vios.last().is_some_and(|last| last.unit >= config.unit) {
            return Err(Flaw::Inconsistent("VIO devices are not in ascending order"));
        }
        let window = config.window();
        let window = window.map_err(|_| Flaw::Inconsistent("a VIO device can not have its options"))?;
        let bypass = fields.flags(1)? != 0;
        let table = Some(take_entries(fields, window, room)?);
        self.tables.push(TableState { liobn: config.unit, default: None, bypass, table });
        self.vios.push(config);
        Ok(())
    }
}

fn take_window(fields: &mut Fields<'_>, config: &PhbConfig, liobn: u32) -> Result<Geometry, Flaw> {
    let bus_offset = Iova(fields.u64()?);
    let window = Geometry { liobn, bus_offset, page_shift: fields.u8()?, entries: fields.u32()? };
    if config.can_have(window) {
        return Ok(window);
    }
    Err(Flaw::Inconsistent("a bridge can not have one of its windows"))
}
