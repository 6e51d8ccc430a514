//! Says what operations mean, once the line that caused them is known.

use super::finding::{Call, Example, FindingKind, News, Proof, Source};
use super::guest::Wanted;
use super::host::{HostMap, Origin, Target};
use super::kernel_side::Asked;
use super::operation::{Done, EXISTS, NOT_MEMORY, Outcome, UNTOLD};
use super::{Doctor, Missing};
use crate::address::Iova;
use crate::tce_table::Runs;
use crate::trace::hotplug::LiveCall;
use crate::trace::parser::Stamp;
use crate::trace::rebuilt::Knowledge;

/// ENOSPC: the driver's limit of mappings.
const NO_SPACE: i32 = 28;
/// Mappings that a type 1 container may have unless `dma_entry_limit` says otherwise (Linux, drivers/vfio/vfio_iommu_type1.c).
const LIMIT: usize = 65_535;

impl Doctor {
    /// Operations whose line of cause never came: a replay, or memory.
    pub(super) fn resolve_all(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let mut batch = core::mem::take(&mut self.batch);
        for done in &batch {
            self.resolve(done, None);
        }
        batch.clear();
        self.batch = batch;
    }

    pub(super) fn news(&self, kind: FindingKind, done: &Done, shift: u8, call: Option<&Call>) -> News {
        News {
            kind,
            errno: 0,
            window: self.guest.region(done.start).map_or(u64::MAX, |region| region.id),
            source: Source::Log,
            line: done.line,
            start: done.start,
            last: done.last,
            page_shift: shift,
            replayed: self.replay.is_some(),
            saved: 0,
            example: Example { iova: done.start, kernel: done.kernel, stderr: done.stderr, ..Example::default() },
            call: call.copied(),
            proof: Proof::Derived,
            hotplug: self.hotplug(),
            lasts: false,
        }
    }

