//! Matches the kernel's events with what QEMU did, by order, address, thread and, where both logs have it, time.

mod matching;

use std::collections::VecDeque;

use super::input::Input;
use crate::trace::kernel::{HostEvent, KernelParser, KernelRecord};

/// How far ahead an event is looked for behind others that nothing explains.
const AHEAD: usize = 64;
/// The same while none was matched, and so many operations were tried: what happened before QEMU's log began may fill the
/// kernel's beginning. Not at once: an event that is lacking must not be taken for a much later one of the same address.
const BOOT: usize = 1 << 16;
const TRIES: u32 = 16;
/// How many events are read ahead where the time does not say how many are needed.
const UNTIMED: usize = 1024;
/// The most events that are held.
const HELD: usize = 1 << 20;
/// Microseconds after which an event that nothing explained is taken for one that nothing explains.
const SLACK: i64 = 100_000;
/// Microseconds by which an event may seem to come after what follows its cause. The offset is never overestimated, but for
/// drift: a tracer's own clock and the wall clock part by 50 millionths or so, of which four times as much is allowed.
const LATE: i64 = 500;
const DRIFT: i64 = 5_000;
/// Microseconds by which a match may say more of the clocks' offset than all before it, once there were some. The quickest
/// answers are all as quick, give or take a tenth of this: in the recordings at hand no match after the third said more by as
/// much as 130. What says more belongs to another time.
const JUMP: i64 = 1_000;
const SETTLED: u64 = 16;
/// How many events may come too late for what they fit, before the logs are taken for ones of different times.
const JUMPS: u32 = 3;
/// How many threads are remembered.
const THREADS: usize = 256;

/// One event, without the text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Event {
    pub(super) event: HostEvent,
    pub(super) line: u64,
    pub(super) time: Option<u64>,
    thread: Option<u32>,
    /// Its thread's name is one of QEMU's.
    named: bool,
    pub(super) start: u64,
    pub(super) last: u64,
    pub(super) value: u64,
}

impl From<&KernelRecord<'_>> for Event {
    fn from(record: &KernelRecord<'_>) -> Self {
        let named = [&b"qemu"[..], b"kvm", b"CPU ", b"<...>"].iter().any(|name| record.task.starts_with(name));
        Self {
            event: record.event,
            line: record.line,
            time: record.time,
            thread: record.thread,
            named,
            start: record.start,
            last: record.last,
            value: record.value,
        }
    }
}

/// How many events of each fate.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct KernelCounts {
    /// Maps that an operation of QEMU explains.
    pub maps: u64,
    /// Unmaps that one explains.
    pub unmaps: u64,
    /// Events of the driver's own test of a new container.
    pub tests: u64,
    /// Events after QEMU's log ended: what was held is unmapped.
    pub exit: u64,
    /// Events before the first operation that the log shows.
    pub prior: u64,
    /// Faults of devices.
    pub faults: u64,
    /// Events of other processes.
    pub foreign: u64,
    /// What nothing explains.
    pub unexplained: u64,
    /// Events that the tracer lost.
    pub lost: u64,
}

/// How the clocks of two logs differ.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Offset {
    /// What the kernel's time lacks to QEMU's, in microseconds, at the first match.
    pub first: i64,
    /// The same at the newest.
    pub newest: i64,
    /// Matches that it was estimated from.
    pub matches: u64,
}

/// What the kernel did for a map.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Seen {
    /// Where it went, if that is one stretch.
    pub(super) physical: Option<u64>,
    pub(super) line: u64,
}

/// An operation as the kernel's events are compared with it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) start: u64,
    pub(super) last: u64,
    pub(super) time: Option<u64>,
    /// When QEMU logged the next thing.
    pub(super) until: Option<u64>,
}

/// The kernel's log, and what of it is not explained yet.
#[derive(Debug, Default)]
pub(super) struct KernelSide {
    pub(super) given: bool,
    parser: KernelParser,
    queue: VecDeque<Event>,
    ended: bool,
    /// Threads of QEMU, by its own log and by events that matched.
    threads: Vec<u32>,
    matched: Vec<u32>,
    /// Whether QEMU and the kernel number threads alike; known from the first match on.
    alike: Option<bool>,
    pub(super) offset: Option<Offset>,
    /// Maps that were looked for.
    tries: u32,
    /// The kernel's time of the newest match.
    matched_at: Option<u64>,
    /// Matches that contradicted the offset.
    jumps: u32,
    /// A container was just made that the log has nothing of.
    fresh: bool,
    /// QEMU's log began in the middle: it shows operations before any container.
    late: bool,
    begun: bool,
    /// The newest operation has an event that fits but for the time: perhaps the clocks are not as they are thought to be.
    doubt: bool,
    /// Something of the log belongs to this QEMU.
    matches: bool,
    /// It is known which: a container was followed from its beginning in both logs. Only then does it prove anything that
    /// something is not there.
    anchored: bool,
    pub(super) counts: KernelCounts,
    /// Events that nothing explains, for whoever asks next.
    pub(super) stray: Vec<Event>,
    /// Events of before QEMU's log began, the same.
    pub(super) prior: Vec<Event>,
}

