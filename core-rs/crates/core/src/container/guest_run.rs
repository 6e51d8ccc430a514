//! What a guest wants mapped.

use super::host_map::{HostMap, Kind};
use crate::address::{Gpa, IovaRange};
use crate::extent::Extent;
use crate::perm::Perm;

/// A run of guest pages to be mapped, at bus addresses.
///
/// ```
/// use giommu_core::address::{Gpa, Iova};
/// use giommu_core::container::GuestRun;
/// use giommu_core::extent::Extent;
/// use giommu_core::perm::Perm;
///
/// let extent = Extent { iova: Iova(0x3000), target: Gpa(0x8000), pages: 2, page_shift: 12, perm: Perm::READ };
/// let run = GuestRun { backing: 1, ..GuestRun::from(extent) };
/// assert_eq!((run.range.to_string(), run.phase), ("0x3000..=0x4fff".to_owned(), 0));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct GuestRun {
    /// The bus addresses.
    pub range: IovaRange,
    /// The guest-physical address that its first byte reaches.
    pub target: Gpa,
    /// What a device may do; [`Perm::NONE`] maps nothing.
    pub perm: Perm,
    /// The page size of the guest's entries, as a power of two; 64 and more mean one entry for everything.
    pub page_shift: u8,
    /// Where entries begin: the bus address of any of them, modulo the page size. 0 unless an IOMMU sits at a bus
    /// address that is no multiple of its page size.
    pub phase: u64,
    /// Whether the memory behind the target can only be read, whatever the entries allow.
    pub readonly: bool,
    /// The caller's own number for the memory behind the target: comes back in [`HostOp::Map`](super::HostOp::Map), also from an undo.
    pub backing: u32,
}

impl GuestRun {
    /// What entries and memory both allow.
    pub(super) fn allowed(&self) -> Perm {
        if self.readonly { Perm::from_bits(u64::from(self.perm.bits() & Perm::READ.bits())) } else { self.perm }
    }

    /// The map of this run, without permission on the host.
    pub(super) fn unmapped(&self, kind: Kind) -> HostMap {
        HostMap {
            range: self.range,
            target: self.target,
            perm: Perm::NONE,
            kind,
            page_shift: self.page_shift,
            phase: self.phase,
            asked: self.perm,
            backing: self.backing,
        }
    }
}

/// The run that an extent of a table is, in memory that can be written, with number 0.
impl From<Extent> for GuestRun {
    fn from(extent: Extent) -> Self {
        let page_mask = (1u64 << extent.page_shift.min(63)) - 1;
        Self {
            range: extent.range(),
            target: extent.target,
            perm: extent.perm,
            page_shift: extent.page_shift,
            phase: extent.iova.0 & page_mask,
            readonly: false,
            backing: 0,
        }
    }
}
