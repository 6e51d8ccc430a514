//! Rebuilds the tables of a guest from QEMU's log.

mod answer;
mod call;
mod hotplugs;
mod slots;
mod store;
#[cfg(test)]
mod tests;
mod window;

use super::findings::{Agreement, Disagreement, First, Problem, Trouble};
use super::format::Fields;
use super::hotplug::{Hotplug, Tracker};
use super::kind::Kind;
use super::parser::{Found, Limits, Parser, Record};
use super::rebuilt::RebuiltTable;
use crate::tce_table::{Change, Geometry};

use slots::{Place, Slot, Slots};
pub use store::Peak;

/// The most tables that one log may have.
const TABLES_MAX: usize = 1024;
/// Entries that are not zero, per table.
const ENTRY_LIMIT: u32 = 1 << 24;
/// Bytes of all tables.
const MEMORY_LIMIT: usize = 1 << 29;

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

/// What [`LogMachine::run`] is still to see to before the next line, a bit each: nearly every line leaves nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Due(u8);

impl Due {
    const TOPOLOGY: Self = Self(1);
    const CHANGE: Self = Self(2);
    const HOTPLUG: Self = Self(4);
    const UNPLUG: Self = Self(8);
    /// Too much is known of a table.
    const CROWDED: Self = Self(16);

    #[inline]
    fn is_none(self) -> bool {
        self == Self::default()
    }

    /// Whether there is a reason to stop.
    fn stops(self) -> bool {
        self.0 & !Self::CROWDED.0 != 0
    }

    #[inline]
    fn set(&mut self, due: Self, on: bool) {
        self.0 |= if on { due.0 } else { 0 };
    }

    /// Takes one out; returns whether it was there.
    fn take(&mut self, due: Self) -> bool {
        let had = self.0 & due.0 != 0;
        self.0 &= !due.0;
        had
    }
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

    /// Reads on in `input` from `at`, which it moves, up to the next reason to stop.
    ///
    /// On [`Stop::Input`] what is left from `at` on must stand before the next bytes in the next call; `last` says that
    /// none follow. On any other stop but [`Stop::End`], call again with the same input.
    pub fn run(&mut self, input: &[u8], at: &mut usize, last: bool) -> Stop {
        let limits = (self.limits != Limits::NONE).then_some(self.limits);
        loop {
            if !self.due.is_none()
                && let Some(stop) = self.next_stop()
            {
                return stop;
            }
            let rest = input.get(*at..).unwrap_or_default();
            let Some(hot) = self.parser.next_hot(rest, limits.as_ref()) else {
                match self.run_line(rest, at, last) {
                    Some(stop) => return stop,
                    None => continue,
                }
            };
            *at += hot.length;
            self.line = self.parser.lines();
            // What VFIO is told says nothing of the lines before it.
            if self.alert && hot.kind != Kind::MapNotify {
                let record = self.parser.hot_record(&hot, rest);
                if self.gate(&record) {
                    self.parser.unread(&record, at);
                    continue;
                }
            }
            self.timed |= hot.prefix != 0;
            self.apply_hot(hot.kind, hot.fields, hot.text);
        }
    }

    /// Reads one line that is none of those that fill a log.
    #[inline(never)]
    fn run_line(&mut self, rest: &[u8], at: &mut usize, last: bool) -> Option<Stop> {
        match self.parser.any_line(rest, at, last, &self.limits)? {
            Found::Event(record) => {
                self.line = record.line;
                if !record.terminated && self.is_cut(&record) {
                    self.parser.reject();
                } else if self.alert && self.gate(&record) {
                    self.parser.unread(&record, at);
                } else {
                    self.timed |= record.is_timed();
                    self.apply(&record);
                }
                None
            }
            Found::Limit => {
                self.settle();
                Some(self.next_stop().unwrap_or(Stop::Limit))
            }
            Found::Input if !last => Some(Stop::Input),
            Found::Input => {
                self.settle();
                self.finish();
                Some(self.next_stop().unwrap_or(Stop::End))
            }
        }
    }

    /// Takes one event that somebody else parsed, and stops nowhere.
    #[inline]
    pub(crate) fn take(&mut self, record: &Record<'_>) {
        self.line = record.line;
        if self.alert {
            self.gate(record);
        }
        self.timed |= record.is_timed();
        self.apply(record);
        if !self.due.is_none() {
            self.pass_stops();
        }
    }

    /// No more events follow those of [`Self::take`].
    pub(crate) fn finish_log(&mut self) {
        self.settle();
        self.finish();
        self.pass_stops();
    }

