//! What a call did that the layers above must deliver.

use std::rc::Rc;

use crate::tce_table::{Change, SharedTable};

/// What a guest's call did besides answering: to be delivered, in order, before the guest goes on.
///
/// Every call clears it first, so that one can be used for all calls; it keeps its memory. As long as it is whole,
/// [`SpaprMachine::undo`](super::SpaprMachine::undo) takes the call back: if a host refuses what the call needs.
#[derive(Debug, Default)]
pub struct Effects {
    /// What became of windows and devices, in the order in which it is to be delivered: tables that changed, windows
    /// that are gone, windows that are new, bypass. Empty after a hypercall that writes entries.
    pub events: Vec<Event>,
    /// The table that a hypercall was to write: `change` is about it.
    pub written: Option<SharedTable>,
    /// What the write changed; empty if it changed nothing that anybody must be told of.
    pub change: Change,
    /// Slots that began or ceased to count as the default window's, by LIOBN, and whether they did so before.
    pub(super) defaults: Vec<(u32, bool)>,
    /// The list that the newest H_PUT_TCE_INDIRECT read, for its memory alone.
    pub(super) list: Vec<u64>,
    quiet: bool,
}

impl Effects {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// For a machine that nobody listens to yet: what tables map is not told.
    pub(super) fn quiet() -> Self {
        Self { quiet: true, ..Self::default() }
    }

    /// For what becomes of one table.
    pub(super) fn new_change(&self) -> Change {
        if self.quiet { Change::quiet() } else { Change::new() }
    }

    /// Whether nobody needs to be told of anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty() && self.change.is_empty()
    }

    /// Forgets everything.
    #[inline(never)]
    pub fn clear(&mut self) {
        self.written = None;
        self.change.clear();
        self.clear_others();
    }

    /// Forgets what became of windows and devices, for a call that will say itself what it wrote.
    #[inline]
    pub(super) fn clear_others(&mut self) {
        if !self.events.is_empty() || !self.defaults.is_empty() {
            self.forget_others();
        }
    }

    #[cold]
    #[inline(never)]
    fn forget_others(&mut self) {
        self.events.clear();
        self.defaults.clear();
    }

    /// Says which table a call writes to. Nearly always it is the same as before.
    #[inline]
    pub(super) fn writes(&mut self, table: &SharedTable) {
        if !self.written.as_ref().is_some_and(|written| Rc::ptr_eq(written, table)) {
            self.write_another(table);
        }
    }

    #[cold]
    #[inline(never)]
    fn write_another(&mut self, table: &SharedTable) {
        self.written = Some(Rc::clone(table));
    }

    /// Brings events into the order in which they are to be delivered. A table that changed is told of while its window
    /// is where listeners know it, and what is gone makes room before anything new needs it.
    pub(super) fn arrange(&mut self) {
        let mut rest = core::mem::take(&mut self.events);
        for rank in 0..=3 {
            let (now, later): (Vec<_>, Vec<_>) = rest.into_iter().partition(|event| event.rank() == rank);
            self.events.extend(now);
            rest = later;
        }
    }
}

/// One thing that became of a window or a device.
#[derive(Clone, Debug)]
pub enum Event {
    /// A window appeared in the address space of its bridge. Where two overlap, the one of the higher LIOBN hides the
    /// other.
    WindowAdded {
        /// Its LIOBN, and so its bridge.
        liobn: u32,
        /// Its table: empty, or filled already if a restore brought it.
        table: SharedTable,
    },
    /// A window is gone, and all that it mapped.
    WindowRemoved {
        /// Its LIOBN, and so its bridge.
        liobn: u32,
        /// Its table as it was. No call finds it any more.
        table: SharedTable,
    },
    /// Entries of a table changed otherwise than by a hypercall: by a reset, by quiesce, by a restore; the window stays.
    Changed {
        /// Its LIOBN.
        liobn: u32,
        /// Its table.
        table: SharedTable,
        /// What of it anybody must be told; possibly nothing.
        change: Box<Change>,
    },
    /// A VIO device began or ceased to reach guest memory directly, past its table.
    Bypass {
        /// Its unit number.
        unit: u32,
        /// Whether accesses are direct now.
        on: bool,
    },
}

impl Event {
    /// Which of several events is delivered first: the one with the lower number.
    fn rank(&self) -> u32 {
        match self {
            Self::Changed { .. } => 0,
            Self::WindowRemoved { .. } => 1,
            Self::WindowAdded { .. } => 2,
            Self::Bypass { .. } => 3,
        }
    }
}
