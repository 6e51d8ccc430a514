//! Finds out what went wrong between a guest's IOMMU, QEMU and the host's IOMMU, from the logs that they left.
//!
//! QEMU's log is read in order. Each thing that QEMU tells its listeners is an *operation*; whether the host did it shows in the
//! kernel's log where there is one, else on QEMU's standard error, else by the kernel's rules. Where an operation comes out
//! differently from what the guest asked for, a finding begins; it ends where that is no longer so.
//!
//! What many places call is marked `inline(never)`: the compiler would put it into all of them, which makes the WebAssembly module a
//! tenth larger and no line faster.

mod by_start;
pub mod finding;
mod guest;
mod history;
mod host;
mod input;
mod kernel_side;
mod lines;
mod operation;
mod replay;
mod report;
mod resolve;
mod stderr_side;
mod strays;
#[cfg(test)]
mod tests;
mod untold;
mod verdict;

use crate::trace::kind::Kind;
use crate::trace::machine::LogMachine;
use crate::trace::parser::{Found, Limits, Parser, Record, Stamp};
use by_start::ByStart;
use finding::Call;
use finding::Findings;
use guest::Guest;
use history::History;
use host::Host;
use kernel_side::KernelSide;
use operation::{Done, Open};
use replay::Replay;
use stderr_side::StderrSide;
use verdict::WindowMaps;

pub use history::{Happened, Moment};
pub use input::{Input, Need};
pub use kernel_side::{KernelCounts, Offset};
pub use replay::HotplugFacts;
pub use report::{Counts, LogFacts};

/// What a doctor is given and asked.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Options {
    /// There is a log of the kernel.
    pub kernel: bool,
    /// There is what QEMU printed.
    pub stderr: bool,
    /// An address whose history is wanted.
    pub iova: Option<u64>,
    /// Reading ends when the replay of this hotplug has, counted from 1; 0 for never.
    pub hotplug: u32,
}

/// A page that the guest has mapped and the host has not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Missing {
    last: u64,
    finding: usize,
}

/// Reads the logs of one QEMU and finds what is wrong.
///
/// Memory is bounded by what is mapped at a time and by the findings, not by the length of the logs; no log can make it panic.
#[derive(Debug)]
pub struct Doctor {
    options: Options,
    parser: Parser,
    limits: Limits,
    machine: LogMachine,
    guest: Guest,
    host: Host,
    kernel: KernelSide,
    stderr: StderrSide,
    missing: ByStart<Missing>,
    findings: Findings,
    open: Option<Open>,
    batch: Vec<Done>,
    /// The newest line of another IOMMU that told an entry.
    walked: Option<Call>,
    replay: Option<Replay>,
    hotplugs: Vec<HotplugFacts>,
    /// The host changes a mapping in place when it is told to map over one (sPAPR hosts).
    exchanges: bool,
    counts: Counts,
    history: History,
    /// The line that is being taken.
    line: u64,
    /// When it was logged, where that matters for each line.
    now: Option<u64>,
    /// The times of the first and the newest line that mattered.
    stamps: Option<(Stamp, Stamp)>,
    /// Mappings that were held when the host said that there were too many.
    limit: Option<u64>,
    /// How maps went, by windows.
    windows: Vec<WindowMaps>,
    /// The host's smallest page as a power of two, where a line tells it.
    host_page: Option<u8>,
    finished: bool,
}

impl Doctor {
    /// A doctor that has read nothing.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self {
            options,
            parser: Parser::with_intel_iommu(),
            limits: Limits::NONE,
            machine: LogMachine::new(&[]),
            guest: Guest::default(),
            host: Host::default(),
            kernel: KernelSide::new(options.kernel),
            stderr: StderrSide::new(options.stderr),
            missing: ByStart::default(),
            findings: Findings::default(),
            open: None,
            batch: Vec::new(),
            walked: None,
            replay: None,
            hotplugs: Vec::new(),
            exchanges: false,
            counts: Counts::default(),
            history: History::new(options.iova),
            line: 0,
            now: None,
            stamps: None,
            limit: None,
            windows: Vec::new(),
            host_page: None,
            finished: false,
        }
    }

    /// Where reading of QEMU's log stops before its end.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// One more geometry of a table that QEMU's log does not tell.
    pub fn give(&mut self, geometry: crate::tce_table::Geometry) {
        self.machine.give(geometry);
    }

    /// Reads on in the three logs until more bytes of one are needed: what is left of it must stand before them in the next
    /// call. A log that was not given is empty and at its end.
    pub fn run(&mut self, log: &mut Input<'_>, kernel: &mut Input<'_>, stderr: &mut Input<'_>) -> Need {
        while !self.finished {
            match self.parser.next(log.bytes, log.at, log.last, &self.limits) {
                Found::Event(record) => {
                    if !record.terminated && self.machine.is_cut(&record) {
                        self.parser.reject();
                        continue;
                    }
                    if self.open.is_some()
                        && (self.kernel.given || self.stderr.given)
                        && let Some(need) = self.read_ahead(record.time(), kernel, stderr)
                    {
                        self.parser.unread(&record, log.at);
                        return need;
                    }
                    self.take(&record);
                    if self.options.hotplug != 0 && self.hotplugs.len() as u64 >= u64::from(self.options.hotplug) {
                        return self.finish(kernel, stderr);
                    }
                }
                Found::Input if !log.last => return Need::Log,
                Found::Input | Found::Limit => return self.finish(kernel, stderr),
            }
        }
        Need::Nothing
    }

    /// Reads ahead in the other logs so that the open operation can be closed at a time.
    fn read_ahead(&mut self, time: Option<u64>, kernel: &mut Input<'_>, stderr: &mut Input<'_>) -> Option<Need> {
        let time = time.or(self.open.as_ref().and_then(|open| open.time));
        if self.kernel.given && !self.kernel.fill(kernel, time) {
            return Some(Need::Kernel);
        }
        if self.stderr.given && !self.stderr.is_filled() && !self.stderr.fill(stderr) {
            return Some(Need::Stderr);
        }
        None
    }

    /// Takes one event of QEMU's log.
    fn take(&mut self, record: &Record<'_>) {
        if let (Some(open), Kind::IommufdMap | Kind::IommufdUnmap | Kind::IommufdUnmapNonExist) =
            (self.open.as_mut(), record.kind)
            && open.answer(record)
        {
            return;
        }
        self.line = record.line;
        self.now = if self.kernel.given || self.stderr.given { record.time() } else { None };
        if self.open.is_some() {
            self.close(self.now);
        }
        match record.kind {
            Kind::Xlate => {
                self.translated(record);
            }
            Kind::MapNotify => self.told(record),
            Kind::Put | Kind::PciPut | Kind::Stuff | Kind::PciStuff | Kind::Indirect | Kind::PciIndirect => {
                self.called(record)
            }
            _ => self.take_rare(record),
        }
    }
}
