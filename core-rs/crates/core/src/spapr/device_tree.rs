//! The properties of the device tree that tell a guest of its IOMMUs.

use super::phb::Phb;
use super::token;
use super::vio::VioDevice;
use crate::tce_table::Geometry;

/// Cells as the bytes of a property: big-endian.
#[must_use]
pub fn cells_to_bytes(cells: &[u32]) -> Vec<u8> {
    cells.iter().flat_map(|cell| cell.to_be_bytes()).collect()
}

impl Phb {
    /// `ibm,dma-window`: the default window. Its size has 32 bits: one of 4 GiB is told as 0, as QEMU does.
    #[must_use]
    pub fn ibm_dma_window(&self) -> [u32; 5] {
        window_cells(self.default_window())
    }

    /// `ibm,ddw-applicable`: the tokens of query, create and remove; `None` without dynamic windows.
    #[must_use]
    pub fn ibm_ddw_applicable(&self) -> Option<[u32; 3]> {
        self.config().ddw.then_some([token::QUERY, token::CREATE, token::REMOVE])
    }

    /// `ibm,ddw-extensions`: two of them, the token of reset, and that a query may have six answers.
    #[must_use]
    pub fn ibm_ddw_extensions(&self) -> Option<[u32; 3]> {
        self.config().ddw.then_some([2, token::RESET, 1])
    }
}

impl VioDevice {
    /// `ibm,my-dma-window`: the window of its table.
    #[must_use]
    pub fn ibm_my_dma_window(&self) -> [u32; 5] {
        self.table().try_borrow().map_or([self.unit(), 0, 0, 0, 0], |table| window_cells(table.geometry()))
    }
}

/// LIOBN, bus address in two cells, and size in two, of which the upper is always 0.
fn window_cells(window: Geometry) -> [u32; 5] {
    let low = |value: u64| (value & 0xffff_ffff) as u32;
    let bytes = u64::from(window.entries).wrapping_shl(u32::from(window.page_shift));
    [window.liobn, low(window.bus_offset.0 >> 32), low(window.bus_offset.0), 0, low(bytes)]
}
