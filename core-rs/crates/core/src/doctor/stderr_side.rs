//! Matches what QEMU printed about failures with the operations of its log.

use std::collections::VecDeque;

use super::input::Input;
use super::kernel_side::Asked;
use crate::trace::stderr::{Failure, StderrParser};

/// How many failures are read ahead.
const AHEAD: usize = 64;
/// After so many operations a failure without a time is taken for one of something that was not logged.
const PATIENCE: u64 = 1 << 16;
/// Microseconds by which the times of one clock may differ: it is read twice.
const SLACK: u64 = 2_000;

/// One failure, without the text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Refusal {
    pub(super) failure: Failure,
    pub(super) line: u64,
    pub(super) time: Option<u64>,
    pub(super) start: Option<u64>,
    pub(super) last: Option<u64>,
    pub(super) memory: Option<u64>,
    pub(super) errno: i32,
}

/// QEMU's standard error, and what of it is not explained yet.
#[derive(Debug, Default)]
pub(super) struct StderrSide {
    pub(super) given: bool,
    parser: StderrParser,
    queue: VecDeque<Refusal>,
    ended: bool,
    /// Operations since the first in the queue is the first.
    waited: u64,
    /// The error number of a call that a line without addresses told.
    errno: i32,
    /// Failures that an operation explains.
    pub(super) matched: u64,
    /// QEMU gave up.
    pub(super) fatal: u64,
    /// Failures that nothing explains, for whoever asks next.
    pub(super) stray: Vec<Refusal>,
}

impl StderrSide {
    pub(super) fn new(given: bool) -> Self {
        Self { given, ..Self::default() }
    }

    pub(super) fn parser(&self) -> &StderrParser {
        &self.parser
    }

    /// Reads ahead. Returns whether enough is there.
    pub(super) fn fill(&mut self, input: &mut Input<'_>) -> bool {
        while !self.ended && self.queue.len() < AHEAD {
            match self.parser.next(input.bytes, input.at, input.last) {
                Some(record) => match record.failure {
                    Failure::Fatal => self.fatal += 1,
                    // The same failure, told by who called the kernel; the line that follows has the addresses.
                    Failure::MapCall | Failure::UnmapCall => self.errno = record.errno,
                    failure => {
                        let errno = if record.errno == 0 { core::mem::take(&mut self.errno) } else { record.errno };
                        self.errno = 0;
                        self.queue.push_back(Refusal {
                            failure,
                            line: record.line,
                            time: record.time,
                            start: record.start,
                            last: record.last,
                            memory: record.memory,
                            errno,
                        });
                    }
                },
                None if input.last => self.ended = true,
                None => return false,
            }
        }
        true
    }

    /// Whether there is nothing more to read.
    pub(super) fn is_filled(&self) -> bool {
        self.ended || self.queue.len() >= AHEAD
    }

    /// Puts aside what was printed before an operation and nothing explained.
    fn advance(&mut self, asked: &Asked) {
        let Some(time) = asked.time else { return };
        let passed = |refusal: &Refusal| refusal.time.is_some_and(|at| at.saturating_add(SLACK) < time);
        // Lines without a time stand among those with one, in order.
        while let Some(newest) = self.queue.iter().position(passed) {
            self.stray.extend(self.queue.drain(..=newest));
            self.waited = 0;
        }
    }

    /// What QEMU printed about an operation. `exists`: something is mapped where it maps; without that, a refusal for that
    /// reason is another one's.
    pub(super) fn take(&mut self, map: bool, asked: &Asked, exists: bool) -> Option<Refusal> {
        if self.queue.is_empty() {
            return None;
        }
        self.advance(asked);
        let first = self.queue.front().copied()?;
        self.waited += 1;
        let timely = match (first.time, asked.until) {
            (Some(at), Some(until)) => at <= until.saturating_add(SLACK),
            _ => true,
        };
        let fits = match first.failure {
            Failure::Map => map && first.start == Some(asked.start) && first.last == Some(asked.last),
            Failure::Unmap => !map && first.start == Some(asked.start),
            // It says where the entry points to, not where it is: only the time tells.
            Failure::NotMemory => {
                map && first.time.zip(asked.time).is_some_and(|(at, time)| time <= at) && {
                    first.time.zip(asked.until).is_none_or(|(at, until)| at <= until)
                }
            }
            _ => false,
        };
        if fits && timely && (exists || first.errno != 17) {
            self.matched += 1;
            self.waited = 0;
            return self.queue.pop_front();
        }
        if self.waited > PATIENCE {
            self.stray.extend(self.queue.pop_front());
            self.waited = 0;
        }
        None
    }

    /// Whether all was read.
    pub(super) fn is_ended(&self) -> bool {
        self.ended
    }

    /// Everything that is left.
    pub(super) fn next_left(&mut self) -> Option<Refusal> {
        self.queue.pop_front()
    }
}
