//! The RTAS tokens of these calls, as QEMU hands them to a guest (`include/hw/ppc/spapr.h`).

/// `ibm,set-tce-bypass`: unit, enable.
pub const SET_TCE_BYPASS: u32 = 0x2010;
/// `quiesce`: no arguments.
pub const QUIESCE: u32 = 0x2011;
/// `ibm,query-pe-dma-window`: config address, BUID high, BUID low.
pub const QUERY: u32 = 0x2026;
/// `ibm,create-pe-dma-window`: config address, BUID high, BUID low, page shift, window shift.
pub const CREATE: u32 = 0x2027;
/// `ibm,remove-pe-dma-window`: LIOBN.
pub const REMOVE: u32 = 0x2028;
/// `ibm,reset-pe-dma-window`: config address, BUID high, BUID low.
pub const RESET: u32 = 0x2029;

/// The token of a call by its name in the device tree.
#[must_use]
pub fn of(name: &str) -> Option<u32> {
    Some(match name {
        "ibm,set-tce-bypass" => SET_TCE_BYPASS,
        "quiesce" => QUIESCE,
        "ibm,query-pe-dma-window" => QUERY,
        "ibm,create-pe-dma-window" => CREATE,
        "ibm,remove-pe-dma-window" => REMOVE,
        "ibm,reset-pe-dma-window" => RESET,
        _ => return None,
    })
}
