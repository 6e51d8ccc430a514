//! The model as `stateright` explores it: every act in every state, with every answer of the hosts.

use core::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use stateright::{Model, Property};

use crate::act::{Act, Led};
use crate::answers::Answers;
use crate::breach::Breach;
use crate::setup::Setup;
use crate::sight::{SIGHTS, Sight};
use crate::world::World;

/// An act with what the hosts answered to it.
///
/// It carries the state that it led to, since which calls there are to be answered is known only by doing it.
#[derive(Clone)]
pub struct Action {
    /// What is done.
    pub act: Act,
    /// What the hosts answer.
    pub answers: Answers,
    to: World,
}

impl PartialEq for Action {
    fn eq(&self, other: &Self) -> bool {
        (&self.act, &self.answers) == (&other.act, &other.answers)
    }
}

impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {:?}", self.act, self.answers)
    }
}

/// A guest, its containers, and their hosts.
#[derive(Debug)]
pub struct Interleavings {
    setup: Setup,
    writes: Vec<Act>,
    sights: [AtomicU64; SIGHTS.len()],
}

impl Interleavings {
    /// All of a setup.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        let writes = Act::writes(setup.pages);
        Self { setup, writes, sights: [const { AtomicU64::new(0) }; SIGHTS.len()] }
    }

    /// How often something was come across so far.
    #[must_use]
    pub fn seen(&self, sight: Sight) -> u64 {
        self.sights[sight as usize].load(Ordering::Relaxed)
    }

    /// An act with every answer of the hosts: yes to all, and from each call on that was made no, up to the bound.
    fn answered(&self, world: &World, act: &Act, actions: &mut Vec<Action>) {
        let mut todo = vec![Answers::default()];
        while let Some(answers) = todo.pop() {
            let Led { to, asked, sights, .. } = act.done(world, &self.setup, &answers);
            if answers.refusals() < self.setup.refusals {
                todo.extend((answers.0.len()..asked).map(|at| answers.refusing(at)));
            }
            for sight in sights {
                self.sights[sight as usize].fetch_add(1, Ordering::Relaxed);
            }
            actions.push(Action { act: act.clone(), answers, to });
        }
    }
}

impl Model for Interleavings {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(&self.setup)]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        // What comes after a breach proves nothing.
        if !world.breaches.is_empty() {
            return;
        }
        let failed = world.seats.iter().position(|seat| seat.failure.is_some()).filter(|_| self.setup.reduces);
        if let Some(failed) = failed {
            Act::of(failed, world.seat(failed)).iter().for_each(|act| self.answered(world, act, actions));
            return;
        }
        let writes = self.writes.iter().filter(|act| !self.setup.reduces || act.is_tight(&world.table));
        writes.for_each(|act| self.answered(world, act, actions));
        self.answered(world, if world.is_hidden { &Act::Show } else { &Act::Hide }, actions);
        for (number, seat) in world.seats.iter().enumerate() {
            Act::of(number, seat).iter().for_each(|act| self.answered(world, act, actions));
        }
    }

    fn next_state(&self, _last: &World, action: Action) -> Option<World> {
        Some(action.to)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            never(Breach::Differs, |_, world| !world.breaches.has(Breach::Differs)),
            never(Breach::NotRemoved, |_, world| !world.breaches.has(Breach::NotRemoved)),
            never(Breach::LeftOver, |_, world| !world.breaches.has(Breach::LeftOver)),
            never(Breach::ToldTwice, |_, world| !world.breaches.has(Breach::ToldTwice)),
            never(Breach::Neighbour, |_, world| !world.breaches.has(Breach::Neighbour)),
            never(Breach::NotUndone, |_, world| !world.breaches.has(Breach::NotUndone)),
            never(Breach::Endless, |_, world| !world.breaches.has(Breach::Endless)),
            never(Breach::AgainstTheRules, |_, world| !world.breaches.has(Breach::AgainstTheRules)),
            never(Breach::Memory, |_, world| !world.breaches.has(Breach::Memory)),
        ]
    }
}

fn never(breach: Breach, is_so: fn(&Interleavings, &World) -> bool) -> Property<Interleavings> {
    Property::always(name(breach), is_so)
}

/// Everything that is forbidden.
pub const PROPERTIES: [Breach; 9] = [
    Breach::Differs,
    Breach::NotRemoved,
    Breach::LeftOver,
    Breach::ToldTwice,
    Breach::Neighbour,
    Breach::NotUndone,
    Breach::Endless,
    Breach::AgainstTheRules,
    Breach::Memory,
];

/// What the property is called that forbids a breach.
#[must_use]
pub fn name(breach: Breach) -> &'static str {
    match breach {
        Breach::Differs => "(a) a live host equals the table",
        Breach::NotRemoved => "(b) no host holds what a guest call removed",
        Breach::LeftOver => "(c) a failed attach leaves nothing, a failed container names what differs",
        Breach::ToldTwice => "(d) during a replay each mapping is told once",
        Breach::Neighbour => "(e) no translation goes that the guest did not change",
        Breach::NotUndone => "(f) a refused call changes nothing",
        Breach::Endless => "everything ends",
        Breach::AgainstTheRules => "a host is asked only for what it can do",
        Breach::Memory => "a container remembers what its host holds",
    }
}
