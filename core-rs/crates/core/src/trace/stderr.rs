//! Reads what QEMU prints when VFIO or iommufd refuse: the only place where a failed map shows with its reason.

use super::lines::Lines;
use super::scan::{decimal, hexadecimal, signed};

/// What failed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Failure {
    /// A range could not be mapped (`vfio_container_dma_map`, before QEMU 8.2 `vfio_dma_map`).
    Map,
    /// A range could not be unmapped.
    Unmap,
    /// The call to the kernel failed, as the line just before tells without an address (`VFIO_MAP_DMA failed: …`).
    MapCall,
    /// The same of an unmap.
    UnmapCall,
    /// QEMU gave up (`vfio: DMA mapping failed, unable to continue`).
    Fatal,
    /// A section lies across pages of the host and is not mapped (`received unaligned region`).
    Unaligned,
    /// An entry points to what is no memory (`iommu map to non memory area`).
    NotMemory,
}

/// One failure that QEMU told of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FailureRecord<'a> {
    /// What failed.
    pub failure: Failure,
    /// The number of its line, from 1.
    pub line: u64,
    /// When, in microseconds since 1970, where the line says so (`-msg timestamp=on`; not while a monitor command runs).
    pub time: Option<u64>,
    /// The first bus address; of [`Failure::NotMemory`] the guest's address.
    pub start: Option<u64>,
    /// The last bus address, included.
    pub last: Option<u64>,
    /// Where the memory lies in QEMU.
    pub memory: Option<u64>,
    /// The error number of the kernel, positive; 0 where the line does not say.
    pub errno: i32,
    /// The region that a prefix names (`Region pc.ram: …`).
    pub region: &'a [u8],
}

/// Reads QEMU's standard error from bytes that come in pieces of any size, in constant memory.
///
/// ```
/// use giommu_core::trace::stderr::{Failure, StderrParser};
///
/// let text = b"qemu-system-ppc64: vfio_container_dma_map(0x5655, 0x1000, 0x1000, 0x7fd8) = -17 (File exists)\n";
/// let (mut parser, mut at) = (StderrParser::default(), 0);
/// let record = parser.next(text, &mut at, true).expect("one failure");
/// assert_eq!((record.failure, record.start, record.last, record.errno), (Failure::Map, Some(0x1000), Some(0x1fff), 17));
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StderrParser {
    lines: Lines,
    failures: u64,
    unparsed: u64,
}

/// Error numbers of Linux by the texts that the C library has for them.
const ERRORS: &[(i32, &[u8])] = &[
    (1, b"Operation not permitted"),
    (2, b"No such file or directory"),
    (12, b"Cannot allocate memory"),
    (14, b"Bad address"),
    (16, b"Device or resource busy"),
    (17, b"File exists"),
    (22, b"Invalid argument"),
    (28, b"No space left on device"),
    (34, b"Numerical result out of range"),
    (75, b"Value too large for defined data type"),
    (95, b"Operation not supported"),
];

impl StderrParser {
    /// Lines read.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.lines.count
    }

    /// Lines that told of a failure.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failures
    }

    /// Lines that begin to tell of one and do not parse.
    #[must_use]
    pub fn unparsed(&self) -> u64 {
        self.unparsed
    }

    /// Reads up to the next failure from `input[*at..]` and moves `at` past it; `None` if more bytes are needed, which must
    /// follow what is left.
    pub fn next<'a>(&mut self, input: &'a [u8], at: &mut usize, last: bool) -> Option<FailureRecord<'a>> {
        loop {
            let line = self.lines.next(input, at, last)?;
            match record(line.text) {
                Some(Some(record)) => {
                    self.failures += 1;
                    return Some(FailureRecord { line: line.number, ..record });
                }
                Some(None) => self.unparsed += 1,
                None => {}
            }
        }
    }
}

#[inline(never)]
fn after<'a>(text: &'a [u8], needle: &[u8]) -> Option<(usize, &'a [u8])> {
    let at = text.windows(needle.len()).position(|part| part == needle)?;
    Some((at, text.get(at + needle.len()..)?))
}

