//! Follows replays: what QEMU tells a newcomer of what is mapped already, and what came of it.

use super::Doctor;
use super::finding::{Example, FindingKind, News, Proof, Ranges, Source};
use super::operation::{Done, EXISTS, Outcome};
use crate::trace::parser::{Record, Stamp};

/// The most hotplugs that are told apart.
const HOTPLUGS: usize = 1 << 12;
/// A window is worth a word if it has so many entries, of which one in so many is told at most.
const LARGE: u64 = 4096;
const SPARSE: u64 = 8;

/// What a log shows of one hotplug.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HotplugFacts {
    /// The line of its first `region_add_iommu`.
    pub first: u64,
    /// The last line of its replay.
    pub last: u64,
    /// The line where the container lost its last region; 0 if the log does not show that.
    pub unplug: u64,
    /// The windows: LIOBNs, or numbers of other regions.
    pub windows: Vec<u64>,
    /// Pages that QEMU told of.
    pub told: u64,
    /// Those that the host refused, or that QEMU left out.
    pub refused: u64,
    /// Entries that QEMU looked up, where the log has a line for each.
    pub walked: u64,
    /// Entries of the windows.
    pub entries: u64,
    /// From the first line to the last, in microseconds; 0 without timestamps.
    pub time: u64,
    /// The finding that tells of a replay that failed in part.
    incomplete: Option<usize>,
}

/// A replay that goes on.
#[derive(Debug)]
pub(super) struct Replay {
    first: u64,
    pub(super) last: u64,
    begin: Stamp,
    end: Stamp,
    told: u64,
    refused: u64,
    pub(super) walked: u64,
    /// The level of page table at which intel-iommu began its walk, and whether the next walk is part of this replay.
    level: u64,
    walks: bool,
    /// It is of a window that the guest made while the device was there: no hotplug.
    pub(super) window: bool,
    /// The log ends before it does, as far as one can see.
    pub(super) cut: bool,
    ranges: Ranges,
    windows: Vec<u64>,
}

impl Replay {
    /// QEMU told of a page.
    pub(super) fn told(&mut self, done: &Done) {
        self.told += 1;
        self.last = done.line;
        self.end = done.stamp;
        if matches!(done.outcome, Outcome::Refused { errno, .. } if errno != EXISTS) {
            self.refused += 1;
            self.ranges.insert(done.start, done.last);
        }
    }

    /// QEMU did not tell of a page.
    #[inline(never)]
    pub(super) fn lacks(&mut self, start: u64, last: u64) {
        self.refused += 1;
        self.ranges.insert(start, last);
    }
}

impl Doctor {
    /// A container gets a region: what follows is a replay to it.
    pub(super) fn begin_replay(&mut self, record: &Record<'_>) {
        if let Some(replay) = self.replay.as_mut() {
            replay.last = record.line;
            return;
        }
        if self.guest.regions.is_empty() {
            self.leave_container();
        }
        self.replay = Some(Replay {
            first: record.line,
            last: record.line,
            begin: record.stamp(),
            end: record.stamp(),
            told: 0,
            refused: 0,
            walked: 0,
            level: 0,
            walks: false,
            window: !self.guest.regions.is_empty(),
            cut: false,
            ranges: Ranges::default(),
            windows: Vec::new(),
        });
    }

    /// intel-iommu walks its page table for a newcomer.
    pub(super) fn replays_again(&mut self, record: &Record<'_>) {
        if let Some(replay) = self.replay.as_mut() {
            replay.last = record.line;
            replay.walks = true;
        }
    }

    /// intel-iommu walks a page table: another walk than that for the newcomer ends the replay.
    pub(super) fn walks(&mut self, record: &Record<'_>) {
        let [_, level, ..] = record.fields;
        let Some(replay) = self.replay.as_mut() else { return };
        if replay.walks {
            replay.level = level;
            replay.walks = false;
        } else if level >= replay.level {
            self.resolve_all();
            self.end_replay(None);
        }
    }

