//! Why a container does not do what it was asked to; decided before the first call on the host.

use thiserror::Error;

use crate::address::{Gpa, IovaRange};

/// Why a container refused, before any call on the host.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Error)]
pub enum Refusal {
    /// The guest's pages are smaller than the host's smallest, however many of them adjoin.
    #[error("{range} has pages of 2^{page_shift} bytes, the host's smallest has 2^{host_shift}")]
    PageTooFine {
        /// What should have been mapped.
        range: IovaRange,
        /// The page size of the guest's entries.
        page_shift: u8,
        /// The host's smallest page size.
        host_shift: u32,
    },
    /// An end of the range, or its target, is not on a page boundary of the host.
    #[error("{range} -> {target} is not aligned to the host's pages of 2^{host_shift} bytes")]
    Unaligned {
        /// What should have been mapped.
        range: IovaRange,
        /// Where to.
        target: Gpa,
        /// The host's smallest page size.
        host_shift: u32,
    },
    /// The host cannot map here.
    #[error("{outside} of {range} is outside the host's IOVA ranges")]
    OutOfRange {
        /// What should have been mapped.
        range: IovaRange,
        /// Its first part that lies outside.
        outside: IovaRange,
    },
    /// Something is mapped here already.
    #[error("{range} overlaps {existing}")]
    Overlap {
        /// What should have been mapped.
        range: IovaRange,
        /// The first map in the way.
        existing: IovaRange,
    },
    /// The host holds too many maps.
    #[error("{range} needs {needed} maps, the host holds {held} of {max}")]
    MappingLimit {
        /// What should have been mapped.
        range: IovaRange,
        /// Maps held now.
        held: u64,
        /// Maps that this run needs.
        needed: u64,
        /// The host's limit.
        max: u32,
    },
    /// A part of a map would have to go, the host can only unmap all of it, and holes are forbidden.
    #[error("{range} is part of the map {map}, which the host cannot split")]
    HolesForbidden {
        /// What should have been unmapped.
        range: IovaRange,
        /// The map that it is a part of.
        map: IovaRange,
    },
    /// The container failed earlier and does nothing but [`clear`](super::Container::clear).
    #[error("the container failed")]
    Failed,
    /// Calls are pending that must be made and reported first.
    #[error("host calls are pending")]
    Busy,
}