    /// The number of the newest hotplug, from 1.
    pub(super) fn hotplug(&self) -> u32 {
        let count = self.hotplugs.len() + usize::from(self.replay.is_some());
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// Says what one operation means.
    pub(super) fn resolve(&mut self, done: &Done, call: Option<&Call>) {
        if !done.map {
            return self.resolve_unmap(done, call);
        }
        if done.origin == Origin::Memory {
            if let Outcome::Refused { errno, proof } = done.outcome {
                let news = self.news(FindingKind::MappingMissing, done, 12, call);
                let at = self.findings.add(&News { errno, proof, lasts: true, ..news });
                self.missing.insert(done.start, Missing { last: done.last, finding: at });
            }
            return;
        }
        if let Some(replay) = self.replay.as_mut() {
            replay.told(done);
        }
        self.count_map(done);
        let (wanted, shift) = self.guest.wanted(&self.machine, done.start);
        match done.outcome {
            Outcome::Refused { errno: EXISTS, proof } => self.resolve_exists(done, wanted, shift, proof, call),
            Outcome::Refused { errno, proof } => self.resolve_refused(done, wanted, shift, errno, proof, call),
            _ => self.resolve_held(done, wanted, shift, call),
        }
    }

    fn resolve_held(&mut self, done: &Done, wanted: Wanted, shift: u8, call: Option<&Call>) {
        self.end_missing(done.start, done.last, done.line);
        if done.outcome == Outcome::Held && self.host.len() >= LIMIT / 10 * 9 && self.limit.is_none() {
            let mut news = self.news(FindingKind::LimitNear, done, shift, call);
            news.window = u64::MAX;
            let at = self.findings.add(&news);
            if let Some(one) = self.findings.get_mut(at) {
                one.measure = [self.host.peak() as u64, LIMIT as u64, 0];
            }
        }
        let Wanted::Page(target) = wanted else {
            self.counts.targets_unknown += u64::from(wanted == Wanted::Unknown);
            return;
        };
        let perm = target.perm.unwrap_or(3);
        let widened = done.readonly.unwrap_or(perm & 2 == 0);
        if done.readonly.is_some_and(|readonly| readonly == (perm & 2 != 0)) {
            let mut news = self.news(FindingKind::WrongPermission, done, shift, call);
            news.proof = Proof::Log;
            news.lasts = true;
            news.example.now = Some(target.page | u64::from(perm));
            news.example.host = Some(if widened { 1 } else { 3 });
            let at = self.findings.add(&news);
            self.mark(done.start, at);
        } else if perm == 2 && !self.exchanges {
            let mut news = self.news(FindingKind::PermissionWidened, done, shift, call);
            news.example.now = Some(target.page | 2);
            self.findings.add(&news);
        }
        if done.outcome != Outcome::Held {
            return;
        }
        self.adjoin(done, target, shift, call);
        if let Some(found) = self.host.set_target(done.start, target) {
            let held = self.host.get(done.start).copied();
            let mut news = self.news(FindingKind::WrongTarget, done, shift, call);
            news.proof = Proof::Kernel;
            news.lasts = true;
            news.example.before = Some(found.other_iova);
            news.example.now = Some(found.page | u64::from(perm));
            news.example.host = held.and_then(|held| held.physical);
            news.example.other = Some(found.other_physical);
            let at = self.findings.add(&news);
            self.mark(done.start, at);
        }
    }

    /// Ties a finding to a mapping: it ends when that goes.
    pub(super) fn mark(&mut self, start: u64, finding: usize) {
        if let Some(map) = self.host.get_mut(start)
            && map.finding.is_none()
        {
            map.finding = Some(finding);
        } else {
            self.findings.end(finding, self.line);
        }
    }

    /// A map that adjoins the one before it, by the same cause, could have been a part of it.
    fn adjoin(&mut self, done: &Done, target: Target, shift: u8, call: Option<&Call>) {
        let cause = call.map_or(0, |call| call.line);
        let end = target.page.wrapping_add(done.last - done.start);
        let previous = self.counts.previous.replace((done.last, end, target.perm, cause));
        let Some((last, page, perm, before)) = previous else { return };
        let adjoins = last.checked_add(1) == Some(done.start) && page.wrapping_add(1) == target.page;
        if adjoins && perm == target.perm && cause == before {
            let mut news = self.news(FindingKind::MapsAdjoin, done, shift, call);
            news.saved = 1;
            // The run has one page more than calls to save.
            news.start = news.start.saturating_sub(1u64.checked_shl(u32::from(shift)).unwrap_or(1));
            news.example.now = Some(target.page | u64::from(target.perm.unwrap_or(0)));
            self.findings.add(&news);
        }
    }

    /// Something is mapped there already: harmless if it is the same, else the change is lost.
    fn resolve_exists(&mut self, done: &Done, wanted: Wanted, shift: u8, proof: Proof, call: Option<&Call>) {
        let (held_at, old, held_since) = done.old.unwrap_or((done.start, None, 0));
        let old = old.map(|old| Target { page: old.page.wrapping_add(done.start.wrapping_sub(held_at)), ..old });
        let kernel = self.host.get(held_at).map(|held| (held.kernel, held.physical));
        let mut news = self.news(FindingKind::StaleMapping, done, shift, call);
        news.errno = EXISTS;
        news.proof = proof;
        news.lasts = true;
        news.example.held_since = held_since;
        news.example.other = done.memory;
        if let Some((line, physical)) = kernel {
            news.example.kernel = line;
            news.example.host = physical;
        }
        let bits = |target: Target| target.page | u64::from(target.perm.unwrap_or(0));
        match (old, wanted) {
            (Some(old), Wanted::Page(new)) if old.page == new.page => {
                // QEMU maps everything readable.
                let write = |target: Target| target.perm.map(|perm| perm & 2);
                if write(old) == write(new) || write(old).is_none() || write(new).is_none() {
                    self.counts.repeated += 1;
                    return;
                }
                news.kind = FindingKind::WrongPermission;
                news.example.before = Some(bits(old));
                news.example.now = Some(bits(new));
            }
            (Some(old), Wanted::Page(new)) => {
                news.example.before = Some(bits(old));
                news.example.now = Some(bits(new));
            }
            _ => {
                news.kind = FindingKind::ChangeUnproved;
                news.example.before = old.map(bits);
                news.example.now = if let Wanted::Page(new) = wanted { Some(bits(new)) } else { None };
            }
        }
        if let Some(held) = self.host.get(held_at)
            && let Some(finding) = held.finding
            && self.findings.list().get(finding).is_some_and(|one| one.kind == news.kind)
        {
            // It was stale already: changed once more, and lost once more.
            self.findings.end(finding, done.line);
            if let Some(map) = self.host.get_mut(held_at) {
                map.finding = None;
            }
        }
        let at = self.findings.add(&news);
        self.mark(held_at, at);
    }

    fn resolve_refused(
        &mut self,
        done: &Done,
        wanted: Wanted,
        shift: u8,
        errno: i32,
        proof: Proof,
        call: Option<&Call>,
    ) {
        let kind = if errno == NOT_MEMORY { FindingKind::NotMemory } else { FindingKind::MappingMissing };
        let mut news = self.news(kind, done, shift, call);
        news.errno = errno;
        news.proof = proof;
        news.lasts = true;
        news.example.other = done.memory;
        if let Wanted::Page(target) = wanted {
            news.example.now = Some(target.page | u64::from(target.perm.unwrap_or(0)));
        }
        if errno == NO_SPACE {
            let held = done.held;
            self.limit.get_or_insert(held);
            let limit = News { kind: FindingKind::MappingLimit, window: u64::MAX, lasts: false, ..news.clone() };
            let at = self.findings.add(&limit);
            if let Some(one) = self.findings.get_mut(at) {
                one.measure = [held.max(one.measure.first().copied().unwrap_or(0)), 0, 0];
            }
        }
        self.end_missing(done.start, done.last, done.line);
        let at = self.findings.add(&news);
        self.missing.insert(done.start, Missing { last: done.last, finding: at });
    }

    /// Nothing is missing in a range any more.
    fn end_missing(&mut self, start: u64, last: u64, line: u64) {
        if self.missing.is_empty() {
            return;
        }
        while let Some((&at, missing)) = self.missing.range(..=last).next_back() {
            if missing.last < start {
                break;
            }
            let finding = missing.finding;
            self.missing.remove(&at);
            self.findings.end(finding, line);
        }
    }

    fn resolve_unmap(&mut self, done: &Done, call: Option<&Call>) {
        let (_, shift) = self.guest.wanted(&self.machine, done.start);
        self.end_missing(done.start, done.last, done.line);
        if done.origin == Origin::Entry && call.is_none() {
            // A domain went, and with it all of its page table.
            self.guest.hide(done.start, done.last);
        }
        match done.outcome {
            // Where the log does not show the region, it may have been mapped before the log began.
            Outcome::Gone { bytes: 0 } if done.origin == Origin::Entry && self.guest.region(done.start).is_some() => {
                let mut news = self.news(FindingKind::UnmapWithoutEffect, done, shift, call);
                news.saved = 1;
                self.findings.add(&news);
            }
            Outcome::Left { errno, proof } => {
                let held: Vec<(u64, HostMap)> =
                    self.host.within(done.start, done.last).map(|(at, map)| (at, *map)).collect();
                for (at, map) in held {
                    let mut news = self.news(FindingKind::LeftBehind, done, shift, call);
                    news.errno = errno;
                    news.proof = proof;
                    news.start = at;
                    news.last = map.last;
                    news.lasts = true;
                    news.example.iova = at;
                    news.example.host = map.physical;
                    news.example.held_since = map.line;
                    news.example.kernel = map.kernel;
                    news.example.before = map.target.map(|target| target.page | u64::from(target.perm.unwrap_or(0)));
                    let finding = self.findings.add(&news);
                    if let Some(map) = self.host.get_mut(at)
                        && let Some(before) = map.finding.replace(finding)
                    {
                        self.findings.end(before, done.line);
                    }
                }
            }
            _ => {}
        }
    }

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
        if self.guest.region(start).is_none() || self.missing.contains_key(&start) {
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
                if !changing && self.host.overlap(start, last).is_none() && !self.missing.contains_key(&start) {
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
