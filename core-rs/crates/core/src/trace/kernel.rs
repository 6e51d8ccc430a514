//! Reads what the kernel's tracer writes about its IOMMU: the events `iommu:map`, `iommu:unmap` and `iommu:io_page_fault`.
//!
//! The text is that of tracefs (`trace`, `trace_pipe`), of `trace-cmd report` or of `perf script`, with or without a header.
//! Formats: Linux, include/trace/events/iommu.h; before 5.17 map and unmap did not tell where a range ends.

use super::lines::Lines;
use super::scan::{decimal, hexadecimal};

/// What happened to a host IOMMU.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum HostEvent {
    /// A range was mapped to physically contiguous memory. Value: its physical address.
    Map,
    /// A range was unmapped. Value: how many bytes were.
    Unmap,
    /// A device touched an address that it may not. Value: the flags.
    Fault,
    /// The tracer lost events. Value: how many, 0 if it does not say.
    Lost,
}

/// One event of the kernel's log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KernelRecord<'a> {
    /// What happened.
    pub event: HostEvent,
    /// The number of its line, from 1.
    pub line: u64,
    /// When, in microseconds of the tracer's clock, where that counts seconds.
    pub time: Option<u64>,
    /// The CPU.
    pub cpu: Option<u32>,
    /// The thread's name, at most 15 bytes.
    pub task: &'a [u8],
    /// The thread.
    pub thread: Option<u32>,
    /// The first address.
    pub start: u64,
    /// The last address, included.
    pub last: u64,
    /// See [`HostEvent`].
    pub value: u64,
}

/// Reads the kernel's log from bytes that come in pieces of any size, in constant memory.
///
/// ```
/// use giommu_core::trace::kernel::{HostEvent, KernelParser};
///
/// let log = b" qemu-107 [000] ..... 4.882146: map: IOMMU: iova=0x0000000000001000 - 0x0000000000002000 \
///     paddr=0x0000000107100000 size=4096\n";
/// let (mut parser, mut at) = (KernelParser::default(), 0);
/// let record = parser.next(log, &mut at, true).expect("one event");
/// assert_eq!((record.event, record.start, record.last), (HostEvent::Map, 0x1000, 0x1fff));
/// assert_eq!((record.task, record.thread, record.time), (&b"qemu"[..], Some(107), Some(4_882_146)));
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct KernelParser {
    lines: Lines,
    events: u64,
    unparsed: u64,
}

impl KernelParser {
    /// Lines read.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.lines.count
    }

    /// Lines that were events.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Lines that look like an IOMMU event and do not parse.
    #[must_use]
    pub fn unparsed(&self) -> u64 {
        self.unparsed
    }

    /// Reads up to the next event from `input[*at..]` and moves `at` past it; `None` if more bytes are needed, which must
    /// follow what is left.
    pub fn next<'a>(&mut self, input: &'a [u8], at: &mut usize, last: bool) -> Option<KernelRecord<'a>> {
        loop {
            let line = self.lines.next(input, at, last)?;
            let Some(found) = position(line.text, b"IOMMU:") else {
                if let Some(lost) = lost(line.text) {
                    self.events += 1;
                    return Some(KernelRecord { value: lost, ..nothing(HostEvent::Lost, line.number) });
                }
                continue;
            };
            match record(line.text, found, line.number) {
                Some(Some(record)) => {
                    self.events += 1;
                    return Some(record);
                }
                Some(None) => {}
                None => self.unparsed += 1,
            }
        }
    }
}

fn nothing<'a>(event: HostEvent, line: u64) -> KernelRecord<'a> {
    KernelRecord { event, line, time: None, cpu: None, task: &[], thread: None, start: 0, last: 0, value: 0 }
}