/// The failure that a line tells of; the inner `None`: one that does not parse.
fn record(text: &[u8]) -> Option<Option<FailureRecord<'_>>> {
    let make = |at: usize, failure, errno| FailureRecord {
        failure,
        line: 0,
        time: text.get(..at).and_then(time),
        start: None,
        last: None,
        memory: None,
        errno,
        region: text.get(..at).map(region).unwrap_or_default(),
    };
    for (name, failure) in [(&b"dma_map("[..], Failure::Map), (b"dma_unmap(", Failure::Unmap)] {
        if let Some((at, rest)) = after(text, name) {
            return Some(call(failure, rest).map(|(start, last, memory, errno)| FailureRecord {
                start: Some(start),
                last: Some(last),
                memory,
                ..make(at, failure, errno)
            }));
        }
    }
    for (name, failure) in [
        (&b"VFIO_MAP_DMA"[..], Failure::MapCall),
        (b"VFIO_UNMAP_DMA", Failure::UnmapCall),
        (b"IOMMU_IOAS_MAP", Failure::MapCall),
        (b"IOMMU_IOAS_UNMAP", Failure::UnmapCall),
    ] {
        if let Some((at, rest)) = after(text, name) {
            let why = rest.strip_prefix(b" failed").unwrap_or(rest).strip_prefix(b": ")?;
            return Some(Some(make(at, failure, error(why))));
        }
    }
    if let Some((at, rest)) = after(text, b"received unaligned region ") {
        let start = after(rest, b" iova=0x").and_then(|(_, rest)| hexadecimal(rest)).map(|(start, _)| start);
        return Some(Some(FailureRecord { start, last: start, ..make(at, Failure::Unaligned, 0) }));
    }
    if let Some((at, rest)) = after(text, b"iommu map to non memory area ") {
        let start = hexadecimal(rest.strip_prefix(b"0x").unwrap_or(rest)).map(|(start, _)| start);
        return Some(Some(FailureRecord { start, last: start, ..make(at, Failure::NotMemory, 0) }));
    }
    let (at, _) = after(text, b"DMA mapping failed, unable to continue")?;
    Some(Some(make(at, Failure::Fatal, 0)))
}

/// Reads `CONTAINER, IOVA, SIZE, MEMORY) = -ERRNO`: first and last address, memory, error number.
fn call(failure: Failure, text: &[u8]) -> Option<(u64, u64, Option<u64>, i32)> {
    let (_, rest) = pointer(text)?;
    let (start, rest) = hexadecimal(rest.strip_prefix(b", 0x")?)?;
    let (size, rest) = hexadecimal(rest.strip_prefix(b", 0x")?)?;
    let (memory, rest) = match failure {
        Failure::Map => pointer(rest.strip_prefix(b", ")?).map(|(memory, rest)| (Some(memory), rest))?,
        _ => (None, rest),
    };
    let (ret, _) = signed(rest.strip_prefix(b") = ")?)?;
    let errno = i32::try_from(ret.checked_neg()?).ok()?;
    Some((start, start.checked_add(size.checked_sub(1)?)?, memory, errno))
}

fn pointer(text: &[u8]) -> Option<(u64, &[u8])> {
    match text.strip_prefix(b"(nil)") {
        Some(rest) => Some((0, rest)),
        None => hexadecimal(text.strip_prefix(b"0x")?),
    }
}

/// The error number that a text or a number says; 0 if none.
#[inline(never)]
fn error(why: &[u8]) -> i32 {
    if let Some((number, _)) = signed(why) {
        return i32::try_from(number.unsigned_abs()).unwrap_or(0);
    }
    ERRORS.iter().find(|(_, text)| why.starts_with(text)).map_or(0, |(number, _)| *number)
}

/// The name in the prefix `Region NAME: `.
fn region(head: &[u8]) -> &[u8] {
    let name = after(head, b"Region ").and_then(|(_, rest)| after(rest, b": ").map(|(end, _)| rest.get(..end)));
    name.flatten().unwrap_or_default()
}

