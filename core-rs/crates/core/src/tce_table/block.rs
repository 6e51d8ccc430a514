//! 64 leaves of a table, with their marks side by side.

use super::bitmap::{bits, next_bit};
use super::counts::Counts;
use super::entry::Entries;
use super::leaf::{LEAF_ENTRIES, LEAF_MASK, LEAF_SHIFT, LEAF_WORDS, Leaf, LeafMarks, LeafMut};
use super::marks::{MarkWord, Marks};

/// Leaves in a block.
pub(super) const BLOCK_LEAVES: u32 = 64;
/// Entries in a block, as a power of two.
pub(super) const BLOCK_SHIFT: u32 = LEAF_SHIFT + BLOCK_LEAVES.trailing_zeros();
/// The position of an entry in its block.
pub(super) const BLOCK_MASK: u32 = (1 << BLOCK_SHIFT) - 1;

/// Words of the bitmaps that have a bit for each word of marks.
const WORDS: usize = BLOCK_LEAVES as usize * LEAF_WORDS / 64;

/// The leaves of 32768 entries. Their marks lie in one piece of 8 KiB, which a walk reads in order, and have a bit for
/// each word of them, so that a walk comes from one mark to the next in a few steps.
///
/// A leaf that is not there can have one mark: at its first entry, where a run of the leaf before ends.
#[derive(Clone, Debug)]
pub(super) struct Block {
    slots: [Slot; BLOCK_LEAVES as usize],
    marks: [LeafMarks; BLOCK_LEAVES as usize],
    /// A bit for each word of marks: it has boundaries.
    boundary: [u64; WORDS],
    /// The same: it has marks.
    any: [u64; WORDS],
    /// A bit for each leaf that is there.
    present: u64,
}

/// A leaf, if it is there, and what its entries count.
#[derive(Clone, Debug)]
struct Slot {
    leaf: Option<Box<Leaf>>,
    counts: Counts,
}

impl Slot {
    const EMPTY: Self = Self { leaf: None, counts: Counts::NONE };
}

/// What [`Block::each_mapped`] tells of.
pub(super) enum Mapped<'a> {
    /// A run; `begins` says whether it does not go on with what is before the first that is told of.
    Run { first: u32, pages: u32, tce: u64, begins: bool },
    /// Entries that are a run each: the first one, and all values.
    Singles(u32, &'a [u64]),
}

/// A leaf that is there, as it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct LeafRef<'a> {
    pub(super) entries: &'a Leaf,
    pub(super) marks: &'a LeafMarks,
    pub(super) counts: Counts,
}

/// A bit for each word of a leaf.
const ALL_WORDS: u64 = (1 << LEAF_WORDS) - 1;

/// The first word of a leaf in its block.
#[inline]
fn first_word(leaf: u32) -> u32 {
    (leaf & (BLOCK_LEAVES - 1)) << LEAF_WORDS.trailing_zeros()
}

/// The number of a leaf in its block.
#[inline]
fn slot_of(leaf: u32) -> usize {
    (leaf & (BLOCK_LEAVES - 1)) as usize
}

#[expect(clippy::indexing_slicing, reason = "every index is masked to the length of the array")]
impl Block {
    pub(super) fn new() -> Box<Self> {
        Box::new(Self {
            slots: [const { Slot::EMPTY }; BLOCK_LEAVES as usize],
            marks: [[MarkWord::NONE; LEAF_WORDS]; BLOCK_LEAVES as usize],
            boundary: [0; WORDS],
            any: [0; WORDS],
            present: 0,
        })
    }

    /// The raw value of entry `at` of the block.
    #[inline]
    pub(super) fn get(&self, at: u32) -> u64 {
        self.slots[slot_of(at >> LEAF_SHIFT)].leaf.as_ref().map_or(0, |leaf| leaf.get(at & LEAF_MASK))
    }

    /// The marks of a leaf, whether it is there or not.
    #[inline]
    pub(super) fn marks(&self, leaf: u32) -> &LeafMarks {
        &self.marks[slot_of(leaf)]
    }

    #[inline]
    pub(super) fn marks_mut(&mut self, leaf: u32) -> &mut LeafMarks {
        &mut self.marks[slot_of(leaf)]
    }