    /// The replay is over: what is missing now was not told. `except` are addresses that the next call changes.
    pub(super) fn end_replay(&mut self, except: Option<(u64, u64)>) {
        let Some(mut replay) = self.replay.take() else { return };
        replay.windows = self.guest.regions.iter().map(|region| region.id).collect();
        let liobns: Vec<u32> = self.guest.regions.iter().filter_map(|region| region.liobn).collect();
        let sizes = liobns.iter().filter_map(|liobn| self.machine.table(*liobn));
        let entries: u64 = sizes.map(|table| u64::from(table.geometry().entries)).sum();
        let (told, cut) = (replay.told, replay.cut);
        self.replay = Some(replay);
        if told > 0 && !cut {
            for liobn in &liobns {
                self.compare_region(*liobn, except);
            }
        }
        let Some(replay) = self.replay.take() else { return };
        self.counts.previous = None;
        if replay.window {
            return;
        }
        let times = replay.end.time().zip(replay.begin.time());
        let time = times.map_or(0, |(end, begin)| end.saturating_sub(begin));
        let mut facts = HotplugFacts {
            first: replay.first,
            last: replay.last.max(replay.first),
            unplug: 0,
            windows: replay.windows.clone(),
            told: replay.told,
            refused: replay.refused,
            walked: replay.walked,
            entries,
            time,
            incomplete: None,
        };
        if replay.refused > 0
            && let Some((start, last)) = replay.ranges.hull()
        {
            let at = self
                .findings
                .add(&News { lasts: true, ..self.of_replay(FindingKind::HotplugIncomplete, &facts, start, last) });
            facts.incomplete = Some(at);
            if let Some(one) = self.findings.get_mut(at) {
                one.ranges = replay.ranges.clone();
                one.pages = facts.refused;
                one.last = one.last.max(facts.last);
                one.measure = [one.measure[0] + facts.refused, one.measure[1] + facts.told, 0];
            }
        }
        if entries >= LARGE && facts.told.saturating_mul(SPARSE) <= entries && facts.time > 0 {
            let hull = self.guest.regions.iter().map(|region| (region.start, region.last));
            let (start, last) = hull.fold((u64::MAX, 0), |(low, high), (start, last)| (low.min(start), high.max(last)));
            let at = self.findings.add(&self.of_replay(FindingKind::ReplayEmpty, &facts, start, last));
            if let Some(one) = self.findings.get_mut(at) {
                one.last = one.last.max(facts.last);
                let [seen, told, spent] = one.measure;
                one.measure = [seen.saturating_add(entries), told + facts.told, spent.saturating_add(facts.time)];
                one.saved = one.saved.saturating_add(entries.saturating_sub(facts.told));
            }
        }
        if self.hotplugs.len() < HOTPLUGS {
            self.hotplugs.push(facts);
        }
    }

    #[inline(never)]
    fn of_replay(&self, kind: FindingKind, facts: &HotplugFacts, start: u64, last: u64) -> News {
        News {
            kind,
            errno: 0,
            window: u64::MAX,
            source: Source::Log,
            line: facts.first,
            start,
            last,
            page_shift: 12,
            replayed: true,
            saved: 0,
            example: Example { iova: start, ..Example::default() },
            call: None,
            proof: if self.kernel.given { Proof::Kernel } else { Proof::Log },
            hotplug: u32::try_from(self.hotplugs.len() + 1).unwrap_or(u32::MAX),
            lasts: false,
        }
    }

    /// The last region of all containers went.
    pub(super) fn unplugged(&mut self) {
        let line = self.line;
        if let Some(newest) = self.hotplugs.last_mut()
            && newest.unplug == 0
        {
            newest.unplug = line;
            if let Some(finding) = newest.incomplete.take() {
                self.findings.end(finding, line);
            }
        }
    }
}
