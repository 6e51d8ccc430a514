//! Which guest memory devices may have written, while a migration copies it.
//!
//! Hosts tell written pages by bus address, and only while they are mapped. What counts is the guest-physical page behind it
//! at that time: so each UNMAP is looked at before its map is forgotten.

use crate::address::{Gpa, Iova, IovaRange};
use crate::perm::Perm;

use super::Container;
use super::host_map::HostMap;
use super::limits::merged;

/// Guest memory that was written. Memory grows with what was written, not with what is mapped.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct DirtyLog {
    /// Ranges of guest memory, joined now and then. Of the type of bus ranges, so that the same code joins them.
    runs: Vec<IovaRange>,
    /// How many there were when they were joined last.
    joined: usize,
}

/// As many ranges are always kept as they come.
const KEPT: usize = 1024;

impl DirtyLog {
    fn add(&mut self, first: u64, last: u64) {
        self.runs.extend(IovaRange::new(Iova(first), Iova(last)));
        if self.runs.len() > KEPT && self.runs.len() / 2 > self.joined {
            self.join();
        }
    }

    fn join(&mut self) {
        self.runs = merged(core::mem::take(&mut self.runs));
        self.joined = self.runs.len();
    }

    /// Marks the memory behind `range`, which lies inside `map`.
    fn mark(&mut self, map: &HostMap, range: IovaRange) {
        let Some(part) = map.crop(range) else { return };
        let first = part.target.0;
        let last = first.wrapping_add(part.range.length_minus_1());
        if first <= last {
            self.add(first, last);
        } else {
            // A guest may store any target; this one goes over the top.
            self.add(first, u64::MAX);
            self.add(0, last);
        }
    }
}

impl Container {
    /// Begins to keep a log of written guest memory; once more changes nothing.
    pub fn start_dirty(&mut self) {
        self.dirty.get_or_insert_default();
    }

    /// Ends the log and forgets it.
    pub fn stop_dirty(&mut self) {
        self.dirty = None;
    }

    /// Whether there is a log.
    #[must_use]
    pub fn logs_dirty(&self) -> bool {
        self.dirty.is_some()
    }

    /// Notes what the host told of `range`: one bit per smallest page of the host, from the start of `range` on, the first page in
    /// the lowest bit. Without a bitmap, everything that devices may write there counts.
    pub fn mark_written(&mut self, range: IovaRange, bitmap: Option<&[u8]>) {
        let maps: Vec<HostMap> = self.maps.overlapping(range).copied().collect();
        self.mark(&maps, range, bitmap);
    }

    /// The same for what the pending call number `index` takes away in `range`: to be said when it was made, before it is
    /// reported.
    pub fn mark_leaving(&mut self, index: usize, range: IovaRange, bitmap: Option<&[u8]>) {
        let maps: Vec<HostMap> = self.leaving(index).collect();
        self.mark(&maps, range, bitmap);
    }

    /// What the pending call number `index` takes away, in order.
    pub fn leaving(&self, index: usize) -> impl Iterator<Item = HostMap> {
        let step = self.steps.get(index);
        step.into_iter().flat_map(|step| {
            let range = step.part_of_host();
            step.removed.iter().chain(&step.exchanged).filter_map(move |map| map.crop(range?))
        })
    }

    /// Takes what was written, in order; the log goes on empty.
    pub fn take_dirty(&mut self) -> Vec<(Gpa, Gpa)> {
        let Some(log) = &mut self.dirty else { return Vec::new() };
        log.join();
        core::mem::take(log).runs.into_iter().map(|run| (Gpa(run.start().0), Gpa(run.last().0))).collect()
    }

    fn mark(&mut self, maps: &[HostMap], range: IovaRange, bitmap: Option<&[u8]>) {
        let shift = self.limits.page_shift();
        let Some(log) = &mut self.dirty else { return };
        for map in maps.iter().filter(|map| map.perm.bits() & Perm::WRITE.bits() != 0) {
            let Some(bitmap) = bitmap else {
                log.mark(map, range);
                continue;
            };
            let Some(part) = map.range.intersection(range) else { continue };
            for run in set_runs(bitmap, range, part, shift) {
                log.mark(map, run);
            }
        }
    }
}

/// The runs of set bits of the pages in `part`, as ranges; the first bit is of the first page in `range`.
fn set_runs(bitmap: &[u8], range: IovaRange, part: IovaRange, shift: u32) -> Vec<IovaRange> {
    let page = |address: u64| (address - range.start().0) >> shift;
    let (first, last) = (page(part.start().0), page(part.last().0));
    let mut runs = Vec::new();
    let mut open: Option<u64> = None;
    let mut at = first;
    while at <= last {
        let byte = usize::try_from(at >> 3).ok().and_then(|index| bitmap.get(index)).copied().unwrap_or(0);
        if byte == 0 && at & 7 == 0 && open.is_none() {
            at = at.saturating_add(8); // most of a bitmap is empty
            continue;
        }
        let set = byte >> (at & 7) & 1 != 0;
        if set && open.is_none() {
            open = Some(at);
        }
        if !set && let Some(start) = open.take() {
            runs.extend(pages(range, start, at - 1, shift));
        }
        at = at.saturating_add(1);
    }
    if let Some(start) = open {
        runs.extend(pages(range, start, last, shift));
    }
    runs
}

