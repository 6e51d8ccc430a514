//! Follows the VFIO hotplugs of a log: when one begins, what QEMU replays to the newcomer, when live changes begin.

use crate::address::IovaRange;

/// The most runs of notify lines that are kept of one replay; more are counted only.
const RUNS_MAX: usize = 1 << 20;
/// The most regions that containers may hold at a time, and the most hotplugs that are told apart.
const REGIONS_MAX: usize = 1 << 12;

/// What QEMU replayed at a hotplug, beside what the input tells of the tables then. In pages of the tables.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[non_exhaustive]
pub struct Comparison {
    /// Pages that QEMU told the newcomer of.
    pub replayed: u64,
    /// Those that are known to be mapped.
    pub agreed: u64,
    /// Those that are known not to be mapped.
    pub missing: u64,
    /// Pages that are known to be mapped, which QEMU did not tell of.
    pub extra: u64,
    /// Pages that QEMU told of and whose entries are unknown.
    pub unknown: u64,
}

/// Where the container of a hotplug went.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub struct Unplug {
    /// The line of its first `region_del_iommu`.
    pub line: u64,
    /// Events of the log before that line.
    pub events: u64,
}

/// One hotplug of a VFIO device, as the log shows it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub struct Hotplug {
    /// The line of its first `region_add_iommu`.
    pub line: u64,
    /// The tables that the container got.
    pub liobns: Vec<u32>,
    /// What QEMU replayed; there once the replay has ended.
    pub comparison: Option<Comparison>,
    /// Where it ended, if the log shows that.
    pub unplug: Option<Unplug>,
}

impl Hotplug {
    /// Whether a table is of the bridge that the device was plugged onto.
    fn is_on_bridge_of(&self, liobn: u32) -> bool {
        self.liobns.first().is_some_and(|first| first & !0xff == liobn & !0xff)
    }
}

/// Notify lines that follow each other without a gap.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Notified {
    map: bool,
    first: u64,
    /// Bytes of each line's range, less one.
    more: u64,
    lines: u64,
}

impl Notified {
    /// Where the range of the newest line begins.
    #[inline(never)]
    fn newest(&self) -> Option<u64> {
        if self.lines == 1 {
            return Some(self.first);
        }
        let step = self.more.checked_add(1)?;
        self.first.checked_add(self.lines.checked_sub(1)?.checked_mul(step)?)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// No container.
    Idle,
    /// QEMU replays to the newcomer, or has done so and no guest call came since.
    Replaying,
    /// Guest calls change what the container holds.
    Live,
}

/// The guest call that ends a replay: the notify lines just before it are its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct LiveCall {
    pub(crate) liobn: u32,
    pub(crate) range: IovaRange,
    pub(crate) pages: u64,
}

/// Follows the hotplugs of one log.
#[derive(Debug)]
pub(super) struct Tracker {
    phase: Phase,
    /// The tables whose regions containers hold now; one that two containers hold stands here twice.
    regions: Vec<u32>,
    /// Those that had a `region_del_iommu` whose reason the log has not shown yet.
    going: Vec<u32>,
    going_since: Unplug,
    notified: Vec<Notified>,
    hotplugs: Vec<Hotplug>,
}

impl Tracker {
    pub(super) fn new() -> Self {
        Self {
            phase: Phase::Idle,
            regions: Vec::new(),
            going: Vec::new(),
            going_since: Unplug { line: 0, events: 0 },
            notified: Vec::new(),
            hotplugs: Vec::new(),
        }
    }

    pub(super) fn hotplugs(&self) -> &[Hotplug] {
        &self.hotplugs
    }

    /// Whether lines mean more than they say now.
    #[inline]
    pub(super) fn is_alert(&self) -> bool {
        self.phase == Phase::Replaying || !self.going.is_empty()
    }

    pub(super) fn is_replaying(&self) -> bool {
        self.phase == Phase::Replaying
    }

