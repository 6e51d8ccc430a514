//! Operations: what QEMU told its listeners, and what came of it on the host.

use super::Doctor;
use super::finding::Proof;
use super::history::Moment;
use super::host::{HostMap, Origin, Target};
use super::kernel_side::Asked;
use crate::trace::kind::Kind;
use crate::trace::parser::{Record, Stamp};
use crate::trace::stderr::Failure;

/// EEXIST: something is mapped there. Linux's type 1 driver and iommufd leave it as it is.
pub(super) const EXISTS: i32 = 17;
/// EINVAL: what type 1 answers to an unmap of a part of a mapping.
const INVALID: i32 = 22;
/// Stands for an entry that points to what is no memory, in place of an error number.
pub(super) const NOT_MEMORY: i32 = -2;
/// Stands for a change of which QEMU told nobody.
pub(super) const UNTOLD: i32 = -1;

/// An operation whose end the log has not shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Open {
    pub(super) map: bool,
    pub(super) start: u64,
    pub(super) last: u64,
    pub(super) line: u64,
    pub(super) time: Option<u64>,
    /// The same as it stands there, in a replay.
    pub(super) stamp: Stamp,
    pub(super) origin: Origin,
    /// What iommufd answered: 0 or an error number, negative; and whether it was asked for a read-only mapping.
    answer: Option<(i64, bool)>,
}

impl Open {
    pub(super) fn told(record: &Record<'_>, time: Option<u64>, map: bool, start: u64, last: u64) -> Self {
        Self { map, start, last, line: record.line, time, stamp: Stamp::default(), origin: Origin::Entry, answer: None }
    }

    pub(super) fn memory(record: &Record<'_>, time: Option<u64>, map: bool, start: u64, last: u64) -> Self {
        Self { origin: Origin::Memory, ..Self::told(record, time, map, start, last.max(start)) }
    }

    /// An operation that only iommufd logged.
    pub(super) fn iommufd(record: &Record<'_>, time: Option<u64>) -> Option<Self> {
        let [_, _, start, size, ..] = record.fields;
        let last = start.checked_add(size.checked_sub(1)?)?;
        let mut open = Self::told(record, time, record.kind == Kind::IommufdMap, start, last);
        open.answer(record);
        Some(open)
    }

    /// iommufd's answer to this operation. Returns whether it is.
    pub(super) fn answer(&mut self, record: &Record<'_>) -> bool {
        let [_, _, start, size, fifth, sixth, seventh, _] = record.fields;
        let last = size.checked_sub(1).and_then(|more| start.checked_add(more));
        if (record.kind == Kind::IommufdMap) != self.map || start != self.start || last != Some(self.last) {
            return false;
        }
        self.answer = Some(match record.kind {
            Kind::IommufdMap => (seventh.cast_signed(), sixth != 0),
            // Nothing was there: QEMU takes that for success.
            Kind::IommufdUnmapNonExist => (0, false),
            _ => (fifth.cast_signed(), false),
        });
        true
    }

    fn asked(&self, until: Option<u64>) -> Asked {
        Asked { start: self.start, last: self.last, time: self.time, until }
    }
}

/// How an operation came out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    /// The host holds the mapping.
    Held,
    /// Another container's mapping of the same.
    Copied,
    /// The host refused to map.
    Refused { errno: i32, proof: Proof },
    /// So many bytes were unmapped.
    Gone { bytes: u64 },
    /// The host still holds some of it.
    Left { errno: i32, proof: Proof },
}

/// An operation that is over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Done {
    pub(super) map: bool,
    pub(super) start: u64,
    pub(super) last: u64,
    pub(super) line: u64,
    pub(super) origin: Origin,
    pub(super) outcome: Outcome,
    /// What was mapped there when a map was refused: where it begins, where it goes, the line that mapped it.
    pub(super) old: Option<(u64, Option<Target>, u64)>,
    pub(super) memory: Option<u64>,
    pub(super) stderr: u64,
    pub(super) kernel: u64,
    pub(super) readonly: Option<bool>,
    pub(super) stamp: Stamp,
    /// Mappings that the host held then.
    pub(super) held: u64,
}

/// What the end of an operation is told by.
#[derive(Clone, Copy, Debug, Default)]
struct Evidence {
    stderr: u64,
    kernel: u64,
    memory: Option<u64>,
}

