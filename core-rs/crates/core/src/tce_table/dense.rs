//! The part of a walk that goes through leaves with many runs.

use super::batch::{Batch, WordRuns};
use super::block::{BLOCK_MASK, Block, LeafRef};
use super::leaf::{LEAF_ENTRIES, LEAF_MASK, LEAF_SHIFT, LeafMarks};
use super::walk::{Walk, part_of_word};

/// From so many runs on a leaf is dense: most of its memory is read.
const DENSE: u32 = 24;

impl Walk {
    pub(super) fn is_dense(&self, marks: &LeafMarks) -> bool {
        marks.iter().map(|word| word.begins(self.marks).count_ones()).sum::<u32>() >= DENSE
    }

    /// The runs of a dense leaf from entry `lo` of the block on. Nothing is gathered but a run that is open.
    #[inline(never)]
    pub(super) fn dense<'a>(&'a mut self, block: &'a Block, base: u32, lo: u32) -> Batch<'a> {
        let hi = (self.last - base).min(lo | LEAF_MASK);
        self.start = self.after(base + hi);
        let Some(leaf) = block.leaf(lo >> LEAF_SHIFT) else { return Batch::Runs(&[], &[]) };
        if hi - lo == LEAF_MASK && leaf.marks.iter().all(|word| word.begins(self.marks) == u64::MAX) {
            return self.singles(block, leaf, base, lo);
        }
        let of_leaf = lo & !LEAF_MASK;
        let (marks, mut touched) = (self.marks, 0);
        for ((runs, word), at) in self.words.iter_mut().zip(leaf.marks).zip((0..LEAF_ENTRIES).step_by(64)) {
            let mask = part_of_word(of_leaf + at, lo, hi);
            *runs = WordRuns { begins: word.begins(marks) & mask, ends: word.ends(marks) & mask, end: 0 };
            // In the order of memory, which the processor foresees; runs then find their entries near.
            if runs.begins != 0 {
                touched ^= leaf.entries.touch(at);
            }
        }
        self.touched ^= touched;
        let (mut first_end, mut unended) = (None, None);
        // Backwards, as a run may end in a later word than the one it begins in.
        for (runs, at) in self.words.iter_mut().zip((0..LEAF_ENTRIES).step_by(64)).rev() {
            if runs.ends == 0 {
                continue;
            }
            runs.end = first_end.unwrap_or(0);
            if first_end.is_none() && runs.begins.leading_zeros() == runs.ends.leading_zeros() {
                let bit = runs.begins.ilog2();
                runs.begins &= !(1 << bit);
                unended = Some(at + bit);
            }
            first_end = Some(at + runs.ends.trailing_zeros());
        }
        let first = base + of_leaf;
        let mut before = None;
        if self.open
            && let Some(end) = first_end
        {
            self.end(u64::from(first + end));
            before = Some(self.newest_run());
        }
        if let Some(at) = unended {
            self.begin(first + at, leaf.entries.get(at));
        }
        Batch::Leaf(before, first, &self.words, leaf.entries)
    }

    /// The entries of a leaf, each of which is a run.
    #[inline(never)]
    fn singles<'a>(&'a mut self, block: &Block, leaf: LeafRef<'a>, base: u32, lo: u32) -> Batch<'a> {
        if self.open {
            self.end(u64::from(base + lo));
            self.start = Some(base + lo);
            return self.closed();
        }
        let values = leaf.entries.part(0, LEAF_MASK);
        // The last one may go on, if the next leaf does not say that it ends.
        let last = lo + LEAF_MASK;
        let ends = self.start.is_some() && last < BLOCK_MASK && block.word((last + 1) >> 6).ends(self.marks) & 1 != 0;
        match values.split_last() {
            Some((tce, rest)) if !ends => {
                self.begin(base + last, *tce);
                Batch::Singles(base + lo, rest)
            }
            _ => Batch::Singles(base + lo, values),
        }
    }
}
