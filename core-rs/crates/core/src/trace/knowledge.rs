//! Which entries of a table the input does not tell, and what else must be remembered of them.

mod block;
mod leaf;
#[cfg(test)]
mod tests;

use block::{BLOCK_MASK, BLOCK_SHIFT, Block, Part, Tally, Whole};
use leaf::{Counts, Edit, LEAF_MASK, Leaf, Word};

/// Bytes of a leaf.
pub(super) const LEAF_BYTES: usize = size_of::<Leaf>();

/// Leaves that a map may have at least before it is crowded.
const LEAVES_LEAST: u32 = 64;

/// What is known of the entries of one table: at first, all.
///
/// An entry is known, known by page and permission only, or unknown. Where that is the same for all of a leaf of 512
/// entries, or of a block of leaves, it takes one word; to look an entry up takes the same few steps always.
#[derive(Clone, Debug, Default)]
pub(super) struct KnowledgeMap {
    /// Everything is known beyond the end.
    blocks: Vec<Part<Block>>,
    tally: Tally,
    /// With more leaves it is crowded.
    allowed: u32,
}

/// The leaf of an entry, where that and its block are mixed.
#[inline]
fn leaf_mut(blocks: &mut [Part<Block>], index: u32) -> Option<&mut Leaf> {
    let Part::Mixed(block) = blocks.get_mut((index >> BLOCK_SHIFT) as usize)? else { return None };
    let Part::Mixed(leaf) = block.leaf_mut(index) else { return None };
    Some(leaf)
}

/// The bit of an entry in its word.
#[inline]
fn bit(index: u32) -> u64 {
    1 << (index & 63)
}

impl KnowledgeMap {
    /// How many entries are unknown.
    pub(super) fn unknown(&self) -> u64 {
        self.tally.counts.unknown
    }

    /// How many unknown entries are in use.
    #[inline]
    pub(super) fn in_use(&self) -> u64 {
        self.tally.counts.in_use
    }

    /// What is known of the 64 entries that one is among, and the last entry of which the same is known where that is so
    /// of a whole part.
    #[inline]
    fn look(&self, index: u32) -> (&Word, Option<u32>) {
        match self.blocks.get((index >> BLOCK_SHIFT) as usize) {
            Some(Part::Mixed(block)) => match block.leaf(index) {
                Part::Mixed(leaf) => (leaf.word(index), None),
                Part::All(whole) => (whole.word(), Some(index | LEAF_MASK)),
            },
            Some(Part::All(whole)) => (whole.word(), Some(index | BLOCK_MASK)),
            None => (&Word::KNOWN, Some(u32::MAX)),
        }
    }

    #[inline]
    fn word(&self, index: u32) -> &Word {
        self.look(index).0
    }

    #[inline]
    pub(super) fn is_unknown(&self, index: u32) -> bool {
        self.word(index).unknown & bit(index) != 0
    }

    /// Whether page and permission of an entry are known, and no more.
    #[inline]
    pub(super) fn is_page_only(&self, index: u32) -> bool {
        self.word(index).page_only & bit(index) != 0
    }

    /// Whether a call stored an entry whose values the log does not show.
    #[inline]
    pub(super) fn is_listed(&self, index: u32) -> bool {
        self.word(index).listed & bit(index) != 0
    }

    /// Whether such a call stored it and the one before it.
    pub(super) fn continues_call(&self, index: u32) -> bool {
        let begins = self.word(index).begins & bit(index) != 0;
        !begins && self.is_listed(index) && index.checked_sub(1).is_some_and(|before| self.is_listed(before))
    }

    /// An entry became known; which call stored it is remembered.
    #[inline]
    pub(super) fn learn(&mut self, index: u32, page_only: bool) {
        self.edit_one(index, |word, mask| {
            word.unknown &= !mask;
            word.in_use &= !mask;
            word.page_only = word.page_only & !mask | if page_only { mask } else { 0 };
        });
    }

    /// All of these entries are known.
    #[inline]
    pub(super) fn know(&mut self, first: u32, last: u32) {
        if first != last {
            self.edit(first, last, Some(Whole::Known), &mut Word::know);
        } else if self.word(first).has(bit(first)) {
            self.edit_one(first, Word::know);
        }
    }

    /// Nothing of these entries is known.
    pub(super) fn forget(&mut self, first: u32, last: u32) {
        self.edit(first, last, Some(Whole::Unknown), &mut Word::forget);
    }

