//! Rebuilds the tables of a guest from QEMU's log.

mod answer;
mod call;
mod due;
mod hotplugs;
mod reading;
mod slots;
mod store;
#[cfg(test)]
mod tests;
mod window;

use super::findings::{Agreement, Disagreement, First, Problem, Trouble};
use super::hotplug::{Hotplug, Tracker};
use super::parser::{Limits, Parser};
use super::rebuilt::RebuiltTable;
use crate::tce_table::{Change, Geometry};

use due::Due;
use slots::{Place, Slot, Slots};
pub use store::Peak;

/// The most tables that one log may have.
const TABLES_MAX: usize = 1024;
/// Entries that are not zero, per table.
const ENTRY_LIMIT: u32 = 1 << 24;
/// Bytes of all tables.
const MEMORY_LIMIT: usize = 1 << 29;
/// Bytes of what is known of them, before some of it is given up; it may have grown to twice as many by then. A guest that
/// stores lists of 512 entries all over a window of 2 TiB of 64 KiB pages needs half of it.
const KNOWLEDGE_LIMIT: usize = 1 << 25;

/// Why [`LogMachine::run`] returned.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Stop {
    /// More bytes are needed.
    Input,
    /// The log is at its end.
    End,
    /// One of the limits was reached.
    Limit,
    /// QEMU has replayed to the container of a hotplug, and the next line is the first live one (or there is none).
    Hotplug,
    /// The container of the hotplug went. The next line is the one that shows it; nothing changed since it went.
    Unplug,
    /// A watched table changed: see [`LogMachine::change`].
    Change,
    /// Tables of a watched owner came, went or were replaced.
    Topology,
}

/// A `new_table` line whose meaning the next lines show.
#[derive(Clone, Copy, Debug)]
struct Pending {
    liobn: u32,
    unlogged: bool,
    /// The range that VFIO was given of it meanwhile.
    region: Option<(u64, u64)>,
    line: u64,
}

/// Rebuilds the tables of a guest from QEMU's log, line by line, and says what the log leaves unknown.
///
/// Bytes come in pieces of any size; memory does not grow with the length of the log, and no log can make it panic.
///
/// ```
/// use giommu_core::trace::machine::{LogMachine, Stop};
///
/// let log = b"\
/// spapr_iommu_new_table liobn=0x80000000 table=0x7f0000000010 fd=-1
/// spapr_iommu_pci_put liobn=0x80000000 ioba=0x5000 tce=0x100003 ret=0
/// spapr_iommu_xlate liobn=0x80000000 0x5000 -> 0x100000 perm=3 mask=0xfff
/// ";
/// let mut machine = LogMachine::default();
/// let mut rest = Vec::new();
/// for piece in log.chunks(50) {
///     rest.extend_from_slice(piece);
///     let mut at = 0;
///     while machine.run(&rest, &mut at, false) != Stop::Input {}
///     rest.drain(..at); // the beginning of a line stays
/// }
/// while machine.run(&rest, &mut 0, true) != Stop::End {}
///
/// let rebuilt = machine.table(0x8000_0000).expect("the log has it");
/// assert_eq!((rebuilt.table().mapped(), rebuilt.unknown()), (1, 0));
/// assert_eq!((machine.translations().agreed, machine.translations().disagreed), (1, 0));
/// ```
#[derive(Debug)]
pub struct LogMachine {
    parser: Parser,
    limits: Limits,
    given: Vec<Geometry>,
    slots: Slots,
    peaks: Vec<Peak>,
    serial: u32,
    tracker: Tracker,
    pending: Option<Pending>,
    /// The table whose region VFIO got with the newest line: a `new_table` line now says that it moved.
    moving: Option<u32>,
    translations: Agreement,
    reads: Agreement,
    disagreements: First<Disagreement>,
    problems: First<Problem>,
    watched: Vec<u32>,
    watches_all: bool,
    change: Change,
    due: Due,
    changed_liobn: u32,
    crowded_liobn: u32,
    /// Whether the next event may mean more than it says.
    alert: bool,
    /// Entries stored since memory was counted.
    stored: u32,
    full: bool,
    zeros: Vec<u64>,
    /// The line that is being taken.
    line: u64,
    timed: bool,
}

