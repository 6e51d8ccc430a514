//! Runs that a walk found, many at a time.

use super::leaf::{LEAF_WORDS, Leaf};

/// The first entry of a mapped run, and how many there are, in one word. Both are stored and loaded at once, as the processor
/// waits where a load is of what several stores wrote.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place(u64);

impl Place {
    #[inline]
    pub(super) fn new(first: u32, pages: u32) -> Self {
        Self(u64::from(first) | u64::from(pages) << 32)
    }

    /// The same run with its end: the entry behind it.
    #[inline]
    pub(super) fn until(self, end: u64) -> Self {
        let first = u64::from(self.first());
        Self(first | (end - first) << 32)
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the other half is the pages")]
    pub(super) fn first(self) -> u32 {
        self.0 as u32
    }

    #[inline]
    pub(super) fn pages(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// Where runs of 64 entries begin and end.
#[derive(Clone, Copy, Debug)]
pub(super) struct WordRuns {
    pub(super) begins: u64,
    pub(super) ends: u64,
    /// Where the last one ends, if not in the word: a position in the leaf, or behind it.
    pub(super) end: u32,
}

impl WordRuns {
    pub(super) const NONE: Self = Self { begins: 0, ends: 0, end: 0 };

    /// Calls `visit` for each run, by its position in the leaf and the number of entries, until it returns `true`. The first of
    /// the 64 is at `base`.
    #[inline(always)]
    pub(super) fn any(&self, base: u32, mut visit: impl FnMut(u32, u32) -> bool) -> bool {
        let mut begins = self.begins;
        while begins != 0 {
            let bit = begins.trailing_zeros();
            begins &= begins - 1;
            let ends = self.ends & (!1 << bit);
            let end = if ends == 0 { self.end } else { base + ends.trailing_zeros() };
            if visit(base + bit, end - (base + bit)) {
                return true;
            }
        }
        false
    }
}

/// Runs that follow each other.
#[derive(Debug)]
pub(super) enum Batch<'a> {
    /// Where runs are, and the values of their first entries.
    Runs(&'a [Place], &'a [u64]),
    /// A run that ends in a leaf, and those that begin and end there; the number of the leaf's first entry.
    Leaf(Option<(Place, u64)>, u32, &'a [WordRuns; LEAF_WORDS], &'a Leaf),
    /// Each entry is a run of its own: the first one, and all values.
    Singles(u32, &'a [u64]),
    End,
}
