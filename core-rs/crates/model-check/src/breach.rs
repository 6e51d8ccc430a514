//! What must never be.

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