    /// A container got a table's region.
    pub(super) fn region_add(&mut self, liobn: u32, line: u64) {
        if self.regions.len() >= REGIONS_MAX || self.hotplugs.len() >= REGIONS_MAX {
            return;
        }
        // A container whose windows were all removed is still there.
        if self.phase == Phase::Idle {
            self.phase = Phase::Replaying;
            self.notified.clear();
            self.hotplugs.push(Hotplug { line, liobns: vec![liobn], comparison: None, unplug: None });
        } else if self.phase == Phase::Replaying
            && let Some(hotplug) = self.hotplugs.last_mut()
            && !hotplug.liobns.contains(&liobn)
        {
            hotplug.liobns.push(liobn);
        }
        self.regions.push(liobn);
    }

    /// A container lost a table's region: because it goes, or because the window does.
    pub(super) fn region_del(&mut self, liobn: u32, since: Unplug) {
        let held = |list: &[u32]| list.iter().filter(|other| **other == liobn).count();
        if held(&self.regions) <= held(&self.going) {
            return;
        }
        if self.going.is_empty() {
            self.going_since = since;
        }
        self.going.push(liobn);
    }

    /// The window of a region that went was removed: the container stays.
    pub(super) fn window_removed(&mut self, liobn: u32) {
        self.going.retain(|other| *other != liobn);
        self.regions.retain(|other| *other != liobn);
    }

    /// The log shows what followed the regions that went. Returns whether the container went with them.
    pub(super) fn decide(&mut self) -> bool {
        if self.going.is_empty() {
            return false;
        }
        for gone in core::mem::take(&mut self.going) {
            if let Some(at) = self.regions.iter().position(|liobn| *liobn == gone) {
                self.regions.swap_remove(at);
            }
        }
        if self.phase == Phase::Idle {
            return false;
        }
        if self.regions.is_empty() {
            self.phase = Phase::Idle;
        }
        // Another bridge's container may stay: that is no business of this hotplug.
        let Some(hotplug) = self.hotplugs.last_mut() else { return false };
        if hotplug.unplug.is_some() || self.regions.iter().any(|liobn| hotplug.is_on_bridge_of(*liobn)) {
            return false;
        }
        hotplug.unplug = Some(self.going_since);
        true
    }

    /// VFIO was told of a range.
    pub(super) fn notify(&mut self, map: bool, start: u64, last: u64) {
        let Some(more) = last.checked_sub(start) else { return };
        if let Some(run) = self.notified.last_mut()
            && run.map == map
            && run.more == more
            && run.newest().and_then(|newest| newest.checked_add(more)?.checked_add(1)) == Some(start)
        {
            run.lines += 1;
        } else if self.notified.len() < RUNS_MAX {
            self.notified.push(Notified { map, first: start, more, lines: 1 });
        }
    }

    /// Ends the replay and returns the ranges that QEMU replayed: what the notify lines say, without those of `call`.
    pub(super) fn end_replay(&mut self, call: Option<LiveCall>) -> Vec<IovaRange> {
        self.phase = Phase::Live;
        if let Some(call) = call {
            self.drop_live(call);
        }
        let runs = core::mem::take(&mut self.notified);
        let range = |run: &Notified| {
            let last = run.newest()?.checked_add(run.more)?;
            IovaRange::new(crate::address::Iova(run.first), crate::address::Iova(last))
        };
        runs.iter().filter(|run| run.map).filter_map(range).collect()
    }

    /// Takes the notify lines of a live call from the end: QEMU prints them, in ascending order, before the call.
    fn drop_live(&mut self, call: LiveCall) {
        let containers = self.regions.iter().filter(|liobn| **liobn == call.liobn).count() as u64;
        let mut left = call.pages.saturating_mul(containers);
        let mut lowest = None;
        while let Some(run) = self.notified.last_mut()
            && left > 0
            && let Some(start) = run.newest()
        {
            let inside = call.range.contains(crate::address::Iova(start))
                && start.checked_add(run.more).is_some_and(|last| last <= call.range.last().0);
            let descends = lowest.is_none_or(|lowest| start < lowest || (start == lowest && containers > 1));
            if !inside || !descends {
                return;
            }
            lowest = Some(start);
            left -= 1;
            run.lines -= 1;
            if run.lines == 0 {
                self.notified.pop();
            }
        }
    }

