//! Explores all of a setup, and says what was found.

use core::fmt;
use std::time::{Duration, Instant};

use stateright::{Checker, HasDiscoveries, Model};

use crate::model::{Action, Interleavings, PROPERTIES, name};
use crate::setup::Setup;
use crate::sight::{SIGHTS, Sight};
use crate::world::World;

/// How a property is broken: the shortest way there.
#[derive(Debug)]
pub struct Broken {
    /// The property's name.
    pub property: &'static str,
    /// What was done.
    pub actions: Vec<Action>,
    /// Where it led.
    pub world: World,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "broken: {}", self.property)?;
        for action in &self.actions {
            writeln!(f, "  {action:?}")?;
        }
        writeln!(f, "  leads to\n{:#?}", self.world)
    }
}

/// What was found.
#[derive(Debug)]
pub struct Found {
    /// How many states there are.
    pub states: usize,
    /// How many steps between them.
    pub steps: usize,
    /// How many acts the farthest state is away.
    pub depth: usize,
    /// How long it took.
    pub time: Duration,
    /// What was come across.
    pub sights: Vec<Sight>,
    /// Which properties are broken.
    pub broken: Vec<Broken>,
}

/// Explores all of a setup.
#[must_use]
pub fn explore(setup: &Setup, threads: usize) -> Found {
    let began = Instant::now();
    let checker = Interleavings::new(setup.clone()).checker().threads(threads).spawn_bfs().join();
    let time = began.elapsed();
    let model = checker.model();
    // The checker keeps the last way that it found, which may be a long one.
    let broken = PROPERTIES.into_iter().filter(|breach| checker.discovery(name(*breach)).is_some());
    Found {
        states: checker.unique_state_count(),
        steps: checker.state_count(),
        depth: checker.max_depth(),
        time,
        sights: SIGHTS.into_iter().filter(|sight| model.seen(*sight) > 0).collect(),
        broken: broken.filter_map(|breach| shortest(setup, name(breach))).collect(),
    }
}

/// The shortest way to break a property; `None` if there is none.
#[must_use]
pub fn shortest(setup: &Setup, property: &'static str) -> Option<Broken> {
    let mut states = 0;
    for depth in 2.. {
        let found = HasDiscoveries::AllOf([property].into());
        let checker = Interleavings::new(setup.clone()).checker().finish_when(found).target_max_depth(depth);
        let checker = checker.spawn_bfs().join();
        if let Some(path) = checker.discovery(property) {
            let world = path.last_state().clone();
            return Some(Broken { property, actions: path.into_actions(), world });
        }
        if checker.unique_state_count() == states {
            return None;
        }
        states = checker.unique_state_count();
    }
    None
}
