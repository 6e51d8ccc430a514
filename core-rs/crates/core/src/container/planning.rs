//! From what the guest changed to the calls that a host needs, checked before the first one.

use crate::address::{Gpa, Iova, IovaRange};
use crate::perm::Perm;

use super::host_map::{HostMap, HostMaps, Kind};
use super::host_op::{Intent, Step};
use super::limits::{Coalesce, HolePolicy, Split};
use super::refusal::Refusal;
use super::{Container, GuestRun};

/// How many pieces of a run are queued at once: enough to make a batch worth its crossing, little enough that a run of
/// 2^31 pages needs no memory of its own.
const PIECES_AT_ONCE: usize = 4096;

/// A checked run that is still to be cut into one map per page.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Pages {
    rest: HostMap,
}

impl Pages {
    /// Takes the first page off the run; the other half is what remains.
    fn split(self) -> (HostMap, Option<Self>) {
        let page = 1u128 << u32::from(self.rest.page_shift).min(64);
        let start = u128::from(self.rest.range.start().0);
        let into_page = (start + page - u128::from(self.rest.phase) % page) % page;
        let last = start + (page - into_page) - 1;
        let last = u64::try_from(last).unwrap_or(u64::MAX);
        if last >= self.rest.range.last().0 {
            return (self.rest, None);
        }
        let cut = IovaRange::new(self.rest.range.start(), Iova(last));
        let first = cut.and_then(|range| self.rest.crop(range)).unwrap_or(self.rest);
        let [_, rest] = self.rest.outside(first.range);
        (first, rest.map(|rest| Self { rest }))
    }

    fn count(&self) -> u64 {
        let page = 1u128 << u32::from(self.rest.page_shift).min(64);
        let phase = u128::from(self.rest.phase) % page;
        let index = |address: Iova| (u128::from(address.0) + page - phase) / page;
        let pages = index(self.rest.range.last()) - index(self.rest.range.start()) + 1;
        u64::try_from(pages).unwrap_or(u64::MAX)
    }
}

impl Container {
    /// Maps a run of guest pages: queues the host calls, after every check that can be made beforehand.
    ///
    /// Several runs may be queued before the first call is made; one of many pages is queued piece by piece.
    ///
    /// # Errors
    /// A [`Refusal`]; nothing is queued then.
    pub fn map(&mut self, run: GuestRun, kind: Kind) -> Result<(), Refusal> {
        self.check_live()?;
        let only_maps = self.steps.iter().all(|step| step.intent == Intent::Map);
        if !only_maps || self.pages.is_some() || !self.leaving.is_empty() || !self.undo.is_empty() {
            return Err(Refusal::Busy);
        }
        self.refused = None;
        if run.allowed().is_none() {
            return Ok(());
        }
        self.check_place(&run, kind)?;
        let map = HostMap { perm: self.limits.permission(run.allowed()), ..run.unmapped(kind) };
        let pages = Pages { rest: map };
        let whole = kind != Kind::Iommu || self.coalesce != Coalesce::None;
        self.check_limit(run.range, if whole { 1 } else { pages.count() })?;
        if whole {
            self.queue_map(map);
        } else {
            self.pages = Some(pages);
            self.queue_pages();
        }
        Ok(())
    }

    /// Unmaps whatever is mapped in `range`, which may pass gaps; grown to whole pages of the host.
    ///
    /// Whole maps go in one call where the host takes wide ones; a part is cut out where the host splits, else the hole
    /// policy decides. A container that failed in the open transaction still unmaps what else the guest removed by it.
    ///
    /// # Errors
    /// [`Refusal::HolesForbidden`], [`Refusal::Failed`] or [`Refusal::Busy`]; nothing is queued then.
    pub fn unmap(&mut self, range: IovaRange) -> Result<(), Refusal> {
        if self.journal.is_none() {
            self.check_live()?;
        }
        self.check_idle()?;
        let pages = self.limits.page_hull(range);
        self.check_holes(pages)?;
        self.forget_absent(pages);
        if let Some(failure) = &mut self.failure {
            let held: Vec<IovaRange> =
                self.maps.overlapping(pages).filter_map(|map| map.range.intersection(pages)).collect();
            failure.remove_missing(pages, &held);
        }
        self.hold(pages);
        self.queue_unmap(pages);
        Ok(())
    }

