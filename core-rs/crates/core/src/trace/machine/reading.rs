//! Reads on in a log, event by event, and draws from each what it says.

use super::{Due, LogMachine, Stop};
use crate::trace::format::Fields;
use crate::trace::kind::Kind;
use crate::trace::parser::{Found, Record};

impl LogMachine {
    /// Reads on in `input` from `at`, which it moves, up to the next reason to stop.
    ///
    /// On [`Stop::Input`] what is left from `at` on must stand before the next bytes in the next call; `last` says that
    /// none follow. On any other stop but [`Stop::End`], call again with the same input.
    pub fn run(&mut self, input: &[u8], at: &mut usize, last: bool) -> Stop {
        let limits = self.limits;
        let limited = limits.any();
        loop {
            if !self.due.is_none()
                && let Some(stop) = self.next_stop()
            {
                return stop;
            }
            let rest = input.get(*at..).unwrap_or_default();
            let Some(hot) = self.parser.next_hot(rest, limited) else {
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
