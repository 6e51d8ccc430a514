//! Tells the notifiers of one guest call, and puts them back if one refuses: packages/notifiers/_change_delivery.ts.

use crate::mapped_run::MappedRun;
use crate::notifier::{Event, Notifier};
use crate::pages::{Pages, joined};
use crate::run::Run;
use crate::setup::Fault;
use crate::sight::Sight;
use crate::world::{Thrown, World};

/// What a guest call changed: `IommuChange`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GuestChange {
    /// Mappings that vanished.
    pub unmaps: Vec<MappedRun>,
    /// Mappings that appeared.
    pub maps: Vec<MappedRun>,
}

/// How a change went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// Everybody took it.
    Done,
    /// A MAP was refused: everybody was put back.
    Refused,
    /// An UNMAP failed: the entries of the change become nothing.
    UnmapFailed,
}

/// How a change went: `ChangeOutcome`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// In a word.
    pub status: Status,
    /// Which pages must become nothing.
    pub lost: Vec<Pages>,
}

/// One notifier's part in a change.
struct Part {
    notifier: Notifier,
    unmaps: Vec<Event>,
    maps: Vec<Event>,
    is_open: bool,
}

impl Part {
    fn pages(&self) -> impl Iterator<Item = Pages> {
        self.unmaps.iter().chain(&self.maps).map(|event| event.pages())
    }
}

impl World {
    /// `NotifierList.change`.
    ///
    /// Every notifier is a container's here, with `begin`, `commit` and `rollback`, of which the first two never throw. So of
    /// `#refuse` only the rollback is left.
    pub fn change(&mut self, run: &mut Run<'_>, change: &GuestChange) -> Outcome {
        let mut parts = self.parts(run, change);
        for part in &mut parts {
            self.begin(part.notifier.seat);
            part.is_open = true;
        }
        if self.unmap_all(run, &parts).is_err() {
            self.close(&mut parts);
            let lost = joined(change.maps.iter().map(|mapped| mapped.pages).collect());
            return Outcome { status: Status::UnmapFailed, lost };
        }
        for part in &parts {
            for event in &part.maps {
                if !self.is_registered(part.notifier.id) {
                    break;
                }
                if self.take(run, part.notifier.seat, *event).is_err() {
                    return self.refuse(run, parts);
                }
            }
        }
        self.close(&mut parts);
        Outcome { status: Status::Done, lost: Vec::new() }
    }

    /// Works out who is told what, before the first call: the newest notifier first.
    fn parts(&mut self, run: &mut Run<'_>, change: &GuestChange) -> Vec<Part> {
        let unmapped: Vec<Event> = joined_in_order(&change.unmaps).into_iter().map(Event::Unmap).collect();
        let mapped: Vec<Event> = change.maps.iter().copied().map(Event::Map).collect();
        let mut parts = Vec::new();
        for notifier in &mut self.notifiers {
            if let Some(walk) = &mut notifier.walk {
                unmapped.iter().chain(&mapped).for_each(|event| walk.changed(event.pages()));
            }
            let (mut unmaps, mut maps) = (Vec::new(), Vec::new());
            unmapped.iter().for_each(|event| notifier.append_audible(run, &mut unmaps, *event));
            mapped.iter().for_each(|event| notifier.append_audible(run, &mut maps, *event));
            if !unmaps.is_empty() || !maps.is_empty() {
                parts.push(Part { notifier: notifier.clone(), unmaps, maps, is_open: false });
            }
        }
        parts
    }

    /// `#unmapAll`: a failure does not keep the others from theirs.
    fn unmap_all(&mut self, run: &mut Run<'_>, parts: &[Part]) -> Result<(), Thrown> {
        let mut outcome = Ok(());
        if run.setup.fault == Fault::ForgetsUnmaps {
            return outcome;
        }
        for part in parts {
            for event in &part.unmaps {
                if !self.is_registered(part.notifier.id) {
                    break;
                }
                outcome = outcome.and(self.take(run, part.notifier.seat, *event));
            }
        }
        outcome
    }

    /// `#close` of all that are live.
    fn close(&mut self, parts: &mut [Part]) {
        for part in parts {
            if part.is_open && self.is_registered(part.notifier.id) {
                self.commit(part.notifier.seat);
                part.is_open = false;
            }
        }
    }

    /// `#refuse`: everybody is put back, those told last first.
    fn refuse(&mut self, run: &mut Run<'_>, mut parts: Vec<Part>) -> Outcome {
        let mut lost = Vec::new();
        let mut is_undone = true;
        for part in parts.iter_mut().rev() {
            if !self.is_registered(part.notifier.id) || !part.is_open {
                continue;
            }
            part.is_open = false;
            match self.rollback(run, part.notifier.seat, part.notifier.range) {
                Ok(ranges) => lost.extend(ranges),
                Err(Thrown) => {
                    is_undone = false;
                    lost.extend(part.pages());
                }
            }
        }
        let lost = joined(lost);
        if lost.is_empty() {
            if is_undone {
                run.saw(Sight::Undone);
            }
        } else {
            if is_undone {
                run.saw(Sight::Lost);
            }
            self.tell_lost(run, &parts, &lost);
        }
        Outcome { status: Status::Refused, lost }
    }

    /// `#tellLost`: what one notifier lost must not stay mapped with the others.
    fn tell_lost(&mut self, run: &mut Run<'_>, parts: &[Part], lost: &[Pages]) {
        if run.setup.fault == Fault::KeepsLost {
            return;
        }
        run.telling_lost = true;
        let mut told = Vec::new();
        for Part { notifier, .. } in parts.iter().filter(|part| self.is_registered(part.notifier.id)) {
            let mut events = Vec::new();
            lost.iter().for_each(|pages| notifier.append_audible(run, &mut events, Event::Unmap(*pages)));
            if !events.is_empty() {
                told.push((notifier, events));
            }
        }
        let closes_early = run.setup.fault == Fault::TellsLostOneByOne;
        if !closes_early {
            told.iter().for_each(|(notifier, _)| self.begin(notifier.seat));
        }
        for (notifier, events) in &told {
            if closes_early && self.is_registered(notifier.id) {
                self.begin(notifier.seat);
            }
            for event in events {
                if !self.is_registered(notifier.id) {
                    break;
                }
                // What fails here is in the container's own failure.
                let _ = self.take(run, notifier.seat, *event);
            }
            if closes_early {
                self.commit(notifier.seat);
            }
        }
        told.iter().for_each(|(notifier, _)| self.commit(notifier.seat));
        run.telling_lost = false;
    }
}

/// `unmapEvents`: one UNMAP per run of entries with adjoining addresses, whatever they reached.
fn joined_in_order(unmaps: &[MappedRun]) -> Vec<Pages> {
    joined(unmaps.iter().map(|run| run.pages).collect())
}
