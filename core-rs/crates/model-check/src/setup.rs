//! What is modelled: how large, which hosts, and what is done wrong on purpose.

use crate::host::HostKind;

/// What the dispatcher does wrong on purpose, so that it is seen that the checker sees it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// A change in place is a MAP without an UNMAP, and what a notifier refuses is a success for the guest: QEMU's way.
    Qemu,
    /// UNMAPs are not told.
    ForgetsUnmaps,
    /// An attach that fails or is given up leaves its mappings.
    ForgetsToClear,
    /// A guest write ahead of a replay is told live as well.
    TellsAhead,
    /// A guest write behind a replay is not told.
    WithholdsBehind,
    /// A replay goes on with what it read before the guest changed it.
    TrustsOldBatch,
    /// A refused call's entries stay in the table.
    ForgetsUndo,
    /// What one container lost stays mapped with the others.
    KeepsLost,
    /// What one container lost is told to one notifier after the other, each of which closes before the next begins.
    TellsLostOneByOne,
    /// A step of a replay that comes after a guest write ahead of it does no more than read anew.
    NeverCatchesUp,
}

/// What is modelled.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Setup {
    /// Entries of the guest's table.
    pub pages: u32,
    /// The page that RAM can hide.
    pub hidden: u32,
    /// A host for each container on the bus.
    pub hosts: Vec<HostKind>,
    /// How many maps each host has room for.
    pub max_mappings: Option<u32>,
    /// How many calls the hosts refuse in one act at most; over time there is no limit.
    pub refusals: usize,
    /// Whether a container that fails is unplugged at once, from inside its `cutOff` hook.
    pub unplugs: bool,
    /// Whether to leave out what changes nothing, so that more pages can be tried; see docs/model-check.md. A container that
    /// failed leaves before anything else happens; what the core remembers of a refused call is forgotten at once; and a
    /// write begins and ends with an entry that it changes.
    pub reduces: bool,
    /// What is done wrong on purpose.
    pub fault: Fault,
}

impl Setup {
    /// Containers on these hosts beside a table of so many pages, whose second page RAM can hide.
    #[must_use]
    pub fn new(pages: u32, hosts: &[HostKind]) -> Self {
        Self {
            pages,
            hidden: 1,
            hosts: hosts.to_vec(),
            max_mappings: None,
            refusals: usize::MAX,
            unplugs: false,
            reduces: true,
            fault: Fault::None,
        }
    }

    /// The same, with so many refusals in one act at most.
    #[must_use]
    pub fn with_refusals(self, refusals: usize) -> Self {
        Self { refusals, ..self }
    }

    /// The same, with a container that fails being unplugged at once.
    #[must_use]
    pub fn with_unplug(self) -> Self {
        Self { unplugs: true, ..self }
    }

    /// The same, with room for so many maps on each host.
    #[must_use]
    pub fn with_limit(self, maps: u32) -> Self {
        Self { max_mappings: Some(maps), ..self }
    }

    /// The same, with nothing left out.
    #[must_use]
    pub fn in_full(self) -> Self {
        Self { reduces: false, ..self }
    }

    /// The same with something done wrong.
    #[must_use]
    pub fn with_fault(self, fault: Fault) -> Self {
        Self { fault, ..self }
    }
}