    /// The 64 marks from entry 64 x `word` of the block on.
    #[inline]
    pub(super) fn word(&self, word: u32) -> MarkWord {
        self.marks[slot_of(word >> LEAF_WORDS.trailing_zeros())][word as usize & (LEAF_WORDS - 1)]
    }

    #[inline]
    pub(super) fn leaf(&self, leaf: u32) -> Option<LeafRef<'_>> {
        let slot = &self.slots[slot_of(leaf)];
        Some(LeafRef { entries: slot.leaf.as_deref()?, marks: self.marks(leaf), counts: slot.counts })
    }

    #[inline]
    pub(super) fn leaf_mut(&mut self, leaf: u32) -> Option<LeafMut<'_>> {
        let slot = &mut self.slots[slot_of(leaf)];
        let marks = &mut self.marks[slot_of(leaf)];
        Some(LeafMut { entries: slot.leaf.as_deref_mut()?, marks, counts: &mut slot.counts })
    }

    /// Takes a leaf out with its counts; its marks are the caller's to set.
    pub(super) fn take(&mut self, leaf: u32) -> Option<(Box<Leaf>, Counts)> {
        let slot = &mut self.slots[slot_of(leaf)];
        let taken = slot.leaf.take()?;
        self.present &= !(1 << slot_of(leaf));
        Some((taken, core::mem::take(&mut slot.counts)))
    }

    /// Puts a leaf in where there is none; its marks are the caller's to set.
    pub(super) fn insert(&mut self, leaf: u32, entries: Box<Leaf>, counts: Counts) {
        self.slots[slot_of(leaf)] = Slot { leaf: Some(entries), counts };
        self.present |= 1 << slot_of(leaf);
    }

    /// Says anew whether word `number` has marks; returns whether the block has got its first ones, or may be without any.
    pub(super) fn settle_word(&mut self, number: u32) -> bool {
        let word = self.word(number);
        self.put_marked(number, 1, u64::from(word.boundary != 0), u64::from(word.any() != 0))
    }

    /// Says anew which words of a leaf have marks; returns the same.
    pub(super) fn settle(&mut self, leaf: u32) -> bool {
        let (mut boundary, mut any) = (0, 0);
        for (word, bit) in self.marks(leaf).iter().zip(0u32..) {
            boundary |= u64::from(word.boundary != 0) << bit;
            any |= u64::from(word.any() != 0) << bit;
        }
        self.put_marked(first_word(leaf), ALL_WORDS, boundary, any)
    }

    /// Takes away the marks of a leaf that is not there, but for one at its first entry if what is before it `ends`; returns
    /// the same.
    pub(super) fn clear_marks(&mut self, leaf: u32, ends: bool) -> bool {
        let marks = self.marks_mut(leaf);
        *marks = [MarkWord::NONE; LEAF_WORDS];
        if ends {
            marks[0] = MarkWord::ENDS;
        }
        self.put_marked(first_word(leaf), ALL_WORDS, ends.into(), ends.into())
    }

    /// Replaces the bits that say which words have marks, as many as `mask` has, from that of word `number` on.
    #[inline]
    fn put_marked(&mut self, number: u32, mask: u64, boundary: u64, any: u64) -> bool {
        let (at, shift) = ((number >> 6) as usize & (WORDS - 1), number & 63);
        let mut settle = self.present == 0;
        for (words, bits) in [(&mut self.boundary, boundary), (&mut self.any, any)] {
            let word = &mut words[at];
            let had = *word;
            *word = had & !(mask << shift) | bits << shift;
            settle |= (had == 0) != (*word == 0);
        }
        settle
    }
}

impl Block {
    /// What all entries of the block count.
    pub(super) fn counts(&self) -> Counts {
        self.slots.iter().fold(Counts::NONE, |mut sum, slot| {
            sum.replace(Counts::NONE, slot.counts);
            sum
        })
    }

    /// How many leaves are there.
    pub(super) fn leaves(&self) -> u32 {
        self.present.count_ones()
    }

    /// The first leaf that is there at or after one of the block.
    pub(super) fn next_present(&self, from: u32) -> Option<u32> {
        let rest = self.present & u64::MAX.checked_shl(from)?;
        (rest != 0).then(|| rest.trailing_zeros())
    }