/// Where a text stands in another. Lines are short, and mostly it stands in their second half.
#[inline(never)]
fn position(text: &[u8], needle: &[u8]) -> Option<usize> {
    let first = *needle.first()?;
    let mut from = 0;
    while let Some(at) = super::scan::find(text.get(from..)?, first) {
        if text.get(from + at..)?.starts_with(needle) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}

/// How many events a line says were lost; 0 where it does not say how many.
fn lost(text: &[u8]) -> Option<u64> {
    if let Some(at) = position(text, b"entries-in-buffer/entries-written: ") {
        let (kept, rest) = decimal(text.get(at + 35..)?)?;
        let (written, _) = decimal(rest.strip_prefix(b"/")?)?;
        return written.checked_sub(kept).filter(|lost| *lost > 0);
    }
    let at = position(text, b"LOST ")?;
    let rest = text.get(at + 5..)?;
    match decimal(rest) {
        Some((count, rest)) => rest.starts_with(b" EVENTS").then_some(count),
        None => rest.starts_with(b"EVENTS").then_some(0),
    }
}

/// The event of a line in which `IOMMU:` stands at `found`. The inner `None`: another event of the IOMMU.
fn record(text: &[u8], found: usize, line: u64) -> Option<Option<KernelRecord<'_>>> {
    let (head, body) = text.split_at_checked(found)?;
    let head = trim(head).strip_suffix(b":")?;
    let name = head.rsplit(|byte| *byte == b' ').next()?;
    let before = trim(head.get(..head.len() - name.len())?);
    let body = body.strip_prefix(b"IOMMU:")?;
    let record = match name.strip_prefix(b"iommu:").unwrap_or(name) {
        b"map" => {
            let (start, end, rest) = range(body)?;
            let (paddr, rest) = hexadecimal(rest.strip_prefix(b"paddr=0x")?)?;
            let (size, _) = decimal(rest.strip_prefix(b" size=")?)?;
            sized(HostEvent::Map, line, start, end, size, paddr)?
        }
        b"unmap" => {
            let (start, end, rest) = range(body)?;
            let (size, rest) = decimal(rest.strip_prefix(b"size=")?)?;
            let (unmapped, _) = decimal(rest.strip_prefix(b" unmapped_size=")?)?;
            sized(HostEvent::Unmap, line, start, end, size, unmapped)?
        }
        b"io_page_fault" => {
            let at = position(body, b" iova=0x")?;
            let (start, rest) = hexadecimal(body.get(at + 8..)?)?;
            let (flags, _) = hexadecimal(rest.strip_prefix(b" flags=0x")?)?;
            KernelRecord { start, last: start, value: flags, ..nothing(HostEvent::Fault, line) }
        }
        _ => return Some(None),
    };
    let time = before.strip_suffix(b":")?;
    let stamp = time.rsplit(|byte| *byte == b' ').next()?;
    let (task, thread, cpu) = thread(trim(time.get(..time.len() - stamp.len())?));
    Some(Some(KernelRecord { time: seconds(stamp), cpu, task, thread, ..record }))
}

/// Reads ` iova=0xA - 0xB ` or ` iova=0xA `: first address, and the one after the last where it is there.
#[inline(never)]
fn range(body: &[u8]) -> Option<(u64, Option<u64>, &[u8])> {
    let (start, rest) = hexadecimal(trim_start(body).strip_prefix(b"iova=0x")?)?;
    match rest.strip_prefix(b" - 0x") {
        Some(rest) => {
            let (end, rest) = hexadecimal(rest)?;
            Some((start, Some(end), rest.strip_prefix(b" ")?))
        }
        None => Some((start, None, rest.strip_prefix(b" ")?)),
    }
}

#[inline(never)]
fn sized<'a>(
    event: HostEvent,
    line: u64,
    start: u64,
    end: Option<u64>,
    size: u64,
    value: u64,
) -> Option<KernelRecord<'a>> {
    let last = start.checked_add(size.checked_sub(1)?)?;
    // A line that was cut and joined with another one shows here.
    (end.is_none_or(|end| end == last.wrapping_add(1))).then_some(KernelRecord {
        start,
        last,
        value,
        ..nothing(event, line)
    })
}

/// A time of a clock that counts seconds: microseconds, or nanoseconds where nine digits follow the point.
fn seconds(stamp: &[u8]) -> Option<u64> {
    let (seconds, rest) = decimal(stamp)?;
    let fraction = rest.strip_prefix(b".")?;
    let (value, rest) = decimal(fraction)?;
    let micros = match fraction.len() {
        6 => value,
        9 => value / 1000,
        _ => return None,
    };
    if !rest.is_empty() {
        return None;
    }
    seconds.checked_mul(1_000_000)?.checked_add(micros)
}

/// Reads `TASK-PID (TGID) [CPU] FLAGS`, or `TASK PID [CPU]`. A task's name may hold anything.
fn thread(head: &[u8]) -> (&[u8], Option<u32>, Option<u32>) {
    let Some(open) = head.iter().rposition(|byte| *byte == b'[') else { return (head, None, None) };
    let cpu = head.get(open + 1..).and_then(decimal).filter(|(_, rest)| rest.starts_with(b"]"));
    let cpu = cpu.and_then(|(cpu, _)| u32::try_from(cpu).ok());
    let mut task = trim(head.get(..open).unwrap_or_default());
    if task.ends_with(b")")
        && let Some(group) = task.iter().rposition(|byte| *byte == b'(')
    {
        task = trim(task.get(..group).unwrap_or_default());
    }
    let digits = task.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let (name, digits) = task.split_at_checked(task.len() - digits).unwrap_or((task, &[]));
    let thread = decimal(digits).and_then(|(thread, _)| u32::try_from(thread).ok());
    match thread {
        Some(_) => (trim_start(trim(name.strip_suffix(b"-").unwrap_or(name))), thread, cpu),
        None => (trim_start(task), None, cpu),
    }
}

