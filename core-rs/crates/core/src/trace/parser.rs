//! Cuts a log into lines and reads the events among them.

use super::format::{self, FIELDS};
use super::hot::{Habits, Hot};
use super::kind::Kind;
use super::prefix;
use super::scan::{decimal, find};

/// The longest line, without its end, that can be an event. Longer ones are passed over without being kept.
pub const LINE_MAX: usize = 8192;

/// One event of a log.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Record<'a> {
    /// What kind of event.
    pub kind: Kind,
    /// Its numbers in the order of its format; signed ones as two's complement.
    pub fields: [u64; FIELDS],
    /// Its text, for a kind that has one.
    pub text: &'a [u8],
    /// The number of its line, from 1.
    pub line: u64,
    /// Whether a line end follows. Without one the last number of the line may have been cut.
    pub terminated: bool,
    prefix: &'a [u8],
    length: usize,
}

/// The time of a line as it stands there: cheaper to keep than to read.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Stamp {
    bytes: [u8; 32],
    length: u8,
}

impl Stamp {
    /// The time, in microseconds.
    pub(crate) fn time(&self) -> Option<u64> {
        time(self.bytes.get(..usize::from(self.length))?)
    }
}

fn time(prefix: &[u8]) -> Option<u64> {
    let (_, rest) = decimal(prefix)?;
    let (seconds, rest) = decimal(rest.get(1..)?)?;
    let (fraction, _) = decimal(rest.get(1..)?)?;
    seconds.checked_mul(1_000_000)?.checked_add(fraction)
}

impl Record<'_> {
    /// When it was logged, in microseconds, where the line says so.
    #[must_use]
    pub fn time(&self) -> Option<u64> {
        time(self.prefix)
    }

    /// The same, to be read later.
    #[inline]
    pub(crate) fn stamp(&self) -> Stamp {
        let mut stamp = Stamp::default();
        if let Some(place) = stamp.bytes.get_mut(..self.prefix.len()) {
            place.copy_from_slice(self.prefix);
            stamp.length = u8::try_from(self.prefix.len()).unwrap_or(0);
        }
        stamp
    }

    /// Whether the line says when and by which thread it was logged.
    #[must_use]
    pub fn is_timed(&self) -> bool {
        !self.prefix.is_empty()
    }

    /// The thread that logged it, where the line says so.
    #[must_use]
    pub fn thread(&self) -> Option<u32> {
        let (thread, _) = decimal(self.prefix)?;
        i32::try_from(thread).ok().map(i32::cast_unsigned)
    }
}

/// Where reading stops before the end.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Limits {
    /// After this line.
    pub line: u64,
    /// Before the first line that ends beyond this many bytes.
    pub offset: u64,
    /// Before the first event later than this, in microseconds.
    pub time: u64,
}

impl Limits {
    /// Reading goes on to the end.
    pub const NONE: Self = Self { line: u64::MAX, offset: u64::MAX, time: u64::MAX };

    /// The limits if there are any.
    #[inline]
    pub(super) fn any(&self) -> Option<&Self> {
        (*self != Self::NONE).then_some(self)
    }
}

/// What [`Parser::next`] found.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Found<'a> {
    /// An event.
    Event(Record<'a>),
    /// A limit was reached.
    Limit,
    /// Everything is read but perhaps the beginning of a line: more bytes are needed.
    Input,
}

/// Reads the events of a log from bytes that come in pieces of any size, in constant memory.
///
/// ```
/// use giommu_core::trace::kind::Kind;
/// use giommu_core::trace::parser::{Found, Limits, Parser};
///
/// let log = b"a foreign line\n7@1.000002:spapr_iommu_ddw_remove liobn=0x80000001\n";
/// let (mut parser, mut at) = (Parser::default(), 0);
/// let Found::Event(event) = parser.next(log, &mut at, true, &Limits::NONE) else { panic!("one event") };
/// assert_eq!((event.kind, event.line, event.time()), (Kind::DdwRemove, 2, Some(1_000_002)));
/// assert_eq!(parser.next(log, &mut at, true, &Limits::NONE), Found::Input);
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Parser {
    lines: u64,
    /// Lines that were no events.
    others: u64,
    unparsed: u64,
    offset: u64,
    /// Inside a line that is too long, which was counted when that showed.
    passing: bool,
    intel_iommu: bool,
    habits: Habits,
}

impl Parser {
    /// A parser that also reads what intel-iommu logs, which is nothing to a guest with sPAPR tables.
    #[must_use]
    pub fn with_intel_iommu() -> Self {
        Self { intel_iommu: true, ..Self::default() }
    }

