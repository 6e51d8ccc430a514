//! What a call did that the layers above must deliver.

use crate::tce_table::{Change, SharedTable};

/// What a guest's call did besides answering: to be delivered, in order, before the guest goes on.
///
/// Every call clears it first, so that one can be used for all calls; it keeps its memory.
#[derive(Debug, Default)]
pub struct Effects {
    /// What became of windows and devices, oldest first. Empty after a hypercall that writes entries.
    pub events: Vec<Event>,
    /// The table that a hypercall was to write: `change` is about it, and its [`undo`](crate::tce_table::TceTable::undo)
    /// takes the call back if a host refuses it.
    pub written: Option<SharedTable>,
    /// What the write changed; empty if it changed nothing that anybody must be told of.
    pub change: Change,
}

impl Effects {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether nobody needs to be told of anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty() && self.change.is_empty()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.events.clear();
        self.written = None;
        self.change.clear();
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
        /// Its table, which is empty.
        table: SharedTable,
    },
    /// A window is gone, and all that it mapped.
    WindowRemoved {
        /// Its LIOBN, and so its bridge.
        liobn: u32,
        /// Its table as it was. No call finds it any more.
        table: SharedTable,
    },
    /// All entries of a table became 0, by a reset or by quiesce; the window stays.
    Cleared {
        /// Its LIOBN.
        liobn: u32,
        /// Its table.
        table: SharedTable,
        /// What was mapped; can be undone.
        change: Change,
    },
    /// A VIO device began or ceased to reach guest memory directly, past its table.
    Bypass {
        /// Its unit number.
        unit: u32,
        /// Whether accesses are direct now.
        on: bool,
    },
}
