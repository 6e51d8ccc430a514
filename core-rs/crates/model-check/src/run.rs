//! One act under way: what the hosts answer to it, and what is watched meanwhile.

use core::fmt;

use crate::answers::Answers;
use crate::breach::{Breach, Breaches};
use crate::host::Reach;
use crate::seat::Seat;
use crate::setup::Setup;
use crate::sight::Sight;

/// More calls than any act of a few pages needs: one that makes as many does not end.
const MOST_CALLS: usize = 200;

#[derive(Clone, Copy)]
struct Watched {
    seat: usize,
    page: u32,
    reach: Reach,
}

/// One act under way.
pub struct Run<'a> {
    /// What is modelled.
    pub setup: &'a Setup,
    /// What it broke so far.
    pub breaches: Breaches,
    /// Whether what is told now was lost already, so that nobody need hold it.
    pub telling_lost: bool,
    answers: &'a Answers,
    asked: usize,
    refused: usize,
    watched: Vec<Watched>,
    sights: u32,
}

impl fmt::Debug for Run<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run").field("answers", self.answers).field("asked", &self.asked).finish_non_exhaustive()
    }
}

impl<'a> Run<'a> {
    /// An act to which the hosts answer so.
    #[must_use]
    pub fn new(setup: &'a Setup, answers: &'a Answers) -> Self {
        Self {
            setup,
            breaches: Breaches::default(),
            telling_lost: false,
            answers,
            asked: 0,
            refused: 0,
            watched: Vec::new(),
            sights: 0,
        }
    }

    /// How many calls were made on hosts.
    #[must_use]
    pub fn asked(&self) -> usize {
        self.asked
    }

    /// How many of them were refused.
    #[must_use]
    pub fn refused(&self) -> usize {
        self.refused
    }

    /// Whether it goes on for ever.
    #[must_use]
    pub fn is_endless(&self) -> bool {
        self.breaches.has(Breach::Endless)
    }

    /// What the host answers to the next call.
    pub fn answer(&mut self) -> bool {
        let answer = self.answers.0.get(self.asked).copied().unwrap_or(true);
        self.asked += 1;
        self.refused += usize::from(!answer);
        self.breaches.unless(self.asked <= MOST_CALLS, Breach::Endless);
        answer
    }

    /// Takes note that something happened.
    pub fn saw(&mut self, sight: Sight) {
        self.sights |= 1 << sight as u32;
    }

    /// Whether something happened.
    #[must_use]
    pub fn has_seen(&self, sight: Sight) -> bool {
        self.sights >> sight as u32 & 1 != 0
    }

    /// From now on a seat's host must not lose this translation, not for a moment.
    pub fn watch(&mut self, seat: usize, page: u32, reach: Reach) {
        self.watched.push(Watched { seat, page, reach });
    }

    /// A container takes all of its mappings away: its device is gone.
    pub fn release(&mut self, seat: usize) {
        self.watched.retain(|watched| watched.seat != seat);
    }

    /// Looks through the eyes of a device that runs, between two calls on its host.
    pub fn look(&mut self, number: usize, seat: &Seat) {
        if seat.is_stopped || seat.raw.failure().is_some() {
            return;
        }
        let is_gone = |one: &&Watched| one.seat == number && seat.host.translate(one.page) != Some(one.reach);
        let gone = self.watched.iter().any(|one| is_gone(&one));
        self.breaches.unless(!gone, Breach::Neighbour);
    }
}
