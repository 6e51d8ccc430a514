//! Ranges of bus addresses.

/// Ranges of bus addresses, joined where they adjoin.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Ranges {
    /// First and last address, ascending. They are few: a list is as good as a tree.
    runs: Vec<(u64, u64)>,
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
        while let Some((from, to)) = self.before(last).filter(|(_, to)| to.saturating_add(1) >= start) {
            self.take(from);
            (start, last) = (start.min(from), last.max(to));
        }
        if self.runs.len() >= Self::MOST {
            self.cut = true;
            // The last run takes in what cannot be kept apart.
            if let Some((from, to)) = self.runs.last().copied() {
                self.take(from);
                (start, last) = (start.min(from), last.max(to));
            }
        }
        let at = self.runs.partition_point(|(from, _)| *from < start);
        self.runs.insert(at, (start, last));
        self.bytes = self.bytes.saturating_add((last - start).saturating_add(1));
        self.bytes.saturating_sub(before)
    }

    /// The last run that a range which ends there can adjoin.
    fn before(&self, last: u64) -> Option<(u64, u64)> {
        let end = self.runs.partition_point(|(from, _)| *from <= last.saturating_add(1));
        self.runs.get(end.checked_sub(1)?).copied()
    }

    fn take(&mut self, start: u64) {
        if let Ok(at) = self.runs.binary_search_by_key(&start, |(from, _)| *from) {
            let (start, last) = self.runs.remove(at);
            self.bytes = self.bytes.saturating_sub((last - start).saturating_add(1));
        }
    }

    /// The first address of all and the last.
    #[must_use]
    pub fn hull(&self) -> Option<(u64, u64)> {
        let ((start, _), (_, last)) = (self.runs.first()?, self.runs.last()?);
        Some((*start, *last))
    }

    /// The runs in ascending order.
    pub fn runs(&self) -> impl Iterator<Item = (u64, u64)> {
        self.runs.iter().copied()
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
        self.before(last).is_some_and(|(_, to)| to.saturating_add(1) >= start)
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
