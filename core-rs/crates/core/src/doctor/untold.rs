//! What the guest's tables say and QEMU told nobody.

use super::finding::{Call, FindingKind, Proof};
use super::host::{HostMap, Origin, Target};
use super::kernel_side::Asked;
use super::operation::{Done, Outcome, UNTOLD};
use super::{Doctor, Missing};
use crate::address::Iova;
use crate::tce_table::Runs;
use crate::trace::hotplug::LiveCall;
use crate::trace::parser::Stamp;
use crate::trace::rebuilt::Knowledge;

impl Doctor {
    /// A call of which QEMU did not tell, or not of all of it: what differs from the host then.
    #[cold]
    pub(super) fn untold(&mut self, live: &LiveCall, own: &[Done], call: &Call) {
        let told: Vec<u64> = own.iter().map(|done| done.start).collect();
        let is_told = |iova: u64| told.binary_search(&iova).is_ok();
        let Some(table) = self.machine.table(live.liobn) else { return };
        let shift = table.geometry().page_shift;
        let size = 1u64 << shift;
        let (start, last) = (live.range.start().0, live.range.last().0);
        let (Some(first), Some(end)) = (table.table().index_of(start), table.table().index_of(last)) else { return };
        let mut mapped = Vec::new();
        let mut from = Some(first);
        while let Some((index, extent)) = from.and_then(|from| table.table().next_extent(from, end, Runs::Full)) {
            for page in 0..u64::from(extent.pages) {
                let iova = extent.iova.0.saturating_add(page * size);
                if !is_told(iova) {
                    let target =
                        Target { page: extent.target.0.wrapping_add(page * size), perm: Some(extent.perm.bits()) };
                    mapped.push((iova, target));
                }
            }
            from = index.checked_add(extent.pages);
        }
        let empty = |iova: u64| {
            let index = table.table().index_of(iova);
            index.is_some_and(
                |index| matches!(table.knowledge(index), Knowledge::Page(tce) | Knowledge::Value(tce) if tce & 3 == 0),
            )
        };
        let kept: Vec<(u64, HostMap)> = self
            .host
            .within(start, last)
            .filter(|(at, map)| !is_told(*at) && map.origin == Origin::Entry && map.finding.is_none() && empty(*at))
            .map(|(at, map)| (at, *map))
            .collect();
        for (iova, target) in mapped {
            self.untold_map(iova, iova.saturating_add(size - 1), target, shift, Some(call));
        }
        for (at, map) in kept {
            self.untold_unmap(at, &map, shift, call);
        }
    }

    /// The guest has a page mapped of which QEMU did not tell.
    pub(super) fn untold_map(&mut self, start: u64, last: u64, target: Target, shift: u8, call: Option<&Call>) {
        let line = call.map_or(self.replay.as_ref().map_or(self.line, |replay| replay.last), |call| call.line);
        if self.guest.region(start).is_none() || self.missing.contains(start) {
            return;
        }
        let held = self.host.overlap(start, last).map(|(at, map)| (at, *map));
        let page = |at: u64, old: Target| old.page.wrapping_add(start.wrapping_sub(at));
        if let Some((at, map)) = held
            && map.target.is_none_or(|old| page(at, old) == target.page)
        {
            return;
        }
        let done = silent(start, last, line);
        let mut news = self.news(FindingKind::MappingMissing, &done, shift, call);
        news.errno = UNTOLD;
        news.proof = Proof::Log;
        news.lasts = true;
        news.example.now = Some(target.page | u64::from(target.perm.unwrap_or(0)));
        if let Some((at, map)) = held {
            news.kind = FindingKind::StaleMapping;
            news.example.before = map.target.map(|old| page(at, old) | u64::from(old.perm.unwrap_or(0)));
            news.example.held_since = map.line;
            news.example.kernel = map.kernel;
            news.example.host = map.physical;
            let finding = self.findings.add(&news);
            return self.mark(at, finding);
        }
        let asked = Asked { start, last, time: None, until: None };
        if self.kernel.given
            && let Some(seen) = self.kernel.take_map(&asked)
        {
            let mut map = HostMap::new(last, Origin::Entry, line);
            map.physical = seen.physical;
            map.kernel = seen.line;
            self.host.insert(start, map);
            self.host.set_target(start, target);
            return;
        }
        let finding = self.findings.add(&news);
        self.missing.insert(start, Missing { last, finding });
        if let Some(replay) = self.replay.as_mut() {
            replay.lacks(start, last);
        }
    }

    /// The guest has nothing mapped any more where the host has, and QEMU did not tell.
    fn untold_unmap(&mut self, start: u64, map: &HostMap, shift: u8, call: &Call) {
        let asked = Asked { start, last: map.last, time: None, until: None };
        if self.kernel.given && !self.kernel.take_unmaps(&asked, map.last - start + 1).is_empty() {
            return self.lose(start, self.line);
        }
        let done = silent(start, map.last, call.line);
        let mut news = self.news(FindingKind::LeftBehind, &done, shift, Some(call));
        news.errno = UNTOLD;
        news.proof = Proof::Log;
        news.lasts = true;
        news.example.before = map.target.map(|old| old.page | u64::from(old.perm.unwrap_or(0)));
        news.example.held_since = map.line;
        news.example.kernel = map.kernel;
        news.example.host = map.physical;
        let finding = self.findings.add(&news);
        self.mark(start, finding);
    }

    /// Compares the guest's entries in a region with the host; what was not found before is found now.
    ///
    /// `except` are addresses that a call changed of which the table does not know yet.
    pub(super) fn compare_region(&mut self, liobn: u32, except: Option<(u64, u64)>) {
        let Some(table) = self.machine.table(liobn) else { return };
        let geometry = table.geometry();
        let shift = geometry.page_shift;
        let mut lacking = Vec::new();
        let mut from = Some(0);
        while let Some((index, extent)) =
            from.and_then(|from| table.table().next_extent(from, geometry.entries - 1, Runs::Full))
        {
            for page in 0..u64::from(extent.pages) {
                let Iova(start) = extent.iova;
                let start = start.saturating_add(page << shift);
                let last = start.saturating_add((1u64 << shift) - 1);
                let changing = except.is_some_and(|(first, end)| first <= start && start <= end);
                if !changing && self.host.overlap(start, last).is_none() && !self.missing.contains(start) {
                    let target =
                        Target { page: extent.target.0.wrapping_add(page << shift), perm: Some(extent.perm.bits()) };
                    lacking.push((start, last, target));
                }
            }
            from = index.checked_add(extent.pages);
        }
        for (start, last, target) in lacking {
            self.untold_map(start, last, target, shift, None);
        }
    }
}

/// An operation that QEMU did not tell of.
fn silent(start: u64, last: u64, line: u64) -> Done {
    Done {
        map: true,
        start,
        last,
        line,
        origin: Origin::Entry,
        outcome: Outcome::Gone { bytes: 0 },
        old: None,
        memory: None,
        stderr: 0,
        kernel: 0,
        readonly: None,
        stamp: Stamp::default(),
        held: 0,
    }
}