/// Pages `first` to `last` of `range`.
fn pages(range: IovaRange, first: u64, last: u64, shift: u32) -> Option<IovaRange> {
    let start = range.start().checked_add(first << shift)?;
    IovaRange::from_length(start, ((last - first) << shift) | ((1u64 << shift) - 1))
}

#[cfg(test)]
mod tests {
    use super::super::{Coalesce, GuestRun, HolePolicy, HostLimits, HostOp, Kind, Split};
    use super::*;

    const K4: u64 = 0x1000;

    fn container(split: Split) -> Container {
        let limits = HostLimits {
            page_sizes: K4,
            iova_ranges: vec![IovaRange::ALL],
            max_mappings: None,
            split,
            unmap_wide: true,
            write_only: true,
            exchange: false,
        };
        Container::new(limits, Coalesce::Full, HolePolicy::Allow).expect("container")
    }

    fn range(first: u64, pages: u64) -> IovaRange {
        IovaRange::new(Iova(first * K4), Iova((first + pages) * K4 - 1)).expect("range")
    }

    fn map(container: &mut Container, first: u64, pages: u64, target: u64, perm: Perm) {
        let run = GuestRun {
            range: range(first, pages),
            target: Gpa(target * K4),
            perm,
            page_shift: 12,
            phase: 0,
            readonly: false,
            backing: 0,
        };
        container.map(run, Kind::Iommu).expect("map");
        let calls = container.pending().len();
        container.report(calls, false);
    }

    fn taken(container: &mut Container) -> Vec<(u64, u64)> {
        container.take_dirty().into_iter().map(|(first, last)| (first.0 / K4, last.0 / K4)).collect()
    }

    #[test]
    fn written_pages_are_told_by_guest_address_and_once() {
        let mut container = container(Split::Atomic);
        map(&mut container, 0, 20, 100, Perm::READ_WRITE);
        map(&mut container, 32, 2, 50, Perm::WRITE);
        container.mark_written(range(0, 20), Some(&[1]));
        assert_eq!(taken(&mut container), [], "nobody asked yet");
        container.start_dirty();
        container.mark_written(range(0, 20), Some(&[0b1000_0110, 0b0000_0011, 0b0000_1000]));
        container.mark_written(range(30, 4), Some(&[0b1111]));
        assert_eq!(taken(&mut container), [(50, 51), (101, 102), (107, 109), (119, 119)]);
        assert_eq!(taken(&mut container), []);
    }

    #[test]
    fn without_a_bitmap_all_that_may_be_written_counts() {
        let mut container = container(Split::Atomic);
        map(&mut container, 0, 4, 100, Perm::READ_WRITE);
        map(&mut container, 4, 4, 104, Perm::READ);
        map(&mut container, 8, 4, 108, Perm::WRITE);
        container.start_dirty();
        container.mark_written(IovaRange::ALL, None);
        assert_eq!(taken(&mut container), [(100, 103), (108, 111)]);
    }

    #[test]
    fn what_goes_is_translated_by_the_map_that_goes() {
        let mut container = container(Split::None);
        map(&mut container, 0, 8, 100, Perm::READ_WRITE);
        container.start_dirty();
        // A hole: all of the map goes, its rests come again, and then something else is mapped in the hole.
        container.unmap(range(3, 1)).expect("unmap");
        assert!(matches!(container.pending().next(), Some(HostOp::Unmap { .. })));
        container.mark_leaving(0, range(0, 8), Some(&[0b0010_1000]));
        container.report(3, false);
        map(&mut container, 3, 1, 200, Perm::READ_WRITE);
        assert_eq!(taken(&mut container), [(103, 103), (105, 105)]);
        container.mark_leaving(7, IovaRange::ALL, None);
        assert_eq!(taken(&mut container), [], "no such call is pending");
    }

    #[test]
    fn a_bitmap_that_is_too_short_ends_in_clean_pages() {
        let mut container = container(Split::Atomic);
        map(&mut container, 0, 100, 0, Perm::READ_WRITE);
        container.start_dirty();
        container.mark_written(range(0, 100), Some(&[0xff]));
        assert_eq!(taken(&mut container), [(0, 7)]);
        container.stop_dirty();
        container.mark_written(range(0, 100), None);
        assert_eq!(taken(&mut container), []);
    }

    #[test]
    fn a_target_that_goes_over_the_top_is_two_ranges() {
        let mut container = container(Split::Atomic);
        map(&mut container, 0, 3, u64::MAX / K4 - 1, Perm::READ_WRITE);
        container.start_dirty();
        container.mark_written(IovaRange::ALL, None);
        let top = u64::MAX / K4;
        assert_eq!(taken(&mut container), [(0, 0), (top - 1, top)]);
    }
}
