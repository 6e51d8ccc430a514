//! What a doctor finds: findings of one kind and one cause, together with where and when.

use std::collections::BTreeMap;

use crate::trace::kind::Kind;

/// The kinds of finding. Their numbers are what façades know them by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum FindingKind {
    /// An entry was changed in place, and the host still has the old page.
    StaleMapping,
    /// The host maps the right page with another permission than the guest's.
    WrongPermission,
    /// The guest has a page mapped, and the host does not.
    MappingMissing,
    /// The host holds what was to be unmapped.
    LeftBehind,
    /// The host holds what nobody told it to map.
    Unexplained,
    /// Two bus addresses that go to one page of the guest go to two pages of the host.
    WrongTarget,
    /// A replay to a newcomer failed in part, and the hotplug went on.
    HotplugIncomplete,
    /// The host holds as many mappings as it may.
    MappingLimit,
    /// It holds nearly as many.
    LimitNear,
    /// A device was refused an address that the guest has mapped.
    FaultMapped,
    /// A device was refused an address that nobody mapped.
    FaultUnmapped,
    /// A map was refused since something is mapped there, and the log does not tell whether it is the same.
    ChangeUnproved,
    /// An entry points to what is no memory.
    NotMemory,
    /// QEMU told of a failure that no line of its log explains.
    FailureUnmatched,
    /// A device may read what the guest lets it write only.
    PermissionWidened,
    /// Nothing was there to unmap.
    UnmapWithoutEffect,
    /// Maps that adjoin, which one call could have made.
    MapsAdjoin,
    /// A replay walked a window that is nearly empty.
    ReplayEmpty,
    /// No map of a window succeeded: it lies where the host translates nothing.
    WindowOutside,
    /// The host's pages are larger than the guest's.
    PageTooFine,
}

/// What a finding rests on, weakest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Proof {
    /// The kernel's rules, applied to the calls that QEMU made.
    Derived,
    /// QEMU's own log.
    Log,
    /// What QEMU printed.
    Stderr,
    /// The kernel's log.
    Kernel,
}

/// The log that a line number is of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Source {
    /// QEMU's log.
    Log,
    /// The kernel's log.
    Kernel,
    /// QEMU's standard error.
    Stderr,
}

/// The line that made QEMU act: a guest's call, or what a walk of its page table found.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Call {
    /// What kind of event.
    pub kind: Kind,
    /// Its line.
    pub line: u64,
    /// Its numbers.
    pub fields: [u64; 8],
}

/// Ranges of bus addresses, joined where they adjoin.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Ranges {
    runs: BTreeMap<u64, u64>,
    bytes: u64,
    /// Not all of them are kept.
    cut: bool,
}

impl Ranges {
    /// The most runs that are kept.
    const MOST: usize = 4096;

    /// Adds a range, both ends included; returns how many addresses are new.
    pub fn insert(&mut self, start: u64, last: u64) -> u64 {
        let before = self.bytes;
        let (mut start, mut last) = (start, last);
        while let Some((&from, &to)) = self.runs.range(..=last.saturating_add(1)).next_back() {
            if to.saturating_add(1) < start {
                break;
            }
            self.take(from);
            start = start.min(from);
            last = last.max(to);
        }
        if self.runs.len() >= Self::MOST {
            self.cut = true;
            // The last run takes in what cannot be kept apart.
            if let Some((&from, &to)) = self.runs.last_key_value() {
                self.take(from);
                start = start.min(from);
                last = last.max(to);
            }
        }
        self.runs.insert(start, last);
        self.bytes = self.bytes.saturating_add((last - start).saturating_add(1));
        self.bytes.saturating_sub(before)
    }

    fn take(&mut self, start: u64) {
        if let Some(last) = self.runs.remove(&start) {
            self.bytes = self.bytes.saturating_sub((last - start).saturating_add(1));
        }
    }

    /// The first address of all and the last.
    #[must_use]
    pub fn hull(&self) -> Option<(u64, u64)> {
        let (start, _) = self.runs.first_key_value()?;
        let (_, last) = self.runs.last_key_value()?;
        Some((*start, *last))
    }

    /// The runs in ascending order.
    pub fn runs(&self) -> impl Iterator<Item = (u64, u64)> {
        self.runs.iter().map(|(start, last)| (*start, *last))
    }

    /// How many runs there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.runs.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Whether some ranges could not be kept apart from others.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.cut
    }

    fn adjoins(&self, start: u64, last: u64) -> bool {
        self.runs.range(..=last.saturating_add(1)).next_back().is_some_and(|(_, to)| to.saturating_add(1) >= start)
    }
}

