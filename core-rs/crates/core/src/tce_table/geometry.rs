//! Where a table lies, how large it is, and why it refuses.

use crate::address::Iova;

/// Where a table lies and how large it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Geometry {
    /// The logical I/O bus number: how a guest names the table.
    pub liobn: u32,
    /// The bus address of entry 0.
    pub bus_offset: Iova,
    /// The page size of an entry, as a power of two; at most 63.
    pub page_shift: u8,
    /// How many entries; at least one.
    pub entries: u32,
}

impl Geometry {
    /// Bytes of the window, less one (2^64 bytes do not fit 64 bits).
    ///
    /// # Errors
    /// [`TableError`] if the page shift is too large, or the window is empty or passes the top of the space.
    pub fn size_minus_1(&self) -> Result<u64, TableError> {
        if self.page_shift > 63 {
            return Err(TableError::PageShift(self.page_shift));
        }
        let size = u128::from(self.entries) << self.page_shift;
        let size_minus_1 = size.checked_sub(1).ok_or(TableError::NoEntries)?;
        u64::try_from(size_minus_1)
            .ok()
            .filter(|size| self.bus_offset.checked_add(*size).is_some())
            .ok_or(TableError::PastTheTop)
    }
}

/// Why a table refuses.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// The page shift does not fit 64-bit addresses.
    #[error("page shift {0} is above 63")]
    PageShift(u8),
    /// A table needs at least one entry.
    #[error("the table has no entries")]
    NoEntries,
    /// The window would pass the top of the 64-bit bus address space.
    #[error("the window passes the top of the 64-bit space")]
    PastTheTop,
    /// The write would pass the last entry.
    #[error("the write passes the end of the table")]
    OutOfRange,
    /// Another table is to take its place, and does not lie where it does.
    #[error("the tables do not have the same geometry")]
    OtherGeometry,
    /// The write would store more entries than the table, or all tables of its budget, may hold.
    #[error("only {limit} entries may be other than zero")]
    EntryLimit {
        /// The most entries that may be stored.
        limit: u32,
    },
}