    /// Unmaps every entry of guest IOMMUs whose target lies in guest memory from `first` to `last`: memory that goes.
    /// The entries are kept as [absent](Container::absent). Grown to whole pages of the host: none can be mapped in part.
    ///
    /// # Errors
    /// As [`Container::unmap`].
    pub fn unmap_targets(&mut self, first: Gpa, last: Gpa) -> Result<(), Refusal> {
        self.check_live()?;
        self.check_idle()?;
        let (first, last) = self.limits.memory_hull(first, last);
        let leaving: Vec<HostMap> =
            self.maps.iter().filter(|map| map.kind != Kind::Ram).filter_map(|map| map.targeting(first, last)).collect();
        for part in &leaving {
            self.check_holes(self.limits.page_hull(part.range))?;
        }
        for part in leaving {
            self.absent.insert(HostMap { perm: Perm::NONE, ..part });
            self.leaving.push_back(self.limits.page_hull(part.range));
        }
        self.refill();
        Ok(())
    }

    /// Unmaps everything, also on a failed container, and ends any transaction: the container goes.
    ///
    /// What the host does not unmap is in [`Container::failure`] afterwards.
    pub fn clear(&mut self) {
        self.cancel();
        self.journal = None;
        self.release_held();
        self.lost.clear();
        self.absent = HostMaps::default();
        if let Some(failure) = &mut self.failure {
            failure.ranges.clear();
        }
        self.queue_unmap(IovaRange::ALL);
    }

    pub(super) fn check_live(&self) -> Result<(), Refusal> {
        if self.failure.is_some() { Err(Refusal::Failed) } else { Ok(()) }
    }

    pub(super) fn check_idle(&self) -> Result<(), Refusal> {
        if self.is_idle() { Ok(()) } else { Err(Refusal::Busy) }
    }

    fn check_place(&self, run: &GuestRun, kind: Kind) -> Result<(), Refusal> {
        let GuestRun { range, target, page_shift, .. } = *run;
        let host_shift = self.limits.page_shift();
        if kind != Kind::Ram && u32::from(page_shift) < host_shift {
            return Err(Refusal::PageTooFine { range, page_shift, host_shift });
        }
        if self.limits.page_hull(range) != range || target.0 & ((1u64 << host_shift) - 1) != 0 {
            return Err(Refusal::Unaligned { range, target, host_shift });
        }
        if let Some(outside) = self.limits.outside(range) {
            return Err(Refusal::OutOfRange { range, outside });
        }
        self.check_free(range)
    }

    pub(super) fn check_free(&self, range: IovaRange) -> Result<(), Refusal> {
        match self.maps.overlapping(range).chain(self.absent.overlapping(range)).next() {
            Some(map) => Err(Refusal::Overlap { range, existing: map.range }),
            None => Ok(()),
        }
    }

    /// What is held counts, and each part of a map that was cut, as if it were one on the host: never fewer than the host has.
    fn check_limit(&self, range: IovaRange, needed: u64) -> Result<(), Refusal> {
        let held = (self.maps.len() + self.held_beside(range)) as u64;
        match self.limits.max_mappings {
            Some(max) if held.saturating_add(needed) > u64::from(max) => {
                Err(Refusal::MappingLimit { range, held, needed, max })
            }
            _ => Ok(()),
        }
    }

    fn check_holes(&self, range: IovaRange) -> Result<(), Refusal> {
        if self.limits.split == Split::Atomic || self.holes != HolePolicy::Forbid {
            return Ok(());
        }
        match self.maps.overlapping(range).find(|map| !range.covers(map.range)) {
            Some(map) => Err(Refusal::HolesForbidden { range, map: map.range }),
            None => Ok(()),
        }
    }

    /// Queues the next pages of a run.
    pub(super) fn queue_pages(&mut self) {
        for _ in 0..PIECES_AT_ONCE {
            let Some(pages) = self.pages.take() else { return };
            let (first, rest) = pages.split();
            self.pages = rest;
            self.queue_map(first);
        }
    }

    /// Queues the MAP of one map, in the place of what is held there.
    fn queue_map(&mut self, map: HostMap) {
        let exchanged = self.held.cut(map.range);
        self.queue(Step { exchanged, ..Step::map(map, Intent::Map) });
    }

