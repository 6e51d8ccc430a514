//! The journal of a transaction, and how it is undone.

use crate::address::IovaRange;

use super::Container;
use super::failure::{Failure, FailureKind};
use super::host_map::HostMap;
use super::host_op::{Intent, Step};
use super::limits::merged;
use super::refusal::Refusal;

/// One thing that a transaction did on the host.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Entry {
    /// Maps were made in this range, which held nothing before.
    Mapped(IovaRange),
    /// These were unmapped: whole maps, and parts that were cut out of one. In order of address.
    Unmapped(Vec<HostMap>),
    /// Absent entries were noted in this range, which held nothing before.
    Noted(IovaRange),
    /// These absent entries were forgotten.
    Forgotten(Vec<HostMap>),
    /// These were held, for a MAP to take their place.
    Held(Vec<HostMap>),
    /// A map was made in this range, in the place of these.
    Exchanged(IovaRange, Vec<HostMap>),
}

/// How many maps an undo puts back at once.
const UNDO_AT_ONCE: usize = 4096;

impl Container {
    /// Opens a transaction: what follows can be undone by [`Container::rollback`].
    ///
    /// # Errors
    /// [`Refusal::Busy`] while calls are pending or a transaction is open; [`Refusal::Failed`] on a failed container.
    pub fn begin(&mut self) -> Result<(), Refusal> {
        if self.failure.is_some() {
            return Err(Refusal::Failed);
        }
        if self.journal.is_some() {
            return Err(Refusal::Busy);
        }
        self.check_idle()?;
        self.refused = None;
        self.lost.clear();
        self.expected.clear();
        self.journal = Some(Vec::new());
        Ok(())
    }

    /// Closes the transaction; what it did stays. What was held for a MAP that did not come is queued to be unmapped: then
    /// calls are pending afterwards.
    pub fn commit(&mut self) {
        self.journal = None;
        self.expected.clear();
        let held: Vec<IovaRange> = self.held.iter().map(|map| map.range).collect();
        self.release_held();
        self.leaving.extend(held);
        self.refill();
    }

    /// Closes the transaction and queues what undoes it, last first: calls not yet made are dropped, new maps are
    /// unmapped, old maps come back in their old shape.
    ///
    /// A part that was cut out of a map comes back as a map of its own, since joining it with the rest would take the
    /// rest away for a moment. What can not be put back is in [`Container::lost`] once nothing is pending; what can not
    /// be taken away fails the container with [`FailureKind::Rollback`], and the failure's ranges are then all that
    /// differs from before. Without a transaction, or on a failed container, it does nothing.
    pub fn rollback(&mut self) {
        self.expected.clear();
        if self.failure.is_some() {
            self.journal = None;
            self.release_held();
            return;
        }
        let Some(journal) = self.journal.take() else { return };
        self.cancel();
        self.refused = None;
        self.lost.clear();
        self.undo = journal;
        self.undoing = true;
        self.refill();
    }

    /// Writes what a completed step did into the open journal.
    pub(super) fn record(&mut self, step: Step) {
        let Some(journal) = &mut self.journal else { return };
        match step.intent {
            Intent::Map => {
                let Some(range) = step.part else { return };
                if !step.exchanged.is_empty() {
                    journal.push(Entry::Exchanged(range, step.exchanged));
                } else if let Some(Entry::Mapped(end)) = journal.last_mut()
                    && end.last().checked_add(1) == Some(range.start())
                    && let Some(joined) = IovaRange::new(end.start(), range.last())
                {
                    *end = joined;
                } else {
                    journal.push(Entry::Mapped(range));
                }
            }
            Intent::Unmap | Intent::Hole => journal.push(Entry::Unmapped(step.into_taken())),
            Intent::Quiesce | Intent::Rest | Intent::UndoMap | Intent::UndoUnmap | Intent::UndoExchange => {}
        }
    }

    /// Queues the next part of a rollback. Planned one by one, so that each is planned from what the ones before it
    /// really left. Returns `false` when there is nothing left.
    pub(super) fn queue_undo(&mut self) -> bool {
        match self.undo.pop() {
            Some(Entry::Mapped(range)) => {
                let maps: Vec<HostMap> = self.maps.overlapping(range).copied().collect();
                self.queue_whole(maps, range, Intent::UndoMap);
                true
            }
            Some(Entry::Unmapped(mut maps)) => {
                let at_once = maps.split_off(maps.len().saturating_sub(UNDO_AT_ONCE));
                if !maps.is_empty() {
                    self.undo.push(Entry::Unmapped(maps));
                }
                for map in at_once {
                    if self.maps.overlapping(map.range).next().is_none() {
                        self.queue(Step::map(map, Intent::UndoUnmap));
                    } else {
                        // Only behind a failed UNMAP of this rollback: the host still holds what was new here.
                        Failure::add(&mut self.failure, FailureKind::Rollback, [map.range]);
                    }
                }
                true
            }
            Some(Entry::Exchanged(range, old)) => {
                self.queue_exchange_back(range, old);
                true
            }
            Some(Entry::Held(maps)) => {
                for map in maps {
                    for back in self.held.cut(map.range) {
                        self.maps.insert(back);
                    }
                }
                true
            }
            Some(Entry::Noted(range)) => {
                self.forget_absent(range);
                true
            }
            Some(Entry::Forgotten(maps)) => {
                for map in maps {
                    self.absent.insert(map);
                }
                true
            }
            None => {
                if self.undoing {
                    self.finish_undo();
                }
                false
            }
        }
    }

    fn finish_undo(&mut self) {
        self.undoing = false;
        self.lost = merged(core::mem::take(&mut self.lost));
        if self.failure.is_some() {
            // Nobody zeroes entries for a failed container, so what was lost differs as well.
            let lost = core::mem::take(&mut self.lost);
            Failure::add(&mut self.failure, FailureKind::Rollback, lost);
        }
    }
}
