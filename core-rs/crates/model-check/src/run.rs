//! One act under way: what the hosts answer to it, and what is watched meanwhile.

use core::fmt;

use crate::host::Reach;
use crate::seat::Seat;
use crate::setup::Setup;

/// More calls than any act of a few pages needs: one that makes as many does not end.
const MOST_CALLS: usize = 200;

/// What the hosts answer to the calls of one act, in order: `true` where they do what they are asked. To what comes
/// after the last one they say yes.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Answers(pub Vec<bool>);

impl Answers {
    /// How many are refusals.
    #[must_use]
    pub fn refusals(&self) -> usize {
        self.0.iter().filter(|answer| !**answer).count()
    }

    /// The same answers, yes to some more, and then no: `at` is the number of the call that is refused.
    #[must_use]
    pub fn refusing(&self, at: usize) -> Self {
        let mut answers = self.0.clone();
        answers.resize(at, true);
        answers.push(false);
        Self(answers)
    }
}

impl fmt::Debug for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("yes to all");
        }
        for (call, answer) in self.0.iter().enumerate() {
            let gap = if call == 0 { "" } else { "," };
            write!(f, "{gap}{}", if *answer { "yes" } else { "no" })?;
        }
        Ok(())
    }
}

/// What the model must never do. The letters are those of the properties in docs/model-check.md.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Breach {
    /// (a) A live container's host does not hold what the guest's table says.
    Differs,
    /// (b) A guest call returned, and a host holds what it removed.
    NotRemoved,
    /// (c) An attach that failed or was given up left something, or a failed container names other ranges than differ.
    LeftOver,
    /// (d) A mapping was told twice during a replay, or one was taken back that was never told.
    ToldTwice,
    /// (e) A translation was gone for a moment that the guest did not change.
    Neighbour,
    /// (f) A call that was answered -44 changed something.
    NotUndone,
    /// Something does not end.
    Endless,
    /// A container asked its host for what that cannot do.
    AgainstTheRules,
    /// A container does not remember what its host holds, or thinks that calls are pending.
    Memory,
}

/// A set of breaches.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Breaches(u16);

impl Breaches {
    /// Adds one.
    pub fn add(&mut self, breach: Breach) {
        self.0 |= 1 << breach as u16;
    }

    /// Adds one unless something is so.
    pub fn unless(&mut self, is_so: bool, breach: Breach) {
        if !is_so {
            self.add(breach);
        }
    }

    /// Adds all of another.
    pub fn merge(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// Whether one is in it.
    #[must_use]
    pub fn has(self, breach: Breach) -> bool {
        self.0 >> breach as u16 & 1 != 0
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// What a model that checks anything comes across: none of these may be missing at the end.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Sight {
    /// A refused MAP was undone without a trace.
    Undone,
    /// What a refused call took away could not be put back.
    Lost,
    /// A rollback could not take away what was new.
    UndoFailed,
    /// A host did not unmap what the guest removed.
    UnmapFailed,
    /// A host did not map the rest of a map again.
    RestFailed,
    /// A device could not be stopped.
    QuiesceFailed,
    /// The core refused before any call on the host: its limit was reached.
    LimitReached,
    /// An attach failed and left nothing.
    AttachRefused,
    /// An attach failed and could not be undone.
    AttachStuck,
    /// A device left in the middle of its replay.
    LeftEarly,
    /// A guest write behind the position of a replay, told live.
    WriteBehind,
    /// A guest write ahead of it, left to the walk.
    WriteAhead,
    /// One run of a guest write on both sides of it.
    Straddles,
    /// A section shrank in the middle of its replay.
    ShrinkEarly,
    /// A refused change of the memory map was told back.
    ToldBack,
    /// What it had taken away could not be put back.
    GaveUp,
}

/// Every [`Sight`].
pub const SIGHTS: [Sight; 16] = [
    Sight::Undone,
    Sight::Lost,
    Sight::UndoFailed,
    Sight::UnmapFailed,
    Sight::RestFailed,
    Sight::QuiesceFailed,
    Sight::LimitReached,
    Sight::AttachRefused,
    Sight::AttachStuck,
    Sight::LeftEarly,
    Sight::WriteBehind,
    Sight::WriteAhead,
    Sight::Straddles,
    Sight::ShrinkEarly,
    Sight::ToldBack,
    Sight::GaveUp,
];

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
