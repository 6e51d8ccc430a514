//! Ranges of bus addresses.

use std::collections::BTreeMap;

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

    pub(super) fn adjoins(&self, start: u64, last: u64) -> bool {
        self.runs.range(..=last.saturating_add(1)).next_back().is_some_and(|(_, to)| to.saturating_add(1) >= start)
    }
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