    /// Lines read.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// Lines that were events.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.lines - self.others
    }

    /// Lines that begin as events do and are none.
    #[must_use]
    pub fn unparsed(&self) -> u64 {
        self.unparsed
    }

    /// Bytes read.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Reads up to the next event from `input[*at..]` and moves `at` past it.
    ///
    /// On [`Found::Input`] what is left from `at` on, at most [`LINE_MAX`] bytes, must stand before the next bytes in
    /// the next call. `last` says that no bytes follow: then nothing is left.
    pub fn next<'a>(&mut self, input: &'a [u8], at: &mut usize, last: bool, limits: &Limits) -> Found<'a> {
        let limited = limits.any();
        loop {
            let rest = input.get(*at..).unwrap_or_default();
            if let Some(hot) = self.next_hot(rest, limited) {
                *at += hot.length;
                return Found::Event(self.hot_record(&hot, rest));
            }
            if let Some(found) = self.any_line(rest, at, last, limits) {
                return found;
            }
        }
    }

    /// Reads the line at the front if it is one of those that fill a log, and reaches none of the limits that there are.
    /// `None` says nothing: then [`Self::any_line`] reads on.
    #[inline(always)]
    pub(super) fn next_hot(&mut self, rest: &[u8], limits: Option<&Limits>) -> Option<Hot> {
        let window = rest.first_chunk()?;
        if self.passing {
            return None;
        }
        let hot = self.habits.read(window)?;
        if let Some(limits) = limits
            && self.reaches(limits, hot.length, rest.get(..hot.prefix).unwrap_or_default())
        {
            return None;
        }
        self.lines += 1;
        self.offset += hot.length as u64;
        Some(hot)
    }

    /// The event that [`Self::next_hot`] read.
    #[inline]
    pub(super) fn hot_record<'a>(&self, hot: &Hot, rest: &'a [u8]) -> Record<'a> {
        Record {
            kind: hot.kind,
            fields: hot.fields,
            text: hot.text,
            line: self.lines,
            terminated: true,
            prefix: rest.get(..hot.prefix).unwrap_or_default(),
            length: hot.length,
        }
    }

    /// Whether an event on the next line, of this length and with this prefix, is beyond a limit.
    #[inline(never)]
    fn reaches(&self, limits: &Limits, length: usize, prefix: &[u8]) -> bool {
        self.lines >= limits.line
            || self.offset.saturating_add(length as u64) > limits.offset
            || (limits.time != u64::MAX && time(prefix).is_some_and(|time| time > limits.time))
    }

    /// Reads one line, whatever it is, or what is there of a long one. `None` if it is no event.
    #[inline(never)]
    pub(super) fn any_line<'a>(
        &mut self,
        rest: &'a [u8],
        at: &mut usize,
        last: bool,
        limits: &Limits,
    ) -> Option<Found<'a>> {
        if rest.is_empty() {
            return Some(Found::Input);
        }
        if self.passing {
            let end = find(rest, b'\n');
            self.passing = end.is_none();
            self.advance(at, end.map_or(rest.len(), |end| end + 1));
            return None;
        }
        if self.lines >= limits.line {
            return Some(Found::Limit);
        }
        let prefix = prefix::length(rest);
        let stamp = rest.get(..prefix).unwrap_or_default();
        let (line, length, terminated) = match find(rest, b'\n') {
            Some(end) => (rest.get(..end).unwrap_or_default(), end + 1, true),
            None if last || rest.len() > LINE_MAX => (rest, rest.len(), false),
            None => return Some(Found::Input),
        };
        if self.offset.saturating_add(length as u64) > limits.offset {
            return Some(Found::Limit);
        }
        let long = line.len() > LINE_MAX;
        let line =
            if long { line.get(..LINE_MAX).unwrap_or_default() } else { line.strip_suffix(b"\r").unwrap_or(line) };
        let named = named(line.get(prefix..).unwrap_or_default())
            .filter(|(kind, _)| self.intel_iommu || !kind.is_intel_iommu());
        if let Some((kind, text)) = named {
            if !long && let Some((fields, text)) = format::fields(kind, text) {
                if self.reaches(limits, length, stamp) {
                    return Some(Found::Limit);
                }
                self.lines += 1;
                self.advance(at, length);
                let line = self.lines;
                return Some(Found::Event(Record { kind, fields, text, line, terminated, prefix: stamp, length }));
            }
            self.unparsed += 1;
        }
        self.lines += 1;
        self.others += 1;
        self.passing = long && !terminated;
        self.advance(at, length);
        None
    }

    /// Undoes the reading of the newest event.
    pub(crate) fn unread(&mut self, record: &Record<'_>, at: &mut usize) {
        *at = at.saturating_sub(record.length);
        self.offset = self.offset.saturating_sub(record.length as u64);
        self.lines = self.lines.saturating_sub(1);
    }

    /// Counts the newest event as one that does not parse after all.
    pub(crate) fn reject(&mut self) {
        self.others += 1;
        self.unparsed += 1;
    }

    #[inline]
    fn advance(&mut self, at: &mut usize, length: usize) {
        *at += length;
        self.offset += length as u64;
    }
}

/// The event whose name stands at the front of a line, and what follows the name and a space.
fn named(line: &[u8]) -> Option<(Kind, &[u8])> {
    // Saves looking for the name's end in lines that others write.
    if !matches!(line.first(), Some(b's' | b'v' | b'i')) {
        return None;
    }
    let end = line.iter().take(64).position(|byte| *byte == b' ');
    let name = end.map_or(line, |end| line.get(..end).unwrap_or_default());
    let rest = end.and_then(|end| line.get(end + 1..)).unwrap_or_default();
    Some((Kind::named(name)?, rest))
}

#[cfg(test)]
mod tests;
