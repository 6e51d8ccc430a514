//! Walks over the mapped runs of a table, a batch at a time.

use super::TceTable;
use super::batch::{Batch, Place, WordRuns};
use super::block::{BLOCK_MASK, BLOCK_SHIFT, Block};
use super::entry::Entries;
use super::leaf::{LEAF_SHIFT, LEAF_WORDS};
use super::marks::Marks;

/// How many runs are gathered at most.
const MOST: usize = 128;
/// As many are enough: another word has 64 at most.
const ENOUGH: usize = MOST - 64;
/// So many runs in the first word of a leaf make it worth counting them all.
const SEVERAL: u32 = 3;

/// A walk over entries `from` to `last`.
///
/// Where runs are far apart, many of them are found by marks alone before their entries are read: the processor then waits for
/// all of those together, not for one after the other.
#[derive(Debug)]
pub(super) struct Walk {
    pub(super) marks: Marks,
    pub(super) last: u32,
    /// The first entry whose mark was not looked at.
    pub(super) start: Option<u32>,
    /// The pages of a run whose end is not found yet mean nothing.
    places: [Place; MOST],
    tces: [u64; MOST],
    /// How many runs were found.
    count: usize,
    /// Whether the newest of them has no end yet.
    pub(super) open: bool,
    /// The runs of a dense leaf.
    pub(super) words: [WordRuns; LEAF_WORDS],
    /// What was read for nothing but to have it near.
    pub(super) touched: u64,
}

#[expect(clippy::indexing_slicing, reason = "every index is masked to the length of the array")]
impl Walk {
    pub(super) fn new(table: &TceTable, from: u32, last: u32, marks: Marks) -> Self {
        let last = last.min(table.geometry.entries - 1);
        let mut walk = Self {
            marks,
            last,
            start: None,
            places: [Place::new(0, 0); MOST],
            tces: [0; MOST],
            count: 0,
            open: false,
            words: [WordRuns::NONE; LEAF_WORDS],
            touched: 0,
        };
        if from <= last {
            let tce = table.get(from);
            if Entries::is_mapped(tce) {
                walk.begin(from, tce);
            }
            walk.start = walk.after(from);
        }
        walk
    }

    /// Begins with a run that has no end yet.
    pub(super) fn begin(&mut self, first: u32, tce: u64) {
        (self.places[0], self.tces[0]) = (Place::new(first, 0), tce);
        (self.count, self.open) = (1, true);
    }

    /// The entry after `index`, unless the walk ends before it.
    pub(super) fn after(&self, index: u32) -> Option<u32> {
        index.checked_add(1).filter(|next| *next <= self.last)
    }

    fn newest(&self) -> usize {
        self.count.wrapping_sub(1) & (MOST - 1)
    }

    /// The newest run.
    pub(super) fn newest_run(&self) -> (Place, u64) {
        (self.places[self.newest()], self.tces[self.newest()])
    }

    /// Says where the newest run ends.
    pub(super) fn end(&mut self, end: u64) {
        let newest = self.newest();
        self.places[newest] = self.places[newest].until(end);
        self.open = false;
    }

    /// The runs whose end was found.
    pub(super) fn closed(&self) -> Batch<'_> {
        let closed = self.count.saturating_sub(usize::from(self.open));
        Batch::Runs(self.places.get(..closed).unwrap_or(&[]), self.tces.get(..closed).unwrap_or(&[]))
    }

    /// The next runs.
    #[inline(never)]
    pub(super) fn next<'a>(&'a mut self, table: &'a TceTable) -> Batch<'a> {
        // Of the batch before only the run without an end is left.
        (self.places[0], self.tces[0]) = self.newest_run();
        self.count = usize::from(self.open);
        while let Some(start) = self.start {
            let found = table.directory.block_from(self.marks, start);
            let Some((number, block)) = found.filter(|(number, _)| number << BLOCK_SHIFT <= self.last) else {
                self.start = None;
                break;
            };
            let base = number << BLOCK_SHIFT;
            let known = self.count;
            let dense = self.find(block, base, start.max(base) - base);
            let found = self.places.get(known..self.count).unwrap_or(&[]);
            for (place, tce) in found.iter().zip(self.tces.get_mut(known..).unwrap_or(&mut [])) {
                *tce = block.get(place.first() - base);
            }
            if let Some(at) = dense {
                if self.count > usize::from(self.open) {
                    return self.closed();
                }
                return self.dense(block, base, at);
            }
            if self.count > ENOUGH {
                return self.closed();
            }
        }
        if self.count == 0 {
            return Batch::End;
        }
        if self.open {
            self.end(u64::from(self.last) + 1);
        }
        self.closed()
    }

    /// Finds runs of a block from its entry `lo` on, until there are enough or a dense leaf comes; returns the entry of it to
    /// go on at.
    fn find(&mut self, block: &Block, base: u32, lo: u32) -> Option<u32> {
        let hi = (self.last - base).min(BLOCK_MASK);
        // Nearly always all of the block is walked.
        let whole = lo == 0 && hi == BLOCK_MASK;
        let part = |at: u32, lo: u32, hi: u32| if whole { u64::MAX } else { part_of_word(at, lo, hi) };
        let (mut count, mut open) = (self.count, self.open);
        let mut newest_leaf = u32::MAX;
        for (marked, from) in block.marked(self.marks).iter().zip((0u32..).step_by(64)) {
            let mut rest = *marked & part(from, lo >> 6, hi >> 6);
            while rest != 0 {
                let number = from + rest.trailing_zeros();
                rest &= rest - 1;
                let at = number << 6;
                let word = block.word(number);
                if at >> LEAF_SHIFT != newest_leaf {
                    newest_leaf = at >> LEAF_SHIFT;
                    if word.begins(self.marks).count_ones() >= SEVERAL && self.is_dense(block.marks(newest_leaf)) {
                        (self.count, self.open) = (count, open);
                        self.start = Some(base + at.max(lo));
                        return Some(at.max(lo));
                    }
                }
                let mask = part(at, lo, hi);
                let (ends, mut begins) = (word.ends(self.marks) & mask, word.begins(self.marks) & mask);
                if ends == 0 {
                    continue;
                }
                let first = base + at;
                if open {
                    let newest = count.wrapping_sub(1) & (MOST - 1);
                    self.places[newest] = self.places[newest].until(u64::from(first + ends.trailing_zeros()));
                }
                // What begins last goes on if nothing ends after it.
                open = begins.leading_zeros() == ends.leading_zeros();
                while begins != 0 {
                    let bit = begins.trailing_zeros();
                    begins &= begins - 1;
                    let pages = (ends & (!1 << bit)).trailing_zeros() - bit;
                    self.places[count & (MOST - 1)] = Place::new(first + bit, pages);
                    count += 1;
                }
                if count > ENOUGH {
                    (self.count, self.open) = (count, open);
                    self.start = self.after(first + 63);
                    return None;
                }
            }
        }
        (self.count, self.open) = (count, open);
        self.start = self.after(base | BLOCK_MASK);
        None
    }
}

/// The bits of a word from entry `at` on that are of entries `lo` to `hi`.
#[inline]
pub(super) fn part_of_word(at: u32, lo: u32, hi: u32) -> u64 {
    if at + 63 < lo || at > hi {
        return 0;
    }
    let mut mask = u64::MAX << lo.saturating_sub(at);
    if at + 63 > hi {
        mask &= u64::MAX >> (63 - (hi & 63));
    }
    mask
}