/// One stretch of a finding: between a hotplug and an unplug.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Round {
    /// The number of the hotplug, from 1; 0 before the first.
    pub hotplug: u32,
    /// The line where it begins.
    pub first: u64,
    /// The last line where it was so.
    pub last: u64,
    /// How many operations.
    pub count: u64,
    /// How many host calls could have been saved.
    pub saved: u64,
}

/// What of a finding is shown by one page: the first.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Example {
    /// The bus address.
    pub iova: u64,
    /// What the guest's entry said before, or the other bus address of [`FindingKind::WrongTarget`].
    pub before: Option<u64>,
    /// What it says now: page and permission.
    pub now: Option<u64>,
    /// Where the host goes.
    pub host: Option<u64>,
    /// Where the host goes at the other bus address, or where QEMU has the memory.
    pub other: Option<u64>,
    /// The line that mapped what is there.
    pub held_since: u64,
    /// The kernel's line.
    pub kernel: u64,
    /// The line on standard error.
    pub stderr: u64,
}

/// All that is told of one finding.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// What it is.
    pub kind: FindingKind,
    /// The error number with which the host refused, positive; 0 where it is not known, -1 where QEMU did not ask.
    pub errno: i32,
    /// The LIOBN of the window, or a number that stands for another region; all ones for none.
    pub window: u64,
    /// The log that `first` and `last` are lines of.
    pub source: Source,
    /// The line where it begins.
    pub first: u64,
    /// The last line where it was so.
    pub last: u64,
    /// Operations whose finding has not ended.
    pub open: u64,
    /// Operations.
    pub count: u64,
    /// Those of them that were part of a replay.
    pub replayed: u64,
    /// Host calls that could have been saved.
    pub saved: u64,
    /// Pages, each counted once.
    pub pages: u64,
    /// Where.
    pub ranges: Ranges,
    /// Pages as a power of two.
    pub page_shift: u8,
    /// The first page.
    pub example: Example,
    /// The line that caused the first.
    pub call: Option<Call>,
    /// Lines that caused some of it.
    pub calls: u64,
    newest_call: u64,
    /// What it rests on.
    pub proof: Proof,
    /// By hotplugs.
    pub rounds: Vec<Round>,
    /// Something to count that is particular to the kind: mappings at the limit, entries walked, microseconds.
    pub measure: [u64; 3],
}

/// The most findings that are kept apart; others join the last of their kind.
const MOST: usize = 512;
/// The most findings of one kind that differ in nothing but where they are.
const APART: usize = 16;
/// The most rounds that one finding tells apart.
const ROUNDS: usize = 64;

/// What is new about a finding.
#[derive(Clone, Debug)]
pub(super) struct News {
    pub(super) kind: FindingKind,
    pub(super) errno: i32,
    pub(super) window: u64,
    pub(super) source: Source,
    pub(super) line: u64,
    pub(super) start: u64,
    pub(super) last: u64,
    pub(super) page_shift: u8,
    pub(super) replayed: bool,
    pub(super) saved: u64,
    pub(super) example: Example,
    pub(super) call: Option<Call>,
    pub(super) proof: Proof,
    pub(super) hotplug: u32,
    /// Whether it lasts until [`Findings::end`].
    pub(super) lasts: bool,
}

/// The findings so far.
#[derive(Debug, Default)]
pub(super) struct Findings {
    list: Vec<Finding>,
}

