//! What a doctor can say when asked.

use super::finding::Finding;
use super::history::Happened;
use super::kernel_side::{KernelCounts, Offset};
use super::replay::HotplugFacts;
use super::{Doctor, Options};
use crate::trace::machine::LogMachine;
use crate::trace::parser::Parser;

/// What was counted that is no finding.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Counts {
    /// Operations that QEMU told its listeners of.
    pub told: u64,
    /// Maps whose targets the log does not tell.
    pub targets_unknown: u64,
    /// Maps that were refused since the same is mapped already.
    pub repeated: u64,
    /// The newest map: where it ended in bus and guest, its permission, the line of its cause.
    pub(super) previous: Option<(u64, u64, Option<u8>, u64)>,
}

/// Lines, events and unparsed lines of a log that is not QEMU's.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct LogFacts {
    /// Lines.
    pub lines: u64,
    /// Lines that tell something.
    pub events: u64,
    /// Lines that begin as such and do not parse.
    pub unparsed: u64,
}

impl Doctor {
    /// The findings, in the order in which they were found.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        self.findings.list()
    }

    /// What was counted.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// QEMU's log as it was read.
    #[must_use]
    pub fn parser(&self) -> &Parser {
        &self.parser
    }

    /// The guest's tables as they are now.
    #[must_use]
    pub fn machine(&self) -> &LogMachine {
        &self.machine
    }

    /// The hotplugs.
    #[must_use]
    pub fn hotplugs(&self) -> &[HotplugFacts] {
        &self.hotplugs
    }

    /// What was asked.
    #[must_use]
    pub fn options(&self) -> Options {
        self.options
    }

    /// Mappings that the host holds now, and the most that it held.
    #[must_use]
    pub fn host_maps(&self) -> (u64, u64) {
        (self.host.len() as u64, self.host.peak() as u64)
    }

    /// Times of the first and the last line that mattered, in microseconds.
    #[must_use]
    pub fn times(&self) -> Option<(u64, u64)> {
        let (first, newest) = self.stamps?;
        first.time().zip(newest.time())
    }

    /// The kernel's log as it was read.
    #[must_use]
    pub fn kernel_log(&self) -> LogFacts {
        let parser = self.kernel.parser();
        LogFacts { lines: parser.lines(), events: parser.events(), unparsed: parser.unparsed() }
    }

    /// What became of the kernel's events.
    #[must_use]
    pub fn kernel_counts(&self) -> KernelCounts {
        self.kernel.counts
    }

    /// How the clocks of QEMU and the kernel differ, if both logs have times and any event matched.
    #[must_use]
    pub fn offset(&self) -> Option<Offset> {
        self.kernel.offset
    }

    /// Whether anything of the kernel's log belongs to this QEMU.
    #[must_use]
    pub fn is_kernel_matched(&self) -> bool {
        self.kernel.is_matched()
    }

    /// Whether it is known which of QEMU's operations the kernel's log begins with: otherwise that something is not there proves
    /// nothing.
    #[must_use]
    pub fn is_kernel_anchored(&self) -> bool {
        self.kernel.is_anchored()
    }

    /// QEMU's standard error as it was read.
    #[must_use]
    pub fn stderr_log(&self) -> LogFacts {
        let parser = self.stderr.parser();
        LogFacts { lines: parser.lines(), events: parser.failures(), unparsed: parser.unparsed() }
    }

    /// Failures on standard error that an operation explains, and how often QEMU gave up.
    #[must_use]
    pub fn stderr_matched(&self) -> (u64, u64) {
        (self.stderr.matched, self.stderr.fatal)
    }

    /// The name of a region by the number that findings and hotplugs have for it.
    #[must_use]
    pub fn region_name(&self, id: u64) -> Option<&str> {
        self.guest.name(id)
    }

    /// What happened at the address that was asked for: the first moments, and how many there were.
    #[must_use]
    pub fn history(&self) -> (&[Happened], u64) {
        self.history.list()
    }
}