    /// One call stored these entries, and only the last of them is known; the others may be in use.
    pub(super) fn list(&mut self, first: u32, last: u32, in_use: bool) {
        self.edit(first, last, None, &mut |word, mask| {
            word.forget(mask);
            word.in_use |= if in_use { mask } else { 0 };
            word.listed |= mask;
        });
        self.learn(last, false);
        self.begin_call(first);
        // What follows may be left of an older call.
        if let Some(next) = last.checked_add(1).filter(|next| self.is_listed(*next)) {
            self.begin_call(next);
        }
    }

    fn begin_call(&mut self, index: u32) {
        self.edit_one(index, |word, mask| word.begins |= mask);
    }

    #[inline]
    fn edit_one(&mut self, index: u32, edit: impl Fn(&mut Word, u64)) {
        let Some(leaf) = leaf_mut(&mut self.blocks, index) else {
            return self.edit(index, index, None, &mut |word, mask| edit(word, mask));
        };
        let word = leaf.word_mut(index);
        let old = Counts::of(word);
        edit(word, bit(index));
        self.tally.counts.replace(old, Counts::of(word));
    }

    /// Changes entries word by word, but for parts that become the same as a whole.
    fn edit(&mut self, first: u32, last: u32, whole: Option<Whole>, edit: &mut Edit<'_>) {
        let reach = (last >> BLOCK_SHIFT) as usize + 1;
        if self.blocks.len() < reach && whole != Some(Whole::Known) {
            self.blocks.resize_with(reach, || Part::All(Whole::Known));
        }
        let mut at = Some(first);
        while let Some(lo) = at.filter(|at| *at <= last) {
            let Some(part) = self.blocks.get_mut((lo >> BLOCK_SHIFT) as usize) else { return };
            let hi = last.min(lo | BLOCK_MASK);
            part.edit(lo & BLOCK_MASK, hi & BLOCK_MASK, whole, edit, &mut self.tally);
            at = hi.checked_add(1);
        }
    }

    /// The first entry at or after `from` that is unknown, or that is not.
    fn find(&self, from: u32, unknown: bool) -> Option<u32> {
        let mut at = from;
        loop {
            let (word, same) = self.look(at);
            let bits = (if unknown { word.unknown } else { !word.unknown }) & u64::MAX << (at & 63);
            if bits != 0 {
                return Some((at & !63) + bits.trailing_zeros());
            }
            at = same.unwrap_or(at | 63).checked_add(1)?;
        }
    }

    /// First and last entry of the next run of unknown ones at or after `from`.
    pub(super) fn next_unknown(&self, from: u32) -> Option<(u32, u32)> {
        let first = self.find(from, true)?;
        Some((first, self.find(first, false).map_or(u32::MAX, |end| end - 1)))
    }

    /// How many of the entries `first..=last` are unknown.
    pub(super) fn unknown_in(&self, first: u32, last: u32) -> u64 {
        let mut sum = 0;
        let mut from = Some(first);
        while let Some(at) = from.filter(|at| *at <= last) {
            let (word, same) = self.look(at);
            let end = same.unwrap_or(at | 63).min(last);
            sum += match same {
                Some(_) if word.unknown == 0 => 0,
                Some(_) => u64::from(end - at) + 1,
                None => u64::from((word.unknown & u64::MAX << (at & 63) & u64::MAX >> (63 - (end & 63))).count_ones()),
            };
            from = end.checked_add(1);
        }
        sum
    }

    /// The same for a table that ends at `last`. Which calls stored what is not remembered.
    pub(super) fn resized(&self, last: u32) -> Self {
        let mut map = self.clone();
        for block in &mut map.blocks {
            if let Part::Mixed(block) = block {
                block.forget_calls();
            }
        }
        if let Some(beyond) = last.checked_add(1) {
            map.know(beyond, u32::MAX);
        }
        map
    }

    /// Leaves that it has.
    pub(super) fn leaves(&self) -> u32 {
        self.tally.leaves
    }

    /// Whether it has twice the leaves that it had when [`KnowledgeMap::allow`] was called last, or more.
    #[inline]
    pub(super) fn is_crowded(&self) -> bool {
        self.tally.leaves > self.allowed
    }

    /// Lets it have twice as many leaves as it has.
    pub(super) fn allow(&mut self) {
        self.allowed = self.tally.leaves.saturating_mul(2).max(LEAVES_LEAST);
    }

    /// Gives leaves back that nothing needs; returns whether that was half of them.
    pub(super) fn tidy(&mut self) -> bool {
        let before = self.tally.leaves;
        for block in &mut self.blocks {
            if let Part::Mixed(block) = block {
                self.tally.leaves -= block.tidy();
            }
        }
        self.tally.leaves <= before / 2
    }
}