    /// Keeps what was found at the end of the replay.
    pub(super) fn compared(&mut self, comparison: Comparison) {
        if let Some(hotplug) = self.hotplugs.last_mut() {
            hotplug.comparison = Some(comparison);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Iova;

    fn call(start: u64, pages: u64) -> Option<LiveCall> {
        let range = IovaRange::new(Iova(start), Iova(start + pages * 0x1000 - 1)).unwrap();
        Some(LiveCall { liobn: 1, range, pages })
    }

    fn replayed(notified: &[(bool, u64)], call: Option<LiveCall>, containers: usize) -> Vec<(u64, u64)> {
        let mut tracker = Tracker::new();
        for _ in 0..containers {
            tracker.region_add(1, 7);
        }
        for (map, start) in notified {
            tracker.notify(*map, *start, start + 0xfff);
        }
        let ranges = tracker.end_replay(call);
        ranges.iter().map(|range| (range.start().0, range.length_minus_1() / 0x1000 + 1)).collect()
    }

    #[test]
    fn notify_lines_before_the_call_that_covers_them_are_live() {
        let lines = [(true, 0x1000), (true, 0x2000), (true, 0x5000), (true, 0x6000)];
        assert_eq!(replayed(&lines, call(0x6000, 1), 1), [(0x1000, 2), (0x5000, 1)]);
        assert_eq!(replayed(&lines, call(0x5000, 2), 1), [(0x1000, 2)]);
        assert_eq!(replayed(&lines, call(0x9000, 2), 1), [(0x1000, 2), (0x5000, 2)]);
        assert_eq!(replayed(&lines, None, 1), [(0x1000, 2), (0x5000, 2)]);
    }

    #[test]
    fn a_page_that_was_replayed_and_then_changed_in_place_was_replayed() {
        let lines = [(true, 0x1000), (true, 0x2000), (true, 0x2000)];
        assert_eq!(replayed(&lines, call(0x2000, 1), 1), [(0x1000, 2)]);
        // A call of four pages prints each once.
        let lines = [(true, 0x1000), (true, 0x2000), (true, 0x1000), (true, 0x2000)];
        assert_eq!(replayed(&lines, call(0x1000, 4), 1), [(0x1000, 2)]);
    }

    #[test]
    fn unmap_lines_are_never_replay() {
        let lines = [(true, 0x1000), (false, 0x1000), (false, 0x2000)];
        assert_eq!(replayed(&lines, call(0x1000, 2), 1), [(0x1000, 1)]);
        assert_eq!(replayed(&lines, None, 1), [(0x1000, 1)]);
    }

    #[test]
    fn each_container_is_told_of_a_live_call() {
        let lines = [(true, 0x1000), (true, 0x1000), (true, 0x2000), (true, 0x2000)];
        assert_eq!(replayed(&lines, call(0x2000, 1), 2), [(0x1000, 1), (0x1000, 1)]);
    }

    #[test]
    fn a_window_that_is_removed_does_not_unplug() {
        let since = Unplug { line: 9, events: 8 };
        let mut tracker = Tracker::new();
        tracker.region_add(1, 1);
        tracker.region_add(2, 2);
        tracker.end_replay(None);
        tracker.region_del(2, since);
        tracker.window_removed(2);
        assert!(!tracker.decide() && !tracker.is_alert());
        tracker.region_del(2, since);
        assert!(!tracker.decide());
        tracker.region_del(1, since);
        assert!(tracker.decide());
        assert_eq!(tracker.hotplugs()[0].unplug, Some(since));
        assert_eq!(tracker.hotplugs()[0].liobns, [1, 2]);
        tracker.region_add(1, 20);
        assert!(tracker.is_replaying() && tracker.hotplugs().len() == 2);
    }
}