impl Doctor {
    /// The open operation is over at a time: finds out what came of it.
    pub(super) fn close(&mut self, until: Option<u64>) {
        let Some(open) = self.open.take() else { return };
        let asked = open.asked(until);
        if self.kernel.given {
            self.kernel.advance(open.time, open.map.then_some((open.start, open.last)));
            self.take_strays();
        }
        let (outcome, evidence) =
            if open.map { self.close_map(&open, &asked) } else { self.close_unmap(&open, &asked) };
        let old = if matches!(outcome, Outcome::Refused { .. }) {
            self.host.overlap(open.start, open.last).map(|(at, map)| (at, map.target, map.line))
        } else {
            None
        };
        self.history_closed(&open, outcome, &evidence);
        let done = Done {
            map: open.map,
            start: open.start,
            last: open.last,
            line: open.line,
            origin: open.origin,
            outcome,
            old,
            memory: evidence.memory,
            stderr: evidence.stderr,
            kernel: evidence.kernel,
            readonly: open.answer.filter(|_| open.map).map(|(_, readonly)| readonly),
            stamp: open.stamp,
            held: self.host.len() as u64,
        };
        self.batch.push(done);
        self.take_strays();
        if open.origin == Origin::Memory {
            self.resolve_all();
        } else if let Some(walked) = self.walked {
            // Other IOMMUs log the entry before QEMU tells of it.
            self.walked = None;
            let done = self.batch.pop();
            self.resolve_all();
            if let Some(done) = done {
                self.resolve(&done, Some(&walked));
            }
        }
    }

    fn close_map(&mut self, open: &Open, asked: &Asked) -> (Outcome, Evidence) {
        let seen = if self.kernel.given { self.kernel.take_map(asked) } else { None };
        // What the kernel did before it, unasked.
        self.take_strays();
        let exists = self.host.overlap(open.start, open.last).map(|(at, map)| (at, map.last, map.copies));
        let refusal = match seen {
            Some(_) => None,
            None => self.stderr.take(true, asked, exists.is_some()),
        };
        let mut evidence = Evidence::default();
        if let Some(seen) = seen {
            evidence.kernel = seen.line;
        }
        if let Some(refusal) = refusal {
            evidence.stderr = refusal.line;
            evidence.memory = refusal.memory;
            let errno = if refusal.failure == Failure::NotMemory { NOT_MEMORY } else { refusal.errno };
            let proof = if self.kernel.proves_absence() { Proof::Kernel } else { Proof::Stderr };
            return (Outcome::Refused { errno, proof }, evidence);
        }
        if let Some((answer, _)) = open.answer
            && answer < 0
        {
            let errno = i32::try_from(-answer).unwrap_or(0);
            return (Outcome::Refused { errno, proof: Proof::Log }, evidence);
        }
        let containers = if open.origin == Origin::Entry { self.guest.containers(open.start).max(1) } else { 1 };
        if let Some((at, last, copies)) = exists
            && at == open.start
            && last == open.last
            && copies < containers
        {
            if let Some(map) = self.host.get_mut(at) {
                map.copies += 1;
            }
            return (Outcome::Copied, evidence);
        }
        let sure = open.answer.is_some() || seen.is_some();
        if !sure && exists.is_some() && !self.exchanges {
            let proof = if self.kernel.given && self.kernel.proves_absence() { Proof::Kernel } else { Proof::Derived };
            return (Outcome::Refused { errno: EXISTS, proof }, evidence);
        }
        if !sure && self.kernel.given && self.kernel.proves_absence() {
            return (Outcome::Refused { errno: 0, proof: Proof::Kernel }, evidence);
        }
        if exists.is_some() {
            while let Some((at, _)) = self.host.overlap(open.start, open.last) {
                self.lose(at, open.line);
            }
        }
        let mut map = HostMap::new(open.last, open.origin, open.line);
        map.physical = seen.and_then(|seen| seen.physical);
        map.kernel = evidence.kernel;
        self.host.insert(open.start, map);
        (Outcome::Held, evidence)
    }

