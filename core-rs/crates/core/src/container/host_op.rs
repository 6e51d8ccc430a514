//! What a container asks of its host.

use core::fmt;

use crate::address::{Gpa, IovaRange};
use crate::perm::Perm;

use super::host_map::HostMap;

/// One call that the container wants made on the host, in the order given.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum HostOp {
    /// Map `range` to guest memory from `target` on; where the host exchanges, in the place of what is mapped there.
    Map {
        /// The bus addresses.
        range: IovaRange,
        /// The guest-physical address of its first byte.
        target: Gpa,
        /// What a device may do.
        perm: Perm,
        /// The caller's own number for the memory behind the target.
        backing: u32,
    },
    /// Unmap `range`, which holds exactly `bytes` mapped bytes. Any other number unmapped is a failure.
    Unmap {
        /// The bus addresses.
        range: IovaRange,
        /// Mapped bytes in `range`: less than its length where a wide unmap passes gaps.
        bytes: u128,
    },
    /// Stop the device: the following calls take translations away for a moment that the guest did not change.
    /// The caller lets it go on when nothing is pending any more.
    Quiesce,
}

/// The call in one line, for plans and reports.
impl fmt::Display for HostOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Map { range, target, perm, .. } => write!(f, "map {range} -> {target} {perm}"),
            Self::Unmap { range, bytes } => write!(f, "unmap {range} ({bytes:#x} bytes)"),
            Self::Quiesce => f.write_str("stop the device"),
        }
    }
}

/// Why a step is in the queue; decides what its failure means.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Intent {
    /// A mapping that the guest made. Its failure refuses the call.
    Map,
    /// Whole maps, or parts where the host splits, that the guest removed. Its failure fails the container.
    Unmap,
    /// Stops the device before the holes that follow.
    Quiesce,
    /// A whole map of which only a part was removed.
    Hole,
    /// The rest of such a map, mapped again; belongs to the [`Intent::Hole`] before it.
    Rest,
    /// A map that a rollback takes away again.
    UndoMap,
    /// A map that a rollback puts back.
    UndoUnmap,
    /// A map that a rollback puts back in the place of the one that had taken its own.
    UndoExchange,
}

/// One queued call with its effect on the container's memory, which is applied when it is queued and taken back if
/// the call fails or is never made.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Step {
    pub(super) op: HostOp,
    pub(super) intent: Intent,
    /// Maps that go.
    pub(super) removed: Vec<HostMap>,
    /// Maps that come: the new one, or the rests of a cut.
    pub(super) inserted: Vec<HostMap>,
    /// Held maps in whose place the new one is put.
    pub(super) exchanged: Vec<HostMap>,
    /// What the guest changed: all of the call's range, or the part of a map that a hole is made for.
    pub(super) part: Option<IovaRange>,
}

impl Step {
    pub(super) fn map(map: HostMap, intent: Intent) -> Self {
        let HostMap { range, target, perm, backing, .. } = map;
        Self {
            op: HostOp::Map { range, target, perm, backing },
            intent,
            removed: Vec::new(),
            inserted: vec![map],
            exchanged: Vec::new(),
            part: Some(range),
        }
    }

    /// One UNMAP of everything that `maps` (in order, all touching `range`) hold inside `range`; what they hold
    /// outside stays mapped. `None` if they hold nothing there.
    pub(super) fn unmap(maps: Vec<HostMap>, range: IovaRange, intent: Intent) -> Option<Self> {
        let first = maps.first()?.range.start().max(range.start());
        let last = maps.last()?.range.last().min(range.last());
        let covered = IovaRange::new(first, last)?;
        let bytes = maps
            .iter()
            .filter_map(|map| map.range.intersection(covered))
            .map(|part| u128::from(part.length_minus_1()) + 1)
            .sum();
        // Only the first and the last map can reach beyond the range.
        let edges = [maps.first(), maps.last().filter(|_| maps.len() > 1)];
        let inserted = edges.into_iter().flatten().flat_map(|map| map.outside(range)).flatten().collect();
        Some(Self {
            op: HostOp::Unmap { range: covered, bytes },
            intent,
            removed: maps,
            inserted,
            exchanged: Vec::new(),
            part: Some(covered),
        })
    }

    /// One UNMAP of a whole map of which the guest removed only `part`.
    pub(super) fn hole(map: HostMap, part: IovaRange) -> Option<Self> {
        let step = Self::unmap(vec![map], map.range, Intent::Hole)?;
        Some(Self { part: map.range.intersection(part), ..step })
    }

    pub(super) fn quiesce() -> Self {
        Self {
            op: HostOp::Quiesce,
            intent: Intent::Quiesce,
            removed: Vec::new(),
            inserted: Vec::new(),
            exchanged: Vec::new(),
            part: None,
        }
    }

    /// The bus addresses that the call is about, on the host.
    pub(super) fn part_of_host(&self) -> Option<IovaRange> {
        match self.op {
            HostOp::Map { range, .. } | HostOp::Unmap { range, .. } => Some(range),
            HostOp::Quiesce => None,
        }
    }

    /// What an UNMAP that failed left on the host: without the gaps that a wide one passes.
    pub(super) fn held(&self) -> impl Iterator<Item = IovaRange> {
        self.removed.iter().filter_map(|map| map.range.intersection(self.part?))
    }

    /// What the guest removed by this step, piece by piece with old target and permission: what an undo maps again.
    pub(super) fn into_taken(self) -> Vec<HostMap> {
        let mut taken = self.removed;
        if let Some(part) = self.part {
            taken.retain_mut(|map| match map.crop(part) {
                Some(cropped) => {
                    *map = cropped;
                    true
                }
                None => false,
            });
        }
        taken
    }
}
