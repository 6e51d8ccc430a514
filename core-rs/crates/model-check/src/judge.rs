//! What must be so after every act.

use crate::act::{Act, Ended};
use crate::breach::{Breach, Breaches};
use crate::delivery::Status;
use crate::guest_call::{Answer, Written};
use crate::pages::Pages;
use crate::run::Run;
use crate::seat::Seat;
use crate::setup::Setup;
use crate::sight::Sight;
use crate::world::World;

/// Says what an act broke.
#[must_use]
pub fn judge(before: &World, after: &World, run: &Run<'_>, act: &Act, ended: &Ended) -> Breaches {
    let mut case = Case { setup: run.setup, before, after, breaches: run.breaches };
    for number in 0..after.seats.len() {
        case.remembers(number);
        case.agrees(number);
        case.tells_what_differs(number, act);
        case.leaves_alone(number, act);
    }
    match (act, ended) {
        (Act::Write { first, values }, Ended::Written(written)) => {
            let range = Pages { first: *first, last: *first + u32::try_from(values.len()).unwrap_or(u32::MAX) - 1 };
            case.removed(range);
            case.answered(range, act, written, run);
        }
        (Act::Step { seat }, Ended::Done(_)) => {
            let is_nearer = after.ahead(*seat) < before.ahead(*seat) || !after.seat(*seat).is_opening();
            case.breaches.unless(is_nearer, Breach::Endless);
        }
        _ => {}
    }
    if !matches!(act, Act::Write { .. }) {
        case.breaches.unless(before.table == after.table, Breach::LeftOver);
    }
    case.breaches
}

struct Case<'a> {
    setup: &'a Setup,
    before: &'a World,
    after: &'a World,
    breaches: Breaches,
}

impl Case<'_> {
    /// A container's memory is what its host holds.
    fn remembers(&mut self, number: usize) {
        let seat = self.after.seat(number);
        let memory = seat.raw.maps().iter().map(|map| (Pages::touched(map.range), (map.target, map.perm)));
        self.breaches.unless(memory.eq(seat.host.maps()), Breach::Memory);
    }

    /// (a) A live container's host holds what the table says, and what its replay has not come to is not there.
    /// (c) One that is attached to nothing holds nothing, or says what.
    fn agrees(&mut self, number: usize) {
        let seat = self.after.seat(number);
        if seat.attachment.is_none() {
            let is_deaf = self.after.notifiers.iter().all(|notifier| notifier.seat != number)
                && !self.after.listeners.contains(&number);
            let left = seat.failure.clone().unwrap_or_default();
            self.breaches.unless(is_deaf && seat.host.held() == left, Breach::LeftOver);
        } else if seat.failure.is_none() {
            let is_so = self.after.all().each().all(|page| seat.host.translate(page) == self.wanted(number, page));
            self.breaches.unless(is_so, Breach::Differs);
        }
    }

    /// What a container's host is to hold now. A container that failed had its replay where it was before.
    fn wanted(&self, number: usize, page: u32) -> Option<crate::host::Reach> {
        let walked = if self.after.seat(number).failure.is_none() { self.after } else { self.before };
        if walked.lies_ahead(number, page) { None } else { self.after.reach(self.setup, page) }
    }

    /// (c) The ranges that a container names that failed just now are those that differ.
    ///
    /// The memory map may change further after a container failed of the change: what appears then it does not follow, and what it
    /// could not unmap may have been put back. So there it must name what its host holds and should not, and need not name
    /// what is missing.
    fn tells_what_differs(&mut self, number: usize, act: &Act) {
        let (was, is) = (self.before.seat(number), self.after.seat(number));
        let Some(ranges) = is.failure.as_ref().filter(|_| is.attachment.is_some() && was.failure != is.failure) else {
            return;
        };
        let is_bus = matches!(act, Act::Hide | Act::Show);
        for page in self.after.all().each() {
            let is_named = ranges.iter().any(|pages| pages.contains(page));
            let (held, wanted) = (is.host.translate(page), self.wanted(number, page));
            let is_right = if is_bus && page == self.setup.hidden {
                is_named || held.is_none() || held == wanted
            } else {
                is_named == (held != wanted)
            };
            self.breaches.unless(is_right, Breach::LeftOver);
        }
        self.breaches.unless(ranges.iter().all(|pages| pages.last < self.setup.pages), Breach::LeftOver);
    }

    /// Nobody touches a container that failed but its own detach.
    fn leaves_alone(&mut self, number: usize, act: &Act) {
        let (was, is) = (&self.before.seats[number], &self.after.seats[number]);
        let is_its_own =
            matches!(act, Act::Step { seat } | Act::Detach { seat } | Act::Replace { seat } if *seat == number);
        self.breaches.unless(was.failure.is_none() || is_its_own || was == is, Breach::LeftOver);
    }

    /// (b) What a guest call removed no host holds any more, or its container failed of just that.
    fn removed(&mut self, range: Pages) {
        for page in range.each() {
            let Some(old) = self.before.table.translate(page) else { continue };
            if self.after.table.translate(page) == Some(old) {
                continue;
            }
            for (was, is) in self.before.seats.iter().zip(&self.after.seats) {
                let is_held = was.host.translate(page) == Some(old) && is.host.translate(page) == Some(old);
                let is_said = was.failure.is_some() || has_failed_of(is, page);
                self.breaches.unless(!is_held || is_said, Breach::NotRemoved);
            }
        }
    }

    /// (f) A refused call changed nothing, but for what was lost, which is nothing on all sides; and what was answered is true.
    fn answered(&mut self, range: Pages, act: &Act, written: &Written, run: &Run<'_>) {
        let just_failed =
            |number: usize| self.before.seat(number).failure.is_none() && self.after.seat(number).failure.is_some();
        let failures = (0..self.after.seats.len()).filter(|number| just_failed(*number)).count();
        if written.answer == Answer::Success {
            let is_stored = range.each().all(|page| Some(self.after.table.entry(page)) == act.stored(page));
            self.breaches.unless(is_stored && failures == 0, Breach::Differs);
            return;
        }
        let Some(outcome) = &written.outcome else { return };
        let gone = if outcome.status == Status::UnmapFailed { &written.changed } else { &outcome.lost };
        let is_gone = |page: u32| gone.iter().any(|pages| pages.contains(page));
        // One refusal alone, by the host or by the core, can be undone, unless it was of an UNMAP.
        let refusals = run.refused() + usize::from(run.has_seen(Sight::LimitReached));
        let is_excused = outcome.status == Status::UnmapFailed || refusals > 1;
        self.breaches.unless(is_excused || gone.is_empty() && failures == 0, Breach::NotUndone);
        for page in self.after.all().each() {
            let entry = if is_gone(page) { 0 } else { self.before.table.entry(page) };
            self.breaches.unless(self.after.table.entry(page) == entry, Breach::NotUndone);
            for (number, (was, is)) in self.before.seats.iter().zip(&self.after.seats).enumerate() {
                if just_failed(number) {
                    continue; // it says what differs
                }
                let old = was.host.translate(page);
                let is_hidden = self.after.is_hidden && page == self.setup.hidden;
                let is_followed = was.failure.is_none() && !is_hidden;
                let want = if is_gone(page) && is_followed { None } else { old };
                self.breaches.unless(is.host.translate(page) == want, Breach::NotUndone);
            }
        }
    }
}

fn has_failed_of(seat: &Seat, page: u32) -> bool {
    seat.failure.as_ref().is_some_and(|ranges| ranges.iter().any(|pages| pages.contains(page)))
}
