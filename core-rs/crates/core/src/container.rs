//! The state machine of a VFIO container: what a host IOMMU must be asked, and how it is undone.
//!
//! A [`Container`] mirrors guest mappings into one host address space. It performs no I/O: it is told what the guest
//! changed ([`map`](Container::map), [`unmap`](Container::unmap)), answers with the calls to make on the host
//! ([`pending`](Container::pending)), and is told how they went ([`report`](Container::report)). It remembers exactly
//! what it mapped; when nothing is pending, its memory *is* what the host holds.
//!
//! *Invariant: a host call made for one guest entry never removes, even for an instant, the translation of an entry
//! that the guest did not change* — unless the caller allowed holes or gave a way to stop the device ([`HolePolicy`]).
//!
//! Everything that can be known beforehand is checked before the first call ([`Refusal`]). A MAP that the host refuses
//! drops the rest of the run; [`rollback`](Container::rollback) then undoes what the transaction did, last first. An
//! UNMAP that the host refuses can not be answered to a guest, which reuses the page whatever it is told: the container
//! is failed ([`Failure`]) and says where host and guest differ.
//!
//! # Guest control
//! A guest chooses addresses, targets, permissions and how often it changes them. Nothing here panics on them; memory
//! grows with the number of host maps alone.

mod absent;
mod counters;
mod dirty;
mod exchange;
mod failure;
mod guest_run;
mod host_map;
mod host_op;
mod limits;
mod machine;
mod pending;
mod planning;
mod refusal;
mod undo;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;

pub use counters::Counters;
pub use dirty::DirtyLog;
pub use failure::{Failure, FailureKind};
pub use guest_run::GuestRun;
pub use host_map::{HostMap, HostMaps, Kind};
pub use host_op::HostOp;
pub use limits::{Coalesce, HolePolicy, HostLimits, LimitsError, Split};
pub use pending::Pending;
pub use refusal::Refusal;

use crate::address::IovaRange;
use host_op::Step;
use planning::Pages;
use undo::Entry;

/// Mirrors guest mappings into one host address space; see the [module](self).
///
/// ```
/// use giommu_core::address::{Gpa, Iova, IovaRange};
/// use giommu_core::container::{Coalesce, Container, GuestRun, HolePolicy, HostLimits, HostOp, Kind, Split};
/// use giommu_core::perm::Perm;
///
/// let limits = HostLimits {
///     page_sizes: 1 << 12,
///     iova_ranges: vec![IovaRange::ALL],
///     max_mappings: None,
///     split: Split::None,
///     unmap_wide: true,
///     write_only: true,
///     exchange: false,
/// };
/// let mut container = Container::new(limits, Coalesce::None, HolePolicy::Forbid)?;
/// let run = GuestRun {
///     range: IovaRange::from_length(Iova(0), 0x1fff).unwrap(),
///     target: Gpa(0x8000),
///     perm: Perm::READ_WRITE,
///     page_shift: 12,
///     phase: 0,
///     readonly: false,
///     backing: 0,
/// };
/// container.begin()?;
/// container.map(run, Kind::Iommu)?;
/// assert_eq!(container.pending().len(), 2); // one map per page
/// container.report(1, true); // the second one is refused
/// container.rollback();
/// assert!(matches!(container.pending().next(), Some(HostOp::Unmap { bytes: 0x1000, .. })));
/// container.report(1, false);
/// assert!(container.maps().is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Container {
    limits: HostLimits,
    coalesce: Coalesce,
    holes: HolePolicy,
    /// The host's maps, as they will be when every queued step has succeeded.
    maps: HostMaps,
    /// Entries that reach no memory now.
    absent: HostMaps,
    /// Maps that are on the host and were unmapped by the guest: a MAP is expected to take their place.
    held: HostMaps,
    /// Where that is expected, in the open transaction: in order, disjoint.
    expected: Vec<IovaRange>,
    steps: VecDeque<Step>,
    /// The rest of a run that is queued piece by piece.
    pages: Option<Pages>,
    /// Ranges still to be unmapped, one after the other.
    leaving: VecDeque<IovaRange>,
    /// What was done since [`Container::begin`]; `None` outside a transaction.
    journal: Option<Vec<Entry>>,
    /// What a running rollback has still to undo, last first from its end.
    undo: Vec<Entry>,
    undoing: bool,
    refused: Option<HostOp>,
    lost: Vec<IovaRange>,
    failure: Option<Failure>,
    counters: Counters,
    /// Guest memory that devices wrote, while somebody wants to know.
    dirty: Option<DirtyLog>,
}

impl Container {
    /// A container that has mapped nothing.
    ///
    /// # Errors
    /// [`LimitsError::NoPageSize`]; [`LimitsError::HolesForbidden`] where a part of a coalesced map could not be unmapped.
    pub fn new(limits: HostLimits, coalesce: Coalesce, holes: HolePolicy) -> Result<Self, LimitsError> {
        if coalesce != Coalesce::None && limits.split == Split::None && holes == HolePolicy::Forbid {
            return Err(LimitsError::HolesForbidden);
        }
        Ok(Self {
            limits: limits.normalized()?,
            coalesce,
            holes,
            maps: HostMaps::default(),
            absent: HostMaps::default(),
            held: HostMaps::default(),
            expected: Vec::new(),
            steps: VecDeque::new(),
            pages: None,
            leaving: VecDeque::new(),
            journal: None,
            undo: Vec::new(),
            undoing: false,
            refused: None,
            lost: Vec::new(),
            failure: None,
            counters: Counters::default(),
            dirty: None,
        })
    }

    /// The host's limits, as they were normalized.
    #[must_use]
    pub fn limits(&self) -> &HostLimits {
        &self.limits
    }

    /// Leaves room for `maps` maps more than those that are made from now on: what it would refuse then, it refuses at once. For
    /// a copy on which something is tried out.
    pub fn reserve(&mut self, maps: u32) {
        self.limits.max_mappings = self.limits.max_mappings.map(|max| max.saturating_sub(maps));
    }

    /// How neighbouring pages share maps.
    #[must_use]
    pub fn coalesce(&self) -> Coalesce {
        self.coalesce
    }

    /// The host's maps. While calls are pending, as they will be when all of them have succeeded.
    #[must_use]
    pub fn maps(&self) -> &HostMaps {
        &self.maps
    }

    /// Why the container failed; `None` while it lives.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    /// The MAP that the host refused last, until the next [`Container::map`], [`Container::begin`] or rollback.
    #[must_use]
    pub fn refused(&self) -> Option<HostOp> {
        self.refused
    }

    /// What the last rollback could not put back: mapped before the call, not mapped now. Ranges in order.
    #[must_use]
    pub fn lost(&self) -> &[IovaRange] {
        &self.lost
    }

    /// Totals since the container was made.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Whether a transaction is open.
    #[must_use]
    pub fn in_transaction(&self) -> bool {
        self.journal.is_some()
    }
}