    fn close_unmap(&mut self, open: &Open, asked: &Asked) -> (Outcome, Evidence) {
        let mut evidence = Evidence::default();
        if !self.kernel.given && !self.stderr.given && open.answer.is_none() {
            // Mostly an entry is unmapped as it was mapped, and only the kernel's rules say what came of it.
            if let Some(bytes) = self.unmap_whole(open) {
                return (Outcome::Gone { bytes }, evidence);
            }
        }
        let (expected, across) = self.host.measure(open.start, open.last);
        let removed = if self.kernel.given { self.kernel.take_unmaps(asked, expected) } else { Vec::new() };
        self.take_strays();
        if let Some((_, _, line)) = removed.first() {
            evidence.kernel = *line;
        }
        let refusal = if removed.is_empty() { self.stderr.take(false, asked, true) } else { None };
        if let Some(refusal) = refusal {
            evidence.stderr = refusal.line;
        }
        let answered = open.answer.map(|(answer, _)| answer).filter(|answer| *answer < 0);
        let absent = self.kernel.given && self.kernel.proves_absence();
        let refused = match (refusal, answered) {
            (Some(refusal), _) => Some((refusal.errno, Proof::Stderr)),
            (None, Some(answer)) => Some((i32::try_from(-answer).unwrap_or(0), Proof::Log)),
            // Linux, drivers/vfio/vfio_iommu_type1.c: a range that would part a mapping is refused whole.
            (None, None) if across && !self.exchanges && !absent && removed.is_empty() => {
                Some((INVALID, Proof::Derived))
            }
            _ => None,
        };
        let mut left = false;
        let mut bytes = 0u64;
        for (at, map) in self.host.held(open.start, open.last) {
            let seen = removed.iter().any(|(start, last, _)| *start <= at && map.last <= *last);
            let gone = seen || (!absent && refused.is_none() && at >= open.start && map.last <= open.last);
            if !gone {
                left = true;
                continue;
            }
            bytes = bytes.saturating_add((map.last - at).saturating_add(1));
            if map.copies > 1 {
                if let Some(map) = self.host.get_mut(at) {
                    map.copies -= 1;
                }
            } else {
                self.lose(at, open.line);
            }
        }
        if left {
            let (errno, proof) = refused.unwrap_or((0, if absent { Proof::Kernel } else { Proof::Derived }));
            return (Outcome::Left { errno, proof }, evidence);
        }
        let seen =
            removed.iter().fold(0u64, |sum, (start, last, _)| sum.saturating_add((last - start).saturating_add(1)));
        (Outcome::Gone { bytes: bytes.max(seen) }, evidence)
    }

    /// Unmaps exactly one mapping of one container; `None` if that is not what is asked for.
    fn unmap_whole(&mut self, open: &Open) -> Option<u64> {
        let map = self.host.remove_whole(open.start, open.last)?;
        if let Some(finding) = map.finding {
            self.findings.end(finding, open.line);
        }
        Some((open.last - open.start).saturating_add(1))
    }

    /// A mapping is gone, and with it what was wrong about it.
    #[inline(never)]
    pub(super) fn lose(&mut self, start: u64, line: u64) {
        if let Some(map) = self.host.remove(start)
            && let Some(finding) = map.finding
        {
            self.findings.end(finding, line);
        }
    }

    fn history_closed(&mut self, open: &Open, outcome: Outcome, evidence: &Evidence) {
        if !self.history.is_at(open.start, open.last) {
            return;
        }
        self.history.log(open.line, Moment::Told { map: open.map }, open.start, open.last);
        let (moment, value, more) = match outcome {
            Outcome::Held | Outcome::Copied => {
                (Moment::HostMapped, self.host.get(open.start).and_then(|map| map.physical).unwrap_or(u64::MAX), 0)
            }
            Outcome::Refused { errno, proof } => (Moment::HostRefused, i64::from(errno).cast_unsigned(), proof as u64),
            Outcome::Gone { bytes: 0 } => (Moment::NothingToUnmap, 0, 0),
            Outcome::Gone { bytes } => (Moment::HostUnmapped, bytes, 0),
            Outcome::Left { errno, proof } => (Moment::HostKept, i64::from(errno).cast_unsigned(), proof as u64),
        };
        self.history.on_host(open.line, moment, value, more, evidence.kernel, evidence.stderr);
    }
}
