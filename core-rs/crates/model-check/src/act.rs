//! What guest and operator do, one thing after the other. Between two of them anything may come; inside one nothing can,
//! since a guest call, a step and a host call are synchronous.

use crate::answers::Answers;
use crate::guest_call::Written;
use crate::judge::judge;
use crate::pages::Pages;
use crate::run::Run;
use crate::seat::Seat;
use crate::setup::Setup;
use crate::sight::{SIGHTS, Sight};
use crate::table::Table;
use crate::value::{VALUES, Value};
use crate::world::{Thrown, World};

/// Something that guest or operator do.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Act {
    /// A guest call stores values from an entry on.
    Write {
        /// The first entry.
        first: u32,
        /// One value for each.
        values: Vec<Value>,
    },
    /// A device is plugged: by `attach`, or by `attachSteps`.
    Attach {
        /// Its container.
        seat: usize,
        /// Whether its replay waits for steps.
        stepwise: bool,
    },
    /// The replay of a container goes on for one run of entries.
    Step {
        /// The container.
        seat: usize,
    },
    /// A device is unplugged, its attach aborted, or what is left of it unmapped.
    Detach {
        /// Its container.
        seat: usize,
    },
    /// A container that failed makes room for a new one.
    Replace {
        /// The container.
        seat: usize,
    },
    /// RAM hides a page of the IOMMU.
    Hide,
    /// It goes away again.
    Show,
}

/// How an act ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ended {
    /// A guest call did.
    Written(Written),
    /// Anything else did.
    Done(Result<(), Thrown>),
}

/// What an act led to.
#[derive(Clone, Debug)]
pub struct Led {
    /// The world after it.
    pub to: World,
    /// How it ended.
    pub ended: Ended,
    /// How many calls it made on hosts.
    pub asked: usize,
    /// What happened.
    pub sights: Vec<Sight>,
}

impl Act {
    /// Every call by which a guest stores values.
    #[must_use]
    pub fn writes(pages: u32) -> Vec<Self> {
        let mut writes = Vec::new();
        for first in 0..pages {
            let mut lists: Vec<Vec<Value>> = vec![Vec::new()];
            for _ in first..pages {
                lists =
                    lists.iter().flat_map(|list| VALUES.map(|value| [list.as_slice(), &[value]].concat())).collect();
                writes.extend(lists.iter().map(|values| Self::Write { first, values: values.clone() }));
            }
        }
        writes
    }

    /// How many entries a write stores.
    #[must_use]
    pub fn length(&self) -> usize {
        if let Self::Write { values, .. } = self { values.len() } else { 0 }
    }

    /// Whether a write changes the first and the last entry that it stores.
    #[must_use]
    pub fn is_tight(&self, table: &Table) -> bool {
        let Self::Write { first, values } = self else { return false };
        let pages: Vec<u32> = (*first..).take(values.len()).collect();
        let changes = |page: &u32| self.stored(*page) != Some(table.entry(*page));
        pages.first().is_some_and(changes) && pages.last().is_some_and(changes)
    }

    /// What a write stores for a page.
    #[must_use]
    pub fn stored(&self, page: u32) -> Option<u64> {
        let Self::Write { first, values } = self else { return None };
        let value = values.get(usize::try_from(page.checked_sub(*first)?).ok()?)?;
        Some(value.tce(page))
    }

    /// What can be done with a container.
    #[must_use]
    pub fn of(seat: usize, one: &Seat) -> Vec<Self> {
        match (&one.attachment, &one.failure) {
            (None, None) => [true, false].map(|stepwise| Self::Attach { seat, stepwise }).to_vec(),
            (None, Some(_)) if one.host.is_empty() => vec![Self::Replace { seat }],
            (None, Some(_)) => vec![Self::Detach { seat }, Self::Replace { seat }],
            (Some(attachment), _) if attachment.is_opening => vec![Self::Detach { seat }, Self::Step { seat }],
            (Some(_), _) => vec![Self::Detach { seat }],
        }
    }

    /// The pages whose mappings it may take away.
    fn changes(&self, world: &World, setup: &Setup) -> Vec<Pages> {
        match self {
            Self::Write { .. } => {
                // Bits that are no part of page or permission no value of the model has.
                let changes = |page: &u32| self.stored(*page).is_some_and(|tce| tce != world.table.entry(*page));
                world.all().each().filter(changes).map(Pages::one).collect()
            }
            Self::Hide | Self::Show => vec![Pages::one(setup.hidden)],
            _ => Vec::new(),
        }
    }

    /// Does it, with these answers of the hosts, and judges what came of it.
    #[must_use]
    pub fn done(&self, world: &World, setup: &Setup, answers: &Answers) -> Led {
        let mut run = Run::new(setup, answers);
        let changes = self.changes(world, setup);
        for (number, seat) in world.seats.iter().enumerate().filter(|(_, seat)| seat.is_live()) {
            for page in world.all().each().filter(|page| !changes.contains(&Pages::one(*page))) {
                if let Some(reach) = seat.host.translate(page) {
                    run.watch(number, page, reach);
                }
            }
        }
        let mut to = world.clone();
        let ended = self.act(&mut to, &mut run);
        to.come_to_rest(setup, world.table.version());
        let more = judge(world, &to, &run, self, &ended);
        to.breaches.merge(more);
        let sights = SIGHTS.into_iter().filter(|sight| run.has_seen(*sight)).collect();
        Led { to, ended, asked: run.asked(), sights }
    }

    fn act(&self, world: &mut World, run: &mut Run<'_>) -> Ended {
        Ended::Done(match self {
            Self::Write { first, values } => return Ended::Written(world.write(run, *first, values)),
            Self::Attach { seat, stepwise } => world.attach(run, *seat, *stepwise),
            Self::Step { seat } => world.step(run, *seat),
            Self::Hide => world.change_bus(run, true),
            Self::Show => world.change_bus(run, false),
            Self::Detach { seat } => {
                world.detach(run, *seat);
                Ok(())
            }
            Self::Replace { seat } => {
                world.replace(run, *seat);
                Ok(())
            }
        })
    }
}