impl Findings {
    pub(super) fn list(&self) -> &[Finding] {
        &self.list
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Finding> {
        self.list.iter_mut()
    }

    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut Finding> {
        self.list.get_mut(index)
    }

    /// The finding that something new belongs to: the same kind and cause, and for some kinds the same place.
    fn place(&self, news: &News) -> Option<usize> {
        let same = |one: &Finding| one.kind == news.kind && one.window == news.window && one.source == news.source;
        let whole = |one: &Finding| same(one) && one.errno == news.errno;
        let near = |one: &Finding| one.ranges.adjoins(news.start, news.last);
        if is_local(news.kind) {
            if let Some(at) = self.list.iter().position(|one| whole(one) && near(one)) {
                return Some(at);
            }
            let alike = self.list.iter().filter(|one| whole(one)).count();
            return (alike >= APART).then(|| self.list.iter().rposition(whole)).flatten();
        }
        let found = self.list.iter().position(whole);
        if found.is_none() && self.list.len() >= MOST {
            return self.list.iter().rposition(|one| one.kind == news.kind);
        }
        found
    }

    /// Adds something; returns the number of its finding.
    pub(super) fn add(&mut self, news: &News) -> usize {
        let at = self.place(news).unwrap_or_else(|| {
            self.list.push(Finding {
                kind: news.kind,
                errno: news.errno,
                window: news.window,
                source: news.source,
                first: news.line,
                last: news.line,
                open: 0,
                count: 0,
                replayed: 0,
                saved: 0,
                pages: 0,
                ranges: Ranges::default(),
                page_shift: news.page_shift,
                example: news.example,
                call: news.call,
                calls: 0,
                newest_call: 0,
                proof: news.proof,
                rounds: Vec::new(),
                measure: [0; 3],
            });
            self.list.len() - 1
        });
        if let Some(one) = self.list.get_mut(at) {
            one.first = one.first.min(news.line);
            one.last = one.last.max(news.line);
            one.open += u64::from(news.lasts);
            one.count += 1;
            one.replayed += u64::from(news.replayed);
            one.saved += news.saved;
            let new = one.ranges.insert(news.start, news.last);
            let page = 1u64.checked_shl(u32::from(news.page_shift)).unwrap_or(u64::MAX);
            one.pages = one.pages.saturating_add(new.div_ceil(page));
            one.page_shift = one.page_shift.min(news.page_shift);
            one.proof = one.proof.max(news.proof);
            if let Some(call) = news.call
                && one.newest_call != call.line
            {
                one.calls += 1;
                one.newest_call = call.line;
                one.call = one.call.or(Some(call));
            }
            let round = Round { hotplug: news.hotplug, first: news.line, last: news.line, count: 1, saved: news.saved };
            let full = one.rounds.len() >= ROUNDS;
            match one.rounds.last_mut() {
                Some(newest) if newest.hotplug == news.hotplug || full => {
                    newest.last = newest.last.max(news.line);
                    newest.count += 1;
                    newest.saved += news.saved;
                }
                _ => one.rounds.push(round),
            }
        }
        at
    }

    /// A part of a finding that lasted until now ended with a line.
    pub(super) fn end(&mut self, index: usize, line: u64) {
        if let Some(one) = self.list.get_mut(index) {
            one.open = one.open.saturating_sub(1);
            one.last = one.last.max(line);
            if let Some(round) = one.rounds.last_mut() {
                round.last = round.last.max(line);
            }
        }
    }

    /// Everything that has not ended is so at the log's last line.
    pub(super) fn close(&mut self, line: u64) {
        for one in self.list.iter_mut().filter(|one| one.open > 0 && one.source == Source::Log) {
            one.last = one.last.max(line);
            if let Some(round) = one.rounds.last_mut() {
                round.last = round.last.max(line);
            }
        }
    }
}

/// Whether findings of a kind that lie apart are told apart.
fn is_local(kind: FindingKind) -> bool {
    matches!(
        kind,
        FindingKind::StaleMapping
            | FindingKind::WrongPermission
            | FindingKind::LeftBehind
            | FindingKind::Unexplained
            | FindingKind::WrongTarget
            | FindingKind::FaultMapped
            | FindingKind::FaultUnmapped
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_join_where_they_adjoin() {
        let mut ranges = Ranges::default();
        for (start, last) in [(0x3000, 0x3fff), (0x1000, 0x1fff), (0x2000, 0x2fff), (0x8000, 0x8fff), (0x3800, 0x47ff)]
        {
            ranges.insert(start, last);
        }
        assert_eq!(ranges.runs().collect::<Vec<_>>(), [(0x1000, 0x47ff), (0x8000, 0x8fff)]);
        assert_eq!((ranges.hull(), ranges.is_cut()), (Some((0x1000, 0x8fff)), false));
        ranges.insert(0, u64::MAX);
        assert_eq!(ranges.runs().collect::<Vec<_>>(), [(0, u64::MAX)]);
    }

    #[test]
    fn ranges_stay_bounded() {
        let mut ranges = Ranges::default();
        for page in 0..20_000u64 {
            ranges.insert(page * 0x2000, page * 0x2000 + 0xfff);
        }
        assert!(ranges.len() <= Ranges::MOST);
        assert_eq!((ranges.hull(), ranges.is_cut()), (Some((0, 19_999 * 0x2000 + 0xfff)), true));
    }
}