impl KernelSide {
    pub(super) fn new(given: bool) -> Self {
        Self { given, ..Self::default() }
    }

    pub(super) fn parser(&self) -> &KernelParser {
        &self.parser
    }

    /// A thread of QEMU.
    pub(super) fn thread(&mut self, thread: Option<u32>) {
        if let Some(thread) = thread
            && self.threads.last() != Some(&thread)
            && !self.threads.contains(&thread)
            && self.threads.len() < THREADS
        {
            self.threads.push(thread);
        }
    }

    /// Reads ahead until everything that can matter before a time of QEMU's log is there. Returns whether it is.
    pub(super) fn fill(&mut self, input: &mut Input<'_>, time: Option<u64>) -> bool {
        while !self.ended && !self.is_filled(time) {
            match self.parser.next(input.bytes, input.at, input.last) {
                Some(record) => {
                    let event = Event::from(&record);
                    let mapping = matches!(event.event, HostEvent::Map | HostEvent::Unmap);
                    if mapping && event.thread.is_some_and(|thread| self.threads.contains(&thread)) {
                        // Then whoever has another number is another process, whatever its name.
                        self.alike = Some(true);
                    }
                    self.queue.push_back(event);
                }
                None if input.last => self.ended = true,
                None => return false,
            }
        }
        true
    }

    fn is_filled(&self, time: Option<u64>) -> bool {
        let Some(newest) = self.queue.back() else { return false };
        if self.queue.len() >= HELD {
            return true;
        }
        match (self.offset, newest.time, time) {
            (None, ..) => self.queue.len() >= BOOT,
            (Some(offset), Some(newest), Some(time)) => self.queue.len() >= AHEAD && late(newest, offset, time) > SLACK,
            _ => self.queue.len() >= UNTIMED,
        }
    }

    /// Whether an event may be QEMU's.
    fn is_ours(&self, event: &Event) -> bool {
        let known = event.thread.is_some_and(|thread| self.threads.contains(&thread) || self.matched.contains(&thread));
        known
            || (event.named && self.alike != Some(true))
            || event.event != HostEvent::Map && event.event != HostEvent::Unmap
    }

    /// Whether it can be proved from the kernel's log that something did not happen.
    pub(super) fn proves_absence(&self) -> bool {
        self.is_anchored() && !self.doubt && self.counts.lost == 0 && !(self.ended && self.queue.is_empty())
    }

    /// Whether it is known which of QEMU's operations the log begins with.
    pub(super) fn is_anchored(&self) -> bool {
        self.anchored && self.jumps <= JUMPS
    }

    /// A container is made: what comes next in both logs is its.
    ///
    /// `known`: QEMU's log shows what came before that.
    pub(super) fn attach(&mut self, known: bool) {
        self.late |= !known;
        self.fresh = !self.anchored && !self.late;
        self.begun = true;
        self.tries = 0;
    }

    /// Whether an event came before what followed its cause.
    #[inline(never)]
    fn is_due(&self, event: &Event, asked: &Asked) -> bool {
        match (self.offset, event.time, asked.until) {
            (Some(offset), Some(time), Some(until)) if self.is_anchored() => {
                let idle = self.matched_at.map_or(0, |at| time.saturating_sub(at));
                late(time, offset, until) <= LATE + signed(idle).unwrap_or(0) / DRIFT
            }
            _ => true,
        }
    }

    /// Puts aside what happened before a time of QEMU's log and nothing explained, and what a new container's test left.
    pub(super) fn advance(&mut self, time: Option<u64>, next: Option<(u64, u64)>) {
        while let Some(event) = self.queue.front().copied() {
            let early = match (self.offset, event.time, time) {
                (Some(offset), Some(at), Some(time)) => late(at, offset, time) < -SLACK,
                _ => false,
            };
            match event.event {
                HostEvent::Lost => self.counts.lost += event.value.max(1),
                HostEvent::Fault if early || self.offset.is_none() => self.fault(event),
                HostEvent::Fault => return,
                _ if !self.is_ours(&event) => {
                    // Its thread may turn out to be QEMU's as long as QEMU's log has not come that far.
                    if !early {
                        break;
                    }
                    self.counts.foreign += 1;
                }
                _ if self.take_test(next) => continue,
                _ if early => self.stray(event),
                _ => return,
            }
            self.queue.pop_front();
        }
        self.take_test(next);
    }