    /// The leaves that are there, with their numbers in the block.
    pub(super) fn numbered(&self) -> impl Iterator<Item = (u32, LeafRef<'_>)> {
        bits(self.present).filter_map(|leaf| Some((leaf, self.leaf(leaf)?)))
    }

    /// Whether it has marks of a kind.
    pub(super) fn has(&self, marks: Marks) -> bool {
        self.marked(marks).iter().any(|word| *word != 0)
    }

    /// A bit for each word that has marks of a kind.
    #[inline]
    pub(super) fn marked(&self, marks: Marks) -> &[u64; WORDS] {
        if marks == Marks::BOUNDARY { &self.boundary } else { &self.any }
    }

    /// The first mark at or after entry `at` of the block.
    pub(super) fn next(&self, marks: Marks, at: u32) -> Option<u32> {
        let word = at >> 6;
        let here = self.word(word).ends(marks) & u64::MAX << (at & 63);
        if here != 0 {
            return Some(word << 6 | here.trailing_zeros());
        }
        let word = next_bit(self.marked(marks), word + 1)?;
        Some(word << 6 | self.word(word).ends(marks).trailing_zeros())
    }

    /// How many mapped entries begin a run, or a run or a call.
    pub(super) fn count_runs(&self, marks: Marks) -> u32 {
        let words = self.marked(marks).iter().zip((0u32..).step_by(64));
        words
            .flat_map(|(marked, from)| bits(*marked).map(move |at| from + at))
            .map(|number| self.word(number).begins(marks).count_ones())
            .sum()
    }

    /// Tells of every mapped run of entries `lo` to `hi`, which are whole words of leaves that are there.
    #[inline]
    pub(super) fn each_mapped(&self, lo: u32, hi: u32, mut tell: impl FnMut(Mapped<'_>)) {
        let first = self.get(lo);
        // The run whose end is not found yet.
        let mut open = Entries::is_mapped(first).then(|| (lo, first, self.word(lo >> 6).boundary & 1 != 0));
        let mut from = lo >> 6;
        while let Some(number) = next_bit(&self.boundary, from).filter(|number| *number <= hi >> 6) {
            from = number + 1;
            let word = self.word(number);
            let base = number << 6;
            let mut ends = word.boundary;
            if base == lo {
                ends &= !1;
            }
            if ends == 0 {
                continue;
            }
            let mut begins = word.begins(Marks::BOUNDARY) & ends;
            if let Some((first, tce, begins)) = open.take() {
                tell(Mapped::Run { first, pages: base + ends.trailing_zeros() - first, tce, begins });
            }
            if begins == u64::MAX
                && let Some((last, rest)) = self.values(number).split_last()
            {
                tell(Mapped::Singles(base, rest));
                open = Some((base + 63, *last, true));
                continue;
            }
            while begins != 0 {
                let bit = begins.trailing_zeros();
                begins &= begins - 1;
                let (first, tce) = (base + bit, self.get(base + bit));
                let after = ends & (!1 << bit);
                if after == 0 {
                    open = Some((first, tce, true));
                } else {
                    tell(Mapped::Run { first, pages: after.trailing_zeros() - bit, tce, begins: true });
                }
            }
        }
        if let Some((first, tce, begins)) = open {
            tell(Mapped::Run { first, pages: hi + 1 - first, tce, begins });
        }
    }

    /// The 64 entries of a word; none if their leaf is not there.
    fn values(&self, word: u32) -> &[u64] {
        let at = word << 6;
        self.leaf(at >> LEAF_SHIFT).map_or(&[], |leaf| leaf.entries.part(at & LEAF_MASK, at & LEAF_MASK | 63))
    }
}

impl PartialEq for Block {
    fn eq(&self, other: &Self) -> bool {
        self.present == other.present
            && self.marks == other.marks
            && self.numbered().zip(other.numbered()).all(|((_, one), (_, other))| one == other)
    }
}

impl PartialEq for LeafRef<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.counts == other.counts && self.entries.equals(other.entries)
    }
}

const _: () = assert!(LEAF_ENTRIES as usize == LEAF_WORDS * 64 && WORDS * 64 == BLOCK_LEAVES as usize * LEAF_WORDS);
