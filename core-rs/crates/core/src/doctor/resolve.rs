//! Says what operations mean, once the line that caused them is known.

use super::finding::{Call, Example, FindingKind, News, Proof, Source};
use super::guest::Wanted;
use super::host::{Origin, Target};
use super::operation::{Done, EXISTS, NOT_MEMORY, Outcome};
use super::{Doctor, Missing};

/// ENOSPC: the driver's limit of mappings.
const NO_SPACE: i32 = 28;
/// Mappings that a type 1 container may have unless `dma_entry_limit` says otherwise (Linux, drivers/vfio/vfio_iommu_type1.c).
const LIMIT: usize = 65_535;

impl Doctor {
    /// Operations whose line of cause never came: a replay, or memory.
    #[inline(never)]
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

    #[inline(never)]
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
    #[inline(never)]
    pub(super) fn hotplug(&self) -> u32 {
        let count = self.hotplugs.len() + usize::from(self.replay.as_ref().is_some_and(|replay| !replay.window));
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
    #[inline(never)]
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
    #[inline(never)]
    fn end_missing(&mut self, start: u64, last: u64, line: u64) {
        if self.missing.is_empty() {
            return;
        }
        while let Some((at, missing)) = self.missing.upto(last) {
            if missing.last < start {
                break;
            }
            let finding = missing.finding;
            self.missing.remove(at);
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
                for (at, map) in self.host.held(done.start, done.last) {
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
}