    #[cold]
    fn pass_stops(&mut self) {
        while self.next_stop().is_some() {}
    }

    /// Draws from an event what it says about the lines before it. Returns whether to stop before it.
    #[cold]
    fn gate(&mut self, record: &Record<'_>) -> bool {
        if is_neutral(record.kind) {
            return false;
        }
        let moves = record.kind == Kind::NewTable && self.moving == Some(liobn(record));
        if !moves {
            self.moving = None;
            if !self.is_awaited(record) {
                self.settle();
            }
        }
        let replays = matches!(record.kind, Kind::Xlate | Kind::PreSave | Kind::RegionAddIommu) || moves;
        if self.tracker.is_replaying() && !replays {
            self.end_replay(Some(record));
        } else if !replays || record.kind == Kind::RegionAddIommu {
            if record.kind == Kind::DdwRemove {
                self.tracker.window_removed(liobn(record));
            }
            if record.kind != Kind::RegionDelIommu && self.tracker.decide() {
                self.due.set(Due::UNPLUG, true);
            }
        }
        self.watch_out();
        self.due.stops()
    }

    /// Says anew whether the next event may mean more than it says.
    fn watch_out(&mut self) {
        self.alert = self.pending.is_some() || self.moving.is_some() || self.tracker.is_alert();
    }

    /// Ends what only the end of the log ends.
    #[cold]
    fn finish(&mut self) {
        if self.tracker.is_replaying() {
            self.end_replay(None);
        } else {
            let unplugged = self.tracker.decide();
            self.due.set(Due::UNPLUG, unplugged);
        }
    }

    #[inline]
    fn apply(&mut self, record: &Record<'_>) {
        if record.kind.fills_logs() {
            self.apply_hot(record.kind, record.fields, record.text);
        } else {
            self.apply_rare(record);
        }
    }

    /// Takes an event that fills logs. Its numbers come by value, so that they never need a place in memory.
    #[inline(always)]
    fn apply_hot(&mut self, kind: Kind, fields: Fields, text: &[u8]) {
        let [first, second, third, fourth, fifth, sixth, ..] = fields;
        match kind {
            Kind::Xlate => self.xlate(first, second, third, fourth, fifth),
            Kind::Put | Kind::PciPut => self.put(first, second, third, fourth),
            Kind::Stuff | Kind::PciStuff => self.stuff(first, second, third, fourth, fifth),
            Kind::Indirect | Kind::PciIndirect => self.indirect(first, second, fourth, fifth, sixth),
            Kind::MapNotify if self.alert => self.map_notify(text, first, second),
            _ => {}
        }
    }

    #[cold]
    fn apply_rare(&mut self, record: &Record<'_>) {
        match record.kind {
            Kind::Get | Kind::PciGet => self.get(&record.fields),
            Kind::NewTable => self.new_table(&record.fields),
            Kind::DdwCreate => self.ddw_create(&record.fields),
            Kind::DdwRemove => self.drop_table(liobn(record), None),
            Kind::DdwReset => self.ddw_reset(&record.fields),
            Kind::PreSave => self.pre_save(&record.fields),
            Kind::PostLoad => self.post_load(&record.fields),
            Kind::RegionAddIommu => self.region_add(record),
            Kind::RegionDelIommu => self.region_del(record),
            _ => {}
        }
        self.watch_out();
    }

    #[cold]
    fn trouble(&mut self, trouble: Trouble, liobn: u64, address: u64) {
        self.problems.push(Problem { trouble, line: self.line, liobn, address });
    }
}

/// The LIOBN of an event whose first field is one of 32 bits.
fn liobn(record: &Record<'_>) -> u32 {
    let [liobn, ..] = record.fields;
    u32::try_from(liobn).unwrap_or(u32::MAX)
}

/// Whether events of this kind say nothing about what came before them.
fn is_neutral(kind: Kind) -> bool {
    !matches!(
        kind,
        Kind::Put
            | Kind::PciPut
            | Kind::Get
            | Kind::PciGet
            | Kind::Indirect
            | Kind::PciIndirect
            | Kind::Stuff
            | Kind::PciStuff
            | Kind::Xlate
            | Kind::NewTable
            | Kind::PreSave
            | Kind::PostLoad
            | Kind::DdwQuery
            | Kind::DdwCreate
            | Kind::DdwRemove
            | Kind::DdwReset
            | Kind::RegionAddIommu
            | Kind::RegionDelIommu
            | Kind::DisconnectContainer
    )
}
