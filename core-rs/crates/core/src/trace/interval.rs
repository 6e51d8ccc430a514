//! Sets of entries, kept as runs.

use core::cell::Cell;
use std::collections::BTreeMap;

/// A set of entries in which neighbours with equal tags are one run.
///
/// Runs are kept by their last entry: taking entries out in ascending order, as a log that shows a whole window does,
/// then costs one look-up each.
#[derive(Clone, Debug, Default)]
pub(super) struct IntervalSet {
    runs: BTreeMap<u32, Run>,
    entries: u64,
    marked: u64,
    /// The newest answer: a log looks at neighbours, most of the time.
    newest: Cell<Answer>,
}

/// What is known of entries `first..=last`: all in the set with one tag, or none of them. Nothing if `first > last`.
#[derive(Clone, Copy, Debug)]
struct Answer {
    first: u32,
    last: u32,
    tag: Option<u32>,
}

impl Default for Answer {
    fn default() -> Self {
        Self { first: 1, last: 0, tag: None }
    }
}

impl PartialEq for IntervalSet {
    fn eq(&self, other: &Self) -> bool {
        self.runs == other.runs
    }
}

impl Eq for IntervalSet {}

/// The tag of entries that [`IntervalSet::marked`] counts.
pub(super) const MARKED: u32 = 1;

/// One run; its last entry is its key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Run {
    pub(super) first: u32,
    pub(super) tag: u32,
}

/// How many entries a run has.
fn length(first: u32, last: u32) -> u64 {
    u64::from(last) - u64::from(first) + 1
}

impl IntervalSet {
    /// How many entries are in the set.
    pub(super) fn entries(&self) -> u64 {
        self.entries
    }

    /// How many runs there are.
    pub(super) fn runs(&self) -> usize {
        self.runs.len()
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// How many entries have the tag [`MARKED`].
    #[inline]
    pub(super) fn marked(&self) -> u64 {
        self.marked
    }

    /// The tag of an entry; `None` if it is not in the set.
    #[inline]
    pub(super) fn get(&self, index: u32) -> Option<u32> {
        if self.is_empty() {
            return None;
        }
        let newest = self.newest.get();
        if newest.first <= index && index <= newest.last {
            return newest.tag;
        }
        let answer = match self.runs.range(index..).next() {
            None => Answer { first: index, last: u32::MAX, tag: None },
            Some((last, run)) if run.first <= index => Answer { first: run.first, last: *last, tag: Some(run.tag) },
            Some((_, run)) => Answer { first: index, last: run.first - 1, tag: None },
        };
        self.newest.set(answer);
        answer.tag
    }

    /// The first run with an entry at or after `from`, with its last entry.
    pub(super) fn next(&self, from: u32) -> Option<(Run, u32)> {
        self.runs.range(from..).next().map(|(last, run)| (*run, *last))
    }

    /// How many of the entries `first..=last` are in the set.
    pub(super) fn count(&self, first: u32, last: u32) -> u64 {
        let mut sum = 0;
        for (end, run) in self.runs.range(first..) {
            if run.first > last {
                break;
            }
            sum += length(run.first.max(first), last.min(*end));
        }
        sum
    }

    /// Takes entries out.
    #[inline]
    pub(super) fn remove(&mut self, first: u32, last: u32) {
        if self.is_empty() || first > last {
            return;
        }
        let newest = self.newest.get();
        if newest.tag.is_none() && newest.first <= first && last <= newest.last {
            return;
        }
        if self.remove_some(first, last) {
            self.newest.set(Answer { first, last, tag: None });
        }
    }

    /// Returns whether there were any.
    fn remove_some(&mut self, first: u32, last: u32) -> bool {
        let entries = self.entries;
        while let Some((&end, run)) = self.runs.range_mut(first..).next() {
            let Run { first: start, tag } = *run;
            if start > last {
                break;
            }
            let removed = length(start.max(first), last.min(end));
            self.entries -= removed;
            self.marked -= if tag == MARKED { removed } else { 0 };
            if end > last {
                run.first = last + 1;
            } else {
                self.runs.remove(&end);
            }
            if start < first {
                self.runs.insert(first - 1, Run { first: start, tag });
            }
            if end >= last {
                // Nothing behind it can be meant.
                break;
            }
        }
        self.entries != entries
    }

    /// Puts entries in; those that are in the set already get the new tag.
    pub(super) fn insert(&mut self, first: u32, last: u32, tag: u32) {
        if first > last {
            return;
        }
        self.remove(first, last);
        self.entries += length(first, last);
        self.marked += if tag == MARKED { length(first, last) } else { 0 };
        let (mut start, mut end) = (first, last);
        if let Some(before) = first.checked_sub(1)
            && let Some(run) = self.runs.get(&before).copied()
            && run.tag == tag
        {
            self.runs.remove(&before);
            start = run.first;
        }
        if let Some(after) = last.checked_add(1)
            && let Some((&next_end, run)) = self.runs.range(after..).next()
            && run.first == after
            && run.tag == tag
        {
            self.runs.remove(&next_end);
            end = next_end;
        }
        self.runs.insert(end, Run { first: start, tag });
        self.newest.set(Answer { first: start, last: end, tag: Some(tag) });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SPACE: u32 = 40;

    fn same(set: &IntervalSet, plain: &[Option<u32>]) {
        for (index, tag) in (0..).zip(plain) {
            assert_eq!(set.get(index), *tag, "entry {index}");
        }
        let expected = plain.iter().flatten().count() as u64;
        assert_eq!(set.entries(), expected);
        assert_eq!(set.count(0, SPACE), expected);
        assert_eq!(set.marked(), plain.iter().filter(|tag| **tag == Some(MARKED)).count() as u64);
        assert_eq!(set.count(3, 17), plain[3..=17].iter().flatten().count() as u64);
        // Neighbours with equal tags are one run.
        let runs = (0..plain.len()).filter(|at| plain[*at].is_some() && (*at == 0 || plain[at - 1] != plain[*at]));
        assert_eq!(set.runs(), runs.count());
        let next = (5..).zip(&plain[5..]).find(|(_, tag)| tag.is_some()).map(|(at, _)| at);
        assert_eq!(set.next(5).map(|(run, _)| run.first.max(5)), next);
    }

    proptest! {
        #[test]
        fn a_set_holds_what_a_plain_array_holds(
            steps in prop::collection::vec((0..SPACE, 0..12u32, prop::option::of(0..2u32)), 1..40)
        ) {
            let (mut set, mut plain) = (IntervalSet::default(), [None; SPACE as usize]);
            for (first, more, tag) in steps {
                let last = (first + more).min(SPACE - 1);
                match tag {
                    Some(tag) => set.insert(first, last, tag),
                    None => set.remove(first, last),
                }
                plain[first as usize..=last as usize].fill(tag);
                same(&set, &plain);
            }
        }
    }

    #[test]
    fn a_set_reaches_the_last_of_all_entries() {
        let mut set = IntervalSet::default();
        set.insert(0, u32::MAX, 0);
        assert_eq!((set.entries(), set.runs()), (1 << 32, 1));
        set.remove(u32::MAX, u32::MAX);
        set.remove(0, 0);
        assert_eq!((set.entries(), set.get(0), set.get(1), set.get(u32::MAX)), ((1 << 32) - 2, None, Some(0), None));
        set.insert(u32::MAX, u32::MAX, 0);
        assert_eq!(set.runs(), 1);
    }
}
