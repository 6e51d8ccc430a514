//! What a machine is built from, and why it refuses.

use crate::address::Iova;
use crate::tce_table::{Geometry, TableError};

/// Page shift of default windows and of VIO tables.
const PAGE_SHIFT: u8 = 12;

/// The options of a PCI host bridge, with the names of QEMU's properties.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PhbConfig {
    /// Which bridge: decides LIOBNs and BUID. At most [`PhbConfig::MAX_INDEX`].
    pub index: u32,
    /// Whether the guest may create and remove windows. Without it there is one, and the calls fail.
    pub ddw: bool,
    /// The page sizes of created windows: bit n allows pages of `1 << n` bytes.
    pub pgsz: u64,
    /// Where the default window begins; also a created one while there is no other.
    pub dma_win_addr: Iova,
    /// Bytes of the default window, rounded down to pages of 4 KiB.
    pub dma_win_size: u64,
    /// Where a created window begins while there is another.
    pub dma64_win_addr: Iova,
}

impl PhbConfig {
    /// The largest index whose LIOBNs fit.
    pub const MAX_INDEX: u32 = 0x7f_ffff;

    /// QEMU's defaults: 1 GiB from 0, further windows from `1 << 59`, pages of 4 KiB, 64 KiB, 2 MiB and 16 MiB.
    #[must_use]
    pub const fn new(index: u32) -> Self {
        Self {
            index,
            ddw: true,
            pgsz: 1 << 12 | 1 << 16 | 1 << 21 | 1 << 24,
            dma_win_addr: Iova(0),
            dma_win_size: 1 << 30,
            dma64_win_addr: Iova(1 << 59),
        }
    }

    /// The table of a window in one of the bridge's slots.
    pub(super) const fn liobn(&self, slot: u32) -> u32 {
        1 << 31 | self.index << 8 | slot
    }

    /// How many windows there can be.
    pub(super) const fn windows(&self) -> u32 {
        if self.ddw { 2 } else { 1 }
    }

    /// Whether a bridge can have this window: the default one, or one that a guest can create. Any place may hold any,
    /// because which one QEMU takes is not specified.
    #[inline(never)]
    pub(super) fn can_have(&self, window: Geometry) -> bool {
        let default = self.default_window().is_ok_and(|default| Geometry { liobn: window.liobn, ..default } == window);
        let Geometry { bus_offset, page_shift, entries, .. } = window;
        let place = bus_offset == self.dma_win_addr || bus_offset == self.dma64_win_addr;
        // A create says the sizes of the page and of the window as powers of two below 64.
        let size = entries.is_power_of_two() && u32::from(page_shift) + entries.trailing_zeros() < u64::BITS;
        default || self.ddw && place && size && self.allows(page_shift.into()) && window.size_minus_1().is_ok()
    }

    /// Whether a guest may create windows with pages of this size.
    pub(super) const fn allows(&self, page_shift: u32) -> bool {
        page_shift < u64::BITS && self.pgsz >> page_shift & 1 != 0
    }

    /// The default window.
    #[inline(never)]
    pub(super) fn default_window(&self) -> Result<Geometry, ConfigError> {
        if self.index > Self::MAX_INDEX {
            return Err(ConfigError::PhbIndex(self.index));
        }
        sound(self.liobn(0), self.dma_win_addr, self.dma_win_size)
    }
}

/// A VIO device with a translation table.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct VioConfig {
    /// The unit number, which is also its LIOBN; below `1 << 31`, where those of PCI begin.
    pub unit: u32,
    /// Bytes of its window, from bus address 0, rounded down to pages of 4 KiB.
    pub window_size: u64,
}

impl VioConfig {
    /// A device with a table of 256 MiB, as all of QEMU's are that have one.
    #[must_use]
    pub const fn new(unit: u32) -> Self {
        Self { unit, window_size: 256 << 20 }
    }

    #[inline(never)]
    pub(super) fn window(&self) -> Result<Geometry, ConfigError> {
        if self.unit >> 31 != 0 {
            return Err(ConfigError::VioUnit(self.unit));
        }
        sound(self.unit, Iova(0), self.window_size)
    }
}

#[inline(never)]
fn sound(liobn: u32, bus_offset: Iova, bytes: u64) -> Result<Geometry, ConfigError> {
    let entries = u32::try_from(bytes >> PAGE_SHIFT).map_err(|_| ConfigError::WindowSize(bytes))?;
    let geometry = Geometry { liobn, bus_offset, page_shift: PAGE_SHIFT, entries };
    geometry.size_minus_1().map_err(ConfigError::Window)?;
    Ok(geometry)
}

/// Why a device can not be part of a machine.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Another device has this LIOBN.
    #[error("LIOBN {0:#x} is in use")]
    DuplicateLiobn(u32),
    /// The LIOBNs of a bridge with this index do not fit 32 bits.
    #[error("bridge index {0} is above {max}", max = PhbConfig::MAX_INDEX)]
    PhbIndex(u32),
    /// The unit number lies where LIOBNs of PCI are.
    #[error("VIO unit {0:#x} is not below 0x80000000")]
    VioUnit(u32),
    /// A window of so many bytes has 2^32 entries or more.
    #[error("a window of {0:#x} bytes has too many pages")]
    WindowSize(u64),
    /// The window is unsound.
    #[error(transparent)]
    Window(TableError),
}
