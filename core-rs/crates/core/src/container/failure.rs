//! How a container ends: what its host holds is no longer what the guest asked for.

use thiserror::Error;

use crate::address::{Iova, IovaRange};

use super::limits::merged;

/// What failed first.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Error)]
pub enum FailureKind {
    /// The host did not unmap what the guest removed: it may still hold the ranges.
    #[error("the host did not unmap what the guest removed")]
    Unmap,
    /// The host did not map the rest of a map again of which the guest removed a part: it no longer holds the ranges.
    #[error("the host did not map the rest of a map again")]
    Rest,
    /// The device could not be stopped for a hole: the host still holds the ranges, nothing was taken away.
    #[error("the device could not be stopped")]
    Quiesce,
    /// A rollback could not be finished: the ranges are not as they were before the call.
    #[error("a rollback could not be finished")]
    Rollback,
}

/// Why a container is failed, and where host and guest differ.
///
/// An error to pass on for who carries out the calls; the container keeps it ([`Container::failure`](super::Container::failure)).
#[derive(Clone, PartialEq, Eq, Hash, Debug, Error)]
#[error("{kind}: host and guest differ in {}", said(ranges))]
pub struct Failure {
    /// What failed first.
    pub kind: FailureKind,
    /// Where host and guest differ: in order, joined.
    pub ranges: Vec<IovaRange>,
}

impl Failure {
    /// Adds `ranges` to `failure`; the first kind stays.
    pub(super) fn add(failure: &mut Option<Self>, kind: FailureKind, ranges: impl IntoIterator<Item = IovaRange>) {
        let failure = failure.get_or_insert(Self { kind, ranges: Vec::new() });
        let ordered = |failure: &Self, range: &IovaRange| {
            failure.ranges.last().is_none_or(|end| {
                end.last() < range.start() && end.last().checked_add(1).is_some_and(|next| next < range.start())
            })
        };
        for range in ranges {
            // Failures mostly come in order, with gaps between them; sorting each time would be quadratic.
            let in_order = ordered(failure, &range);
            failure.ranges.push(range);
            if !in_order {
                failure.ranges = merged(core::mem::take(&mut failure.ranges));
            }
        }
    }

    /// Takes note that the guest removed `range`, of which the host holds `held`: what was missing there is not missed any more.
    pub(super) fn remove_missing(&mut self, range: IovaRange, held: &[IovaRange]) {
        let before = core::mem::take(&mut self.ranges);
        let apart = before.iter().flat_map(|named| outside(*named, range)).flatten();
        let both = before.iter().flat_map(|named| held.iter().filter_map(|part| part.intersection(*named)));
        self.ranges = merged(apart.chain(both).collect());
    }

    /// Takes note that the host lost what it held in `range`: what failed to be unmapped there is gone now, as it should be,
    /// and the rest is missing.
    pub(super) fn add_missing(failure: &mut Option<Self>, kind: FailureKind, range: IovaRange) {
        let before = failure.as_mut().map_or_else(Vec::new, |failure| core::mem::take(&mut failure.ranges));
        let still = before.iter().flat_map(|held| outside(*held, range)).flatten().collect::<Vec<_>>();
        let missing = before.iter().fold(vec![range], |missing, held| {
            missing.iter().flat_map(|part| outside(*part, *held)).flatten().collect()
        });
        Self::add(failure, kind, still.into_iter().chain(missing));
    }
}

/// The first range, and how many follow.
fn said(ranges: &[IovaRange]) -> String {
    match ranges {
        [] => "nothing".to_owned(),
        [only] => only.to_string(),
        [first, more @ ..] => format!("{first} and {} more ranges", more.len()),
    }
}

/// The parts of `whole` before and after `part`; all of it if they share nothing.
fn outside(whole: IovaRange, part: IovaRange) -> [Option<IovaRange>; 2] {
    let before = part.start().0.checked_sub(1).map(|last| Iova(last).min(whole.last()));
    let after = part.last().checked_add(1).map(|start| start.max(whole.start()));
    [
        before.and_then(|last| IovaRange::new(whole.start(), last)),
        after.and_then(|start| IovaRange::new(start, whole.last())),
    ]
}
