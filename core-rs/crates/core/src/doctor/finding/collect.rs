//! Puts together what belongs to one finding.

use super::{Call, Example, Finding, FindingKind, Proof, Ranges, Round, Source};

/// The most findings that are kept apart; others join the last of their kind.
const MOST: usize = 512;
/// The most findings of one kind that differ in nothing but where they are.
const APART: usize = 16;
/// The most rounds that one finding tells apart.
const ROUNDS: usize = 64;

/// What is new about a finding.
#[derive(Clone, Debug)]
pub(in crate::doctor) struct News {
    pub(in crate::doctor) kind: FindingKind,
    pub(in crate::doctor) errno: i32,
    pub(in crate::doctor) window: u64,
    pub(in crate::doctor) source: Source,
    pub(in crate::doctor) line: u64,
    pub(in crate::doctor) start: u64,
    pub(in crate::doctor) last: u64,
    pub(in crate::doctor) page_shift: u8,
    pub(in crate::doctor) replayed: bool,
    pub(in crate::doctor) saved: u64,
    pub(in crate::doctor) example: Example,
    pub(in crate::doctor) call: Option<Call>,
    pub(in crate::doctor) proof: Proof,
    pub(in crate::doctor) hotplug: u32,
    /// Whether it lasts until [`Findings::end`].
    pub(in crate::doctor) lasts: bool,
}

/// The findings so far.
#[derive(Debug, Default)]
pub(in crate::doctor) struct Findings {
    list: Vec<Finding>,
}

impl Findings {
    pub(in crate::doctor) fn list(&self) -> &[Finding] {
        &self.list
    }

    pub(in crate::doctor) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Finding> {
        self.list.iter_mut()
    }

    pub(in crate::doctor) fn get_mut(&mut self, index: usize) -> Option<&mut Finding> {
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
    pub(in crate::doctor) fn add(&mut self, news: &News) -> usize {
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
    #[inline(never)]
    pub(in crate::doctor) fn end(&mut self, index: usize, line: u64) {
        if let Some(one) = self.list.get_mut(index) {
            one.open = one.open.saturating_sub(1);
            one.last = one.last.max(line);
            if let Some(round) = one.rounds.last_mut() {
                round.last = round.last.max(line);
            }
        }
    }

    /// Everything that has not ended is so at the log's last line.
    pub(in crate::doctor) fn close(&mut self, line: u64) {
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
