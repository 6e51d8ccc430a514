//! The queue of host calls: what is pending, and what a success or a failure means.

use crate::address::IovaRange;

use super::Container;
use super::failure::{Failure, FailureKind};
use super::host_map::HostMap;
use super::host_op::{HostOp, Intent, Step};
use super::limits::HolePolicy;
use super::pending::Pending;
use super::undo::Entry;

impl Container {
    /// The calls to make on the host now, in order. Empty when there is nothing to do.
    ///
    /// More may follow once these are reported.
    #[must_use]
    pub fn pending(&self) -> Pending<'_> {
        Pending::new(&self.steps)
    }

    /// Whether no call is pending.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.steps.is_empty()
    }

    /// Reports how the pending calls went: the first `done` succeeded, and the one after them failed if `failed` is set.
    ///
    /// Calls after a failed one must not have been made. What the failure means depends on what the call was for:
    /// a refused MAP drops the rest of its run ([`Container::refused`]); a refused UNMAP fails the container, which goes
    /// on with the others; see the [module](super).
    pub fn report(&mut self, done: usize, failed: bool) {
        for _ in 0..done {
            let Some(step) = self.steps.pop_front() else { break };
            self.complete(step);
        }
        if failed && let Some(step) = self.steps.pop_front() {
            self.counters.failed += 1;
            self.meet_failure(step);
        }
        self.refill();
    }

    /// Forgets every call that was not reported yet, and what of a run or a rollback was still to come.
    pub fn cancel(&mut self) {
        self.pages = None;
        self.leaving.clear();
        self.undo.clear();
        self.undoing = false;
        self.drop_steps();
    }

    /// Fails the container for a reason of the caller's: it could not ask the host for what the guest removed in `range`.
    ///
    /// What the host holds there is added to the failure's ranges. Calls not yet reported are forgotten.
    pub fn fail(&mut self, kind: FailureKind, range: IovaRange) {
        self.cancel();
        let held: Vec<_> = self.maps.overlapping(range).filter_map(|map| map.range.intersection(range)).collect();
        Failure::add(&mut self.failure, kind, held);
    }

    /// Queues a step and applies its effect.
    pub(super) fn queue(&mut self, step: Step) {
        for map in &step.removed {
            self.maps.remove(map);
        }
        for map in &step.inserted {
            self.maps.insert(*map);
        }
        self.steps.push_back(step);
    }

    /// Goes on with what was too much to be queued at once.
    pub(super) fn refill(&mut self) {
        while self.steps.is_empty() {
            if self.pages.is_some() {
                self.queue_pages();
            } else if let Some(range) = self.leaving.pop_front() {
                self.queue_unmap(range);
            } else if !self.queue_undo() {
                return;
            }
        }
    }

    fn complete(&mut self, step: Step) {
        match step.op {
            HostOp::Map { .. } => self.counters.maps += 1,
            HostOp::Unmap { .. } => self.counters.unmaps += 1,
            HostOp::Quiesce => self.counters.quiesced += 1,
        }
        let inserted = step.inserted.iter();
        match step.intent {
            Intent::Map => {
                let widened = inserted.filter(|map| map.widened()).map(HostMap::pages);
                self.counters.widened_pages += widened.sum::<u64>();
            }
            Intent::Hole => self.counters.holes += 1,
            Intent::Rest if self.holes == HolePolicy::Allow => {
                self.counters.exposed_pages += inserted.map(HostMap::pages).sum::<u64>();
            }
            _ => {}
        }
        self.record(step);
    }

    fn meet_failure(&mut self, step: Step) {
        let part = step.part;
        match step.intent {
            Intent::Map => {
                self.refused = Some(step.op);
                self.pages = None;
                self.drop_steps();
            }
            Intent::Unmap => Failure::add(&mut self.failure, FailureKind::Unmap, step.held()),
            Intent::Hole => {
                while self.steps.front().is_some_and(|next| next.intent == Intent::Rest) {
                    if let Some(rest) = self.steps.pop_front() {
                        self.unapply(&rest);
                    }
                }
                Failure::add(&mut self.failure, FailureKind::Unmap, part);
            }
            Intent::Quiesce => {
                let kept: Vec<_> =
                    self.steps.iter().filter(|next| next.intent == Intent::Hole).filter_map(|hole| hole.part).collect();
                self.drop_steps();
                Failure::add(&mut self.failure, FailureKind::Quiesce, kept);
            }
            Intent::Rest => {
                if let Some(part) = part {
                    Failure::add_missing(&mut self.failure, FailureKind::Rest, part);
                }
            }
            Intent::UndoMap => Failure::add(&mut self.failure, FailureKind::Rollback, step.held()),
            Intent::UndoUnmap => self.lost.extend(part),
            Intent::UndoExchange => {
                // What had taken its place must not stay either: the entry becomes nothing.
                self.lost.extend(part);
                self.undo.extend(part.map(Entry::Mapped));
            }
        }
        self.unapply(&step);
    }

    /// Takes back the effect of a step whose call was not made or failed.
    fn unapply(&mut self, step: &Step) {
        for map in &step.inserted {
            self.maps.remove(map);
        }
        for map in &step.removed {
            self.maps.insert(*map);
        }
        for map in &step.exchanged {
            self.held.insert(*map);
        }
    }

    /// Drops the queued steps, last first, so that each is taken back from the state it made.
    fn drop_steps(&mut self) {
        while let Some(step) = self.steps.pop_back() {
            self.unapply(&step);
        }
    }
}
