//! A machine's tables as QEMU's migration streams hold them.

use super::effects::Effects;
use super::machine::SpaprMachine;
use super::state::TableState;
use crate::migration::StreamTable;
use crate::tce_table::{Change, Geometry, TceTable};

impl SpaprMachine {
    /// All tables as a stream has them, by ascending LIOBN: of every VIO device, and of every place for a window, also
    /// of those that hold none. The tables inside are shared with the machine.
    #[must_use]
    #[inline(never)]
    pub fn stream_tables(&self) -> Vec<StreamTable> {
        let mut tables = Vec::new();
        let mut add = |liobn, table, bypass, default| {
            tables.push(StreamTable { liobn, section_id: None, table, bypass, default_window: Some(default) });
        };
        for device in self.vios() {
            add(device.unit(), Some(device.table().clone()), device.bypass(), false);
        }
        for slot in self.phbs().flat_map(|phb| phb.slots()) {
            add(slot.liobn(), slot.table().cloned(), false, slot.is_default());
        }
        tables
    }

    /// Brings windows, entries and bypass to what a stream says, and which place counts as the default window's where
    /// the stream says it. All or nothing. The stream must have all of the machine's tables, and no others; it keeps its own.
    ///
    /// QEMU leaves a window where it was if another one of the same number of entries is loaded; here it moves.
    ///
    /// # Errors
    /// [`LoadError`]; the machine is then as it was, and there are no effects.
    pub fn load_stream(&mut self, tables: &[StreamTable], effects: &mut Effects) -> Result<(), LoadError> {
        effects.clear();
        let mut sections: Vec<&StreamTable> = Vec::new();
        for section in tables {
            let Err(place) = place(&sections, section.liobn) else {
                return Err(LoadError::Duplicate(section.liobn));
            };
            sections.insert(place, section);
        }
        let mut stored = 0;
        for section in &sections {
            stored += self.check_section(section)?;
        }
        for known in self.stream_tables() {
            if place(&sections, known.liobn).is_err() {
                return Err(LoadError::Missing(known.liobn));
            }
        }
        let limit = self.entry_limit();
        if stored > u64::from(limit) {
            return Err(LoadError::EntryLimit { limit });
        }
        if let Some(liobn) = self.table_in_use() {
            return Err(LoadError::InUse(liobn));
        }
        let mut states = Vec::new();
        for section in sections {
            states.push(state(section)?);
        }
        self.assume(states, effects);
        Ok(())
    }

    /// Whether the machine can have a table: how many entries that are not zero it stores.
    fn check_section(&self, section: &StreamTable) -> Result<u64, LoadError> {
        let liobn = section.liobn;
        let (mut window, mut stored) = (None, 0);
        if let Some(table) = &section.table {
            let table = table.try_borrow().map_err(|_| LoadError::InUse(liobn))?;
            (window, stored) = (Some(table.geometry()), table.stored().into());
        }
        let fits = if let Some(device) = self.vio(liobn) {
            device.config().window().ok() == window
        } else {
            let phb = self.owner(liobn).filter(|phb| phb.slot(liobn).is_some()).ok_or(LoadError::Unknown(liobn))?;
            if section.bypass {
                return Err(LoadError::Bypass(liobn));
            }
            window.is_none_or(|window| window.liobn == liobn && phb.config().can_have(window))
        };
        if fits { Ok(stored) } else { Err(LoadError::Window { liobn, window }) }
    }
}

/// Where a section is among those before it, by ascending LIOBN, or would have to be.
fn place(sections: &[&StreamTable], liobn: u32) -> Result<usize, usize> {
    sections.binary_search_by_key(&liobn, |section| section.liobn)
}

/// A state with a copy of a section's table, which takes no part in the limit that the table was read under.
fn state(section: &StreamTable) -> Result<TableState, LoadError> {
    let StreamTable { liobn, bypass, default_window: default, .. } = *section;
    let mut copied = None;
    if let Some(table) = &section.table {
        let table = table.try_borrow().map_err(|_| LoadError::InUse(liobn))?;
        let window = table.geometry();
        let unsound = |_| LoadError::Window { liobn, window: Some(window) };
        let mut copy = TceTable::new(window, u32::MAX).map_err(unsound)?;
        copy.take_over(table.clone(), &mut Change::quiet());
        copied = Some(copy);
    }
    Ok(TableState { liobn, default, bypass, table: copied })
}

/// Why the tables of a stream can not be a machine's. The machine is then as it was.
#[derive(Clone, PartialEq, Eq, Hash, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The stream has a table that the machine has not.
    #[error("the machine has no LIOBN {0:#x}")]
    Unknown(u32),
    /// The machine has a table that the stream has not.
    #[error("the stream has no section for LIOBN {0:#x}")]
    Missing(u32),
    /// The stream has two tables with this LIOBN.
    #[error("the stream has two sections for LIOBN {0:#x}")]
    Duplicate(u32),
    /// The machine's device can not have this window.
    #[error("LIOBN {liobn:#x} can not have {}", said(window.as_ref()))]
    Window {
        /// Which table.
        liobn: u32,
        /// The window that the stream has there; `None` if it is not in use, where it always is.
        window: Option<Geometry>,
    },
    /// A table of PCI that a VIO device is said to bypass.
    #[error("LIOBN {0:#x} is bypassed, which only VIO devices do")]
    Bypass(u32),
    /// The stream holds more entries than the machine may.
    #[error("the stream holds more than {limit} entries that are not zero")]
    EntryLimit {
        /// How many the machine may store.
        limit: u32,
    },
    /// The caller itself holds a borrow of a table that is to be read or to change.
    #[error("the table of LIOBN {0:#x} is in use")]
    InUse(u32),
}

fn said(window: Option<&Geometry>) -> String {
    window.map_or_else(
        || "no window".to_owned(),
        |window| {
            let Geometry { bus_offset, page_shift, entries, .. } = window;
            format!("a window of {entries} pages with page shift {page_shift} at {bus_offset}")
        },
    )
}