impl Default for LogMachine {
    fn default() -> Self {
        Self::new(&[])
    }
}

impl LogMachine {
    /// A machine that has read nothing. `given` are geometries that the caller knows, for tables whose geometry the
    /// log does not tell; where it does, the log counts.
    #[must_use]
    pub fn new(given: &[Geometry]) -> Self {
        Self {
            parser: Parser::default(),
            limits: Limits::NONE,
            given: given.to_vec(),
            slots: Slots::default(),
            peaks: Vec::new(),
            serial: 0,
            tracker: Tracker::new(),
            pending: None,
            moving: None,
            translations: Agreement::default(),
            reads: Agreement::default(),
            disagreements: First::default(),
            problems: First::default(),
            watched: Vec::new(),
            watches_all: false,
            change: Change::quiet(),
            due: Due::default(),
            changed_liobn: 0,
            crowded_liobn: 0,
            alert: false,
            stored: 0,
            full: false,
            zeros: Vec::new(),
            line: 0,
            timed: false,
        }
    }

    /// One more geometry that the caller knows; see [`Self::new`].
    pub fn give(&mut self, geometry: Geometry) {
        self.given.push(geometry);
    }

    /// Where reading stops before the end. A limit that was passed already stops at once.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Lines, events and lines that do not parse, so far.
    #[must_use]
    pub fn parser(&self) -> &Parser {
        &self.parser
    }

    /// Whether any event so far had a timestamp.
    #[must_use]
    pub fn is_timed(&self) -> bool {
        self.timed
    }

    /// How often QEMU's translations and the rebuilt tables agreed.
    #[must_use]
    pub fn translations(&self) -> Agreement {
        self.translations
    }

    /// How often what guests read and the rebuilt tables agreed.
    #[must_use]
    pub fn reads(&self) -> Agreement {
        self.reads
    }

    /// The first lines that contradict the rebuilt tables.
    #[must_use]
    pub fn disagreements(&self) -> &First<Disagreement> {
        &self.disagreements
    }

    /// The first lines that could not be taken as they stand.
    #[must_use]
    pub fn problems(&self) -> &First<Problem> {
        &self.problems
    }

    /// The hotplugs so far.
    #[must_use]
    pub fn hotplugs(&self) -> &[Hotplug] {
        self.tracker.hotplugs()
    }

    /// The peaks of the PCI host bridges, in the order of their LIOBNs.
    pub fn peaks(&self) -> impl Iterator<Item = Peak> {
        self.peaks.iter().copied()
    }

    /// The tables that exist, in the order of their LIOBNs.
    pub fn tables(&self) -> impl Iterator<Item = &RebuiltTable> {
        self.slots.iter().filter_map(|slot| slot.table())
    }

    /// The table of a LIOBN, if there is one.
    #[must_use]
    #[inline(never)]
    pub fn table(&self, liobn: u32) -> Option<&RebuiltTable> {
        self.slots.get(liobn)?.table()
    }

    /// Whether the log shows that the window of a LIOBN was removed.
    #[must_use]
    pub fn is_gone(&self, liobn: u32) -> bool {
        matches!(self.slots.get(liobn), Some(Slot { place: Place::Gone { guessed: None }, .. }))
    }

    fn table_mut(&mut self, liobn: u32) -> Option<&mut RebuiltTable> {
        self.slots.get_mut(liobn)?.table_mut()
    }

    #[cold]
    #[inline(never)]
    fn trouble(&mut self, trouble: Trouble, liobn: u64, address: u64) {
        self.problems.push(Problem { trouble, line: self.line, liobn, address });
    }
}