/// The time at the front of a line as QEMU writes it: 2026-11-20T23:30:37.966232Z.
fn time(text: &[u8]) -> Option<u64> {
    let number = |from: usize, length: usize, end: u8| -> Option<u64> {
        let digits = text.get(from..from + length)?;
        let (value, rest) = decimal(digits)?;
        (rest.is_empty() && text.get(from + length) == Some(&end)).then_some(value)
    };
    let (year, month, day) = (number(0, 4, b'-')?, number(5, 2, b'-')?, number(8, 2, b'T')?);
    let (hour, minute, second) = (number(11, 2, b':')?, number(14, 2, b':')?, number(17, 2, b'.')?);
    let micros = number(20, 6, b'Z')?;
    if !(1970..10_000).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Days since 1970, with years that begin in March so that a leap day is their last.
    let (years, months) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * years + years / 4 - years / 100 + years / 400 + (153 * months + 2) / 5 + day - 1;
    let days = days.checked_sub(719_468)?;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000_000 + micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> FailureRecord<'_> {
        let mut at = 0;
        StderrParser::default().next(text.as_bytes(), &mut at, true).unwrap_or_else(|| panic!("{text}"))
    }

    #[test]
    fn failures_are_read_with_and_without_a_time() {
        let timed =
            one("2026-11-20T23:30:37.966232Z qemu-system-ppc64: vfio_container_dma_map(0x56552434a000, 0x0, 0x1000, \
             0x7fd880200000) = -17 (File exists)");
        assert_eq!((timed.failure, timed.start, timed.last, timed.errno), (Failure::Map, Some(0), Some(0xfff), 17));
        assert_eq!((timed.time, timed.memory), (Some(1_795_217_437_966_232), Some(0x7fd8_8020_0000)));
        let plain = one("vfio_container_dma_map(0x55dd, 0x1000000, 0x10000, 0x7fc9) = -28 (No space left on device)");
        assert_eq!((plain.time, plain.last, plain.errno), (None, Some(0x100_ffff), 28));
        let unmap = one("qemu: vfio_container_dma_unmap(0x55dd, 0x2000, 0x1000) = -22 (Invalid argument)");
        assert_eq!((unmap.failure, unmap.start, unmap.memory, unmap.errno), (Failure::Unmap, Some(0x2000), None, 22));
    }

    #[test]
    fn older_releases_and_prefixes_are_read() {
        let old = one(
            "qemu-kvm: -device vfio-pci: Region pc.ram: vfio_dma_map(0x5, 0x0, 0xa0000, 0x7f) = -12 (Cannot allocate memory)",
        );
        assert_eq!((old.failure, old.errno, old.region), (Failure::Map, 12, &b"pc.ram"[..]));
        assert_eq!(one("qemu: VFIO_MAP_DMA failed: Invalid argument").errno, 22);
        assert_eq!(one("qemu: VFIO_MAP_DMA: -14").errno, 14);
        assert_eq!(one("qemu: VFIO_UNMAP_DMA failed: Invalid argument").failure, Failure::UnmapCall);
        assert_eq!(one("IOMMU_IOAS_MAP failed: File exists").errno, 17);
        assert_eq!(one("qemu: hw/vfio: vfio: DMA mapping failed, unable to continue").failure, Failure::Fatal);
        assert_eq!(one("vfio_dma_unmap(0x5, 0x0, 0x1000) = -14 (Bad address)").failure, Failure::Unmap);
    }

    #[test]
    fn other_lines_say_nothing_and_cut_ones_are_counted() {
        let (mut parser, mut at) = (StderrParser::default(), 0);
        let text = b"vfio: Cannot reset device 0000:00:04.0\n   1.20 progress 0x1\nvfio_container_dma_map(0x5, 0x10";
        assert_eq!(parser.next(text, &mut at, true), None);
        assert_eq!((parser.lines(), parser.failures(), parser.unparsed()), (3, 0, 1));
        for damaged in
            ["dma_map(", "dma_map(0x1, 0x0, 0x0, 0x1) = -1", "dma_map(0x1, 0xffffffffffffffff, 0x1000, 0x1) = -1"]
        {
            assert_eq!(record(damaged.as_bytes()), Some(None), "{damaged}");
        }
    }

    #[test]
    fn times_are_microseconds_since_1970() {
        assert_eq!(time(b"1970-01-01T00:00:00.000001Z"), Some(1));
        assert_eq!(time(b"2000-02-29T12:00:00.000000Z"), Some(951_825_600_000_000));
        for wrong in ["", "1970-01-01 00:00:00.000001Z", "1970-13-01T00:00:00.000000Z", "1969-01-01T00:00:00.000000Z"] {
            assert_eq!(time(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