#[inline(never)]
fn trim(text: &[u8]) -> &[u8] {
    text.trim_ascii_end()
}

#[inline(never)]
fn trim_start(text: &[u8]) -> &[u8] {
    text.trim_ascii_start()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Vec<(HostEvent, u64, u64, u64)>, KernelParser) {
        let (mut parser, mut at, mut list) = (KernelParser::default(), 0, Vec::new());
        while let Some(record) = parser.next(text.as_bytes(), &mut at, true) {
            list.push((record.event, record.start, record.last, record.value));
        }
        (list, parser)
    }

    #[test]
    fn tracefs_with_its_header_is_read() {
        let (events, parser) = read(
            "# tracer: nop\n#\n# entries-in-buffer/entries-written: 3/3   #P:1\n#\n\
             \x20qemu-system-ppc-107     [000] .....     4.866571: unmap: IOMMU: iova=0x0000000000000000 - 0x0000000000001000 \
             size=4096 unmapped_size=4096\n\
             \x20      CPU 0/KVM-2201    [003] d..1. 17212.882146: map: IOMMU: iova=0x1000 - 0x3000 paddr=0x107100000 size=8192\n\
             \x20  kworker/u8:1-eve-9       [001] .....     9.000001: io_page_fault: IOMMU:dmar 0000:00:04.0 iova=0xdead000 flags=0x0001\n\
             \x20 bash-1 [000] ..... 9.1: attach_device_to_domain: IOMMU: device=0000:00:04.0\n",
        );
        assert_eq!(
            events,
            [
                (HostEvent::Unmap, 0, 0xfff, 4096),
                (HostEvent::Map, 0x1000, 0x2fff, 0x1_0710_0000),
                (HostEvent::Fault, 0xdead000, 0xdead000, 1)
            ]
        );
        assert_eq!((parser.lines(), parser.events(), parser.unparsed()), (8, 3, 0));
    }

    #[test]
    fn names_of_threads_may_hold_spaces_and_dashes() {
        for (head, expected) in [
            ("CPU 0/KVM-2201    [003] d..1.", ("CPU 0/KVM", Some(2201), Some(3))),
            (" a-b-c-7 (   5) [000] .....", ("a-b-c", Some(7), Some(0))),
            ("qemu-system-ppc   107 [011]", ("qemu-system-ppc", Some(107), Some(11))),
            ("<...>-99 [002]", ("<...>", Some(99), Some(2))),
            ("nothing", ("nothing", None, None)),
        ] {
            let (task, pid, cpu) = thread(head.as_bytes());
            assert_eq!((std::str::from_utf8(task).unwrap(), pid, cpu), expected, "{head}");
        }
    }

    #[test]
    fn older_kernels_and_other_tools_are_read() {
        let (events, _) = read(
            "q-1 [000] 4.882146: map: IOMMU: iova=0x0000000000001000 paddr=0x0000000107100000 size=4096\n\
             q 1 [000] 4.882147000:            iommu:unmap: IOMMU: iova=0x1000 size=4096 unmapped_size=0\n\
             q-1   [000]     4.882148: map:                  IOMMU: iova=0x2000 - 0x3000 paddr=0x1 size=4096\n",
        );
        assert_eq!(
            events,
            [
                (HostEvent::Map, 0x1000, 0x1fff, 0x1_0710_0000),
                (HostEvent::Unmap, 0x1000, 0x1fff, 0),
                (HostEvent::Map, 0x2000, 0x2fff, 1)
            ]
        );
    }

    #[test]
    fn lost_events_are_told() {
        let (events, _) = read(
            "# entries-in-buffer/entries-written: 100/163   #P:1\nCPU:2 [LOST 1234 EVENTS]\n[LOST EVENTS]\n\
             # entries-in-buffer/entries-written: 5/5\n",
        );
        assert_eq!(events.iter().map(|event| event.3).collect::<Vec<_>>(), [63, 1234, 0]);
        assert!(events.iter().all(|event| event.0 == HostEvent::Lost));
    }

    #[test]
    fn damaged_lines_are_counted_and_never_read() {
        let line = " q-1 [000] ..... 4.882146: map: IOMMU: iova=0x1000 - 0x2000 paddr=0x107100000 size=4096";
        assert_eq!(read(line).0.len(), 1);
        for length in 0..line.len() - 4 {
            let cut = line.split_at(length).0;
            let (events, parser) = read(cut);
            assert_eq!(events, [], "{cut}");
            assert!(length < line.find("IOMMU:").unwrap() + 6 || parser.unparsed() == 1);
        }
        // Only the last digit of the size is missing: the range contradicts it.
        assert_eq!(read(line.split_at(line.len() - 1).0).0, []);
        let (events, _) = read("x: map: IOMMU: iova=0xffffffffffffffff paddr=0x0 size=4096\n");
        assert_eq!(events, []);
    }
}
