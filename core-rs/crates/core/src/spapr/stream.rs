//! A machine's tables as QEMU's migration streams hold them.

use super::effects::Effects;
use super::machine::SpaprMachine;
use crate::migration::StreamTable;
use crate::tce_table::Geometry;

impl SpaprMachine {
    /// All tables as a stream has them, by ascending LIOBN: of every VIO device, and of every place for a window, also
    /// of those that hold none. The tables inside are shared with the machine.
    #[must_use]
    pub fn stream_tables(&self) -> Vec<StreamTable> {
        todo!()
    }

    /// Brings the tables, default flags and bypass to what a stream says. All or nothing.
    ///
    /// # Errors
    /// [`LoadError`]; the machine is then as it was.
    pub fn load_stream(&mut self, tables: &[StreamTable], effects: &mut Effects) -> Result<(), LoadError> {
        let _ = (tables, effects);
        todo!()
    }
}

/// Why the tables of a stream can not be a machine's. The machine is then as it was.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
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