    fn fault(&mut self, event: Event) {
        self.counts.faults += 1;
        self.stray.push(event);
    }

    #[inline(never)]
    fn stray(&mut self, event: Event) {
        // Before the log is known to be this QEMU's, what it says is nothing to wonder about.
        if self.is_anchored() {
            self.counts.unexplained += 1;
            self.stray.push(event);
        } else {
            self.counts.prior += 1;
            self.prior.push(event);
        }
    }

    /// Takes the test that the driver makes of a new container's page table: two pages mapped, then unmapped again (Linux,
    /// drivers/vfio/vfio_iommu_type1.c). `next` is what QEMU maps next.
    fn take_test(&mut self, next: Option<(u64, u64)>) -> bool {
        let Some(at) = self.queue.iter().take(AHEAD).position(|event| self.is_ours(event)) else { return false };
        let Some(first) = self.queue.get(at).copied() else { return false };
        if first.event != HostEvent::Map || first.last - first.start != 0x1fff {
            return false;
        }
        let mut test = vec![at];
        let mut unmapped = 0;
        let mut after = None;
        for (at, event) in self.queue.iter().enumerate().skip(at + 1).take(AHEAD) {
            if event.thread != first.thread || event.event == HostEvent::Fault {
                continue;
            }
            if unmapped >= 0x2000 {
                after = Some(*event);
                break;
            }
            if event.event != HostEvent::Unmap || event.start != first.start + unmapped {
                return false;
            }
            unmapped += (event.last - event.start + 1).max(event.value);
            test.push(at);
        }
        if unmapped < 0x2000 {
            return false;
        }
        if next == Some((first.start, first.last))
            && !after.is_some_and(|event| event.event == HostEvent::Map && event.start == first.start)
        {
            return false;
        }
        for at in test.iter().rev() {
            self.queue.remove(*at);
        }
        self.counts.tests += test.len() as u64;
        self.belong(&first);
        self.anchored |= self.fresh;
        true
    }

    /// An event is this QEMU's.
    #[inline(never)]
    fn belong(&mut self, event: &Event) {
        self.matches = true;
        let Some(thread) = event.thread else { return };
        self.alike.get_or_insert(self.threads.contains(&thread));
        if !self.matched.contains(&thread) && self.matched.len() < THREADS {
            self.matched.push(thread);
        }
    }

    /// Takes the next event at the log's end: what was mapped is unmapped when QEMU ends. `held` says whether a range is.
    pub(super) fn next_left(&mut self) -> Option<Event> {
        while let Some(event) = self.queue.pop_front() {
            match event.event {
                HostEvent::Lost => self.counts.lost += event.value.max(1),
                HostEvent::Fault => {
                    self.counts.faults += 1;
                    return Some(event);
                }
                _ => return Some(event),
            }
        }
        None
    }

    /// Whether all of the log was read.
    pub(super) fn is_ended(&self) -> bool {
        self.ended
    }

    /// Whether an event came so long before a time that whatever explains it would have been logged.
    pub(super) fn is_before(&self, event: &Event, time: Option<u64>) -> bool {
        match (self.offset, event.time, time) {
            (Some(offset), Some(at), Some(time)) if self.is_anchored() => late(at, offset, time) < -SLACK,
            _ => false,
        }
    }

    /// Whether an event that is left at the end is of this QEMU.
    pub(super) fn belongs(&self, event: &Event) -> bool {
        self.matches && self.is_ours(event)
    }

    /// Whether it may be, by its thread's name.
    pub(super) fn may_belong(&self, event: &Event) -> bool {
        self.matches && event.named
    }

    /// Whether any of it was this QEMU's.
    pub(super) fn is_matched(&self) -> bool {
        self.matches
    }
}

fn signed(time: u64) -> Option<i64> {
    i64::try_from(time).ok()
}

/// By how much an event of the kernel came after a time of QEMU's log.
fn late(event: u64, offset: Offset, time: u64) -> i64 {
    let (Some(event), Some(time)) = (signed(event), signed(time)) else { return 0 };
    event.saturating_add(offset.newest).saturating_sub(time)
}

impl KernelSide {
    /// Reads on at the log's end, some events at a time. Returns whether no bytes are lacking.
    pub(super) fn fill_one(&mut self, input: &mut Input<'_>) -> bool {
        let before = self.queue.len();
        while !self.ended && self.queue.len() < before + UNTIMED {
            match self.parser.next(input.bytes, input.at, input.last) {
                Some(record) => {
                    let event = Event::from(&record);
                    self.queue.push_back(event);
                }
                None if input.last => self.ended = true,
                None => return false,
            }
        }
        true
    }
}