    /// Queues what unmaps `range`; every check is done.
    pub(super) fn queue_unmap(&mut self, range: IovaRange) {
        let (mut at_once, cut): (Vec<HostMap>, Vec<HostMap>) =
            self.maps.overlapping(range).partition(|map| range.covers(map.range));
        if self.limits.split == Split::Atomic {
            at_once.extend(&cut);
            at_once.sort_unstable_by_key(|map| map.range.start());
        }
        self.queue_whole(at_once, range, Intent::Unmap);
        if self.limits.split == Split::Atomic || cut.is_empty() {
            return;
        }
        if self.holes == HolePolicy::Quiesce {
            self.queue(Step::quiesce());
        }
        for map in cut {
            let Some(hole) = Step::hole(map, range) else { continue };
            self.queue(hole);
            for rest in map.outside(range).into_iter().flatten() {
                self.queue(Step::map(rest, Intent::Rest));
            }
        }
    }

    /// Queues the UNMAP of what `maps` hold in `range`: one call where the host takes wide ones.
    pub(super) fn queue_whole(&mut self, maps: Vec<HostMap>, range: IovaRange, intent: Intent) {
        let mut group: Vec<HostMap> = Vec::new();
        for map in maps {
            if group.last().is_some_and(|before| !self.joins(before, &map)) {
                let done = core::mem::take(&mut group);
                self.queue_group(done, range, intent);
            }
            group.push(map);
        }
        self.queue_group(group, range, intent);
    }

    fn queue_group(&mut self, maps: Vec<HostMap>, range: IovaRange, intent: Intent) {
        if let Some(step) = Step::unmap(maps, range, intent) {
            self.queue(step);
        }
    }

    /// Whether one UNMAP may take both of two neighbours: it must not pass over what is held, nor from one IOVA range into
    /// another (the windows of an sPAPR host, each with calls of its own).
    fn joins(&self, before: &HostMap, after: &HostMap) -> bool {
        let between = IovaRange::new(before.range.last(), after.range.start());
        self.limits.unmap_wide
            && between
                .is_none_or(|gap| self.held.overlapping(gap).next().is_none() && self.limits.outside(gap).is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages(start: u64, last: u64, page_shift: u8, phase: u64) -> Pages {
        let range = IovaRange::new(Iova(start), Iova(last)).expect("range");
        Pages {
            rest: HostMap {
                range,
                target: Gpa(0x10_0000),
                perm: Perm::READ_WRITE,
                kind: Kind::Iommu,
                page_shift,
                phase,
                asked: Perm::READ_WRITE,
                backing: 0,
            },
        }
    }

    fn cut(mut rest: Option<Pages>) -> Vec<(u64, u64)> {
        let mut out = Vec::new();
        while let Some(pages) = rest {
            let (first, after) = pages.split();
            out.push((first.range.start().0, first.range.last().0));
            rest = after;
        }
        out
    }

    #[test]
    fn a_run_is_cut_where_entries_begin() {
        let run = pages(0x1000, 0x3fff, 12, 0);
        assert_eq!(run.count(), 3);
        assert_eq!(cut(Some(run)), [(0x1000, 0x1fff), (0x2000, 0x2fff), (0x3000, 0x3fff)]);
        // An IOMMU of 64 KiB pages at a bus address that is a multiple of 4 KiB only.
        let run = pages(0x3000, 0x2_2fff, 16, 0x3000);
        assert_eq!(run.count(), 2);
        assert_eq!(cut(Some(run)), [(0x3000, 0x1_2fff), (0x1_3000, 0x2_2fff)]);
        // Both ends straddle an entry.
        let run = pages(0x8000, 0x2_7fff, 16, 0);
        assert_eq!(run.count(), 3);
        assert_eq!(cut(Some(run)), [(0x8000, 0xffff), (0x1_0000, 0x1_ffff), (0x2_0000, 0x2_7fff)]);
    }

    #[test]
    fn a_run_at_the_top_of_the_space_ends() {
        let run = pages(u64::MAX - 0x1fff, u64::MAX, 12, 0);
        assert_eq!(run.count(), 2);
        assert_eq!(cut(Some(run)).len(), 2);
        let run = pages(0, u64::MAX, 64, 0);
        assert_eq!(run.count(), 1);
        assert_eq!(cut(Some(run)), [(0, u64::MAX)]);
        assert_eq!(pages(0, u64::MAX, 63, 0).count(), 2);
        assert_eq!(pages(0, u64::MAX, 0, 0).count(), u64::MAX);
    }
}
