//! What an access reaches, extent by extent.

use core::ops::ControlFlow;

use giommu_core::extent::Extent;
use giommu_core::perm::Perm;
use giommu_core::tce_table::{Runs, TceTable};
use vm_memory::iommu::{Error, Iotlb};
use vm_memory::{GuestAddress, Permissions};

use crate::tce_iommu::Window;

/// A part of an access that reaches nothing. It is as long as the reason holds.
#[derive(Debug)]
pub(crate) struct Unreachable {
    pub(crate) start: u64,
    pub(crate) length: u64,
    pub(crate) reason: String,
}

/// Puts the translations of `start..=last` into `iotlb`, up to the first address that the access can not reach.
///
/// So a guest that asks for more than it has mapped makes nobody walk beyond that.
pub(crate) fn reach(
    windows: &[Window],
    start: u64,
    last: u64,
    access: Permissions,
    iotlb: &mut Iotlb,
) -> Result<(), Error> {
    let mut next = Some(start);
    while let Some(at) = next.filter(|at| *at <= last) {
        let (found, end) = visible(windows, at, last);
        let Some(window) = found else {
            return Err(unreachable(at, end, "no window is there".to_owned()));
        };
        let table = window.table.read().map_err(|_| Error::IommuMisconfigured {
            reason: format!("a thread panicked while it changed the table of LIOBN {:#x}", window.liobn),
        })?;
        reach_in(window, &table, at, end, access, iotlb)?;
        next = end.checked_add(1);
    }
    Ok(())
}

/// The window that is seen at an address, and the last address up to `last` where the same one is.
fn visible(windows: &[Window], at: u64, last: u64) -> (Option<&Window>, u64) {
    let mut end = last;
    for window in windows.iter().rev() {
        if window.start > at {
            end = end.min(window.start - 1);
        } else if at <= window.last {
            return (Some(window), end.min(window.last));
        }
    }
    (None, end)
}

/// The same for addresses that all lie in one window.
fn reach_in(
    window: &Window,
    table: &TceTable,
    start: u64,
    last: u64,
    access: Permissions,
    iotlb: &mut Iotlb,
) -> Result<(), Error> {
    let (Some(first_entry), Some(last_entry)) = (table.index_of(start), table.index_of(last)) else {
        return Err(unreachable(start, last, "no window is there".to_owned()));
    };
    let mut at = start;
    let mut failed = None;
    let no_entry = || format!("LIOBN {:#x} has no entry there", window.liobn);
    table.each_extent(first_entry, last_entry, Runs::Full, |_, extent| {
        let (from, to) = (extent.iova.0.max(start), extent.range().last().0.min(last));
        if from > at {
            failed = Some(unreachable(at, from - 1, no_entry()));
        } else if !permissions(extent.perm).allow(access) {
            let reason = format!("LIOBN {:#x} allows {} there", window.liobn, extent.perm);
            failed = Some(unreachable(from, to, reason));
        } else if let Err(error) = put(iotlb, &extent, from, to) {
            failed = Some(error);
        } else if let Some(next) = to.checked_add(1) {
            at = next;
            return ControlFlow::Continue(());
        }
        ControlFlow::Break(())
    });
    match failed {
        Some(error) => Err(error),
        None if at <= last => Err(unreachable(at, last, no_entry())),
        None => Ok(()),
    }
}

/// Puts the part `from..=to` of an extent into `iotlb`.
fn put(iotlb: &mut Iotlb, extent: &Extent, from: u64, to: u64) -> Result<(), Error> {
    let target = extent.target.wrapping_add(from - extent.iova.0);
    // The part is not longer than the access, whose length is a `usize`.
    let length = usize::try_from(to - from).unwrap_or(usize::MAX).saturating_add(1);
    iotlb.set_mapping(GuestAddress(from), GuestAddress(target.0), length, permissions(extent.perm))
}

fn permissions(perm: Perm) -> Permissions {
    match (perm.reads(), perm.writes()) {
        (false, false) => Permissions::No,
        (true, false) => Permissions::Read,
        (false, true) => Permissions::Write,
        (true, true) => Permissions::ReadWrite,
    }
}

fn unreachable(start: u64, last: u64, reason: String) -> Error {
    Unreachable { start, length: (last - start).saturating_add(1), reason }.into()
}
