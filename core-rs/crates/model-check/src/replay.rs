//! A replay in steps, between which the guest may write: packages/memory-api/replay_stepper.ts and _own_source.ts.

use crate::mapped_run::MappedRun;
use crate::notifier::{Event, Walk};
use crate::pages::Pages;
use crate::run::Run;
use crate::seat::{Piece, Source};
use crate::setup::Fault;
use crate::table::Table;
use crate::world::{Thrown, World};

impl Source {
    /// Opens the table's own walk at a page.
    fn open(table: &Table, first: u32, last: u32) -> Self {
        let range = Pages { first, last };
        Self { position: Some(first), fetched: table.runs(range) }
    }

    /// `advance`.
    fn advance(&mut self, last: u32) -> Option<MappedRun> {
        self.position?;
        if self.fetched.is_empty() {
            self.position = None;
            return None;
        }
        let found = self.fetched.remove(0);
        self.position = (found.pages.last < last).then_some(found.pages.last + 1);
        Some(found)
    }
}

impl World {
    /// `step` of one piece's replay; returns whether it is over. If it throws, the notifier is unregistered.
    pub(crate) fn replay(
        &mut self,
        run: &mut Run<'_>,
        number: usize,
        piece: &mut Piece,
        budget: u32,
    ) -> Result<bool, Thrown> {
        self.seat_mut(number).is_replaying = true;
        let outcome = self.replay_some(run, number, piece, budget);
        self.seat_mut(number).is_replaying = false;
        match outcome {
            Ok(()) if self.walk(piece.notifier).is_some_and(|walk| walk.position.is_some()) => Ok(false),
            Ok(()) => {
                self.end_walk(piece);
                Ok(true)
            }
            Err(thrown) => {
                self.end_walk(piece);
                self.unregister(piece.notifier);
                Err(thrown)
            }
        }
    }

    /// `#run`.
    fn replay_some(&mut self, run: &mut Run<'_>, number: usize, piece: &mut Piece, budget: u32) -> Result<(), Thrown> {
        if let Some(walk) = self.walk_mut(piece.notifier)
            && walk.is_stale
        {
            walk.is_stale = false;
            if run.setup.fault != Fault::TrustsOldBatch {
                piece.source = None;
            }
            if run.setup.fault == Fault::NeverCatchesUp {
                return Ok(());
            }
        }
        for _ in 0..budget {
            // A notifier that left, perhaps from inside its own callback, wants to hear nothing more.
            let Some(&Walk { position: Some(position), last, .. }) = self.walk(piece.notifier) else { return Ok(()) };
            let source = piece.source.get_or_insert_with(|| Source::open(&self.table, position, last));
            let found = source.advance(last);
            let reached = source.position;
            if let Some(event) = found.map(Event::Map).and_then(|event| event.crop(Pages { first: position, last })) {
                // The position moves first.
                if let Some(walk) = self.walk_mut(piece.notifier) {
                    walk.pass(event.pages().last);
                }
                self.take(run, number, event)?;
            }
            // `#settle`: nothing of the model changes the table from inside a callback.
            if let Some(walk) = self.walk_mut(piece.notifier) {
                match reached {
                    None => walk.pass(walk.last),
                    Some(next) => walk.pass(next.saturating_sub(1)),
                }
            }
        }
        Ok(())
    }

    fn end_walk(&mut self, piece: &mut Piece) {
        piece.is_replaying = false;
        piece.source = None;
        if let Some(notifier) = self.notifiers.iter_mut().find(|notifier| notifier.id == piece.notifier) {
            notifier.walk = None;
        }
    }

    fn walk(&self, notifier: u32) -> Option<&Walk> {
        self.notifiers.iter().find(|one| one.id == notifier)?.walk.as_ref()
    }

    fn walk_mut(&mut self, notifier: u32) -> Option<&mut Walk> {
        self.notifiers.iter_mut().find(|one| one.id == notifier)?.walk.as_mut()
    }
}
