//! Finds leaves, and the next place where a run begins, in a table that is mostly not there.

use super::leaf::{LEAF_MASK, LEAF_SHIFT, Leaf, bits, next_bit};

/// Leaves under one block, as a power of two; a table of 2^32 entries then has 8192 blocks.
const BLOCK_SHIFT: u32 = 10;
const BLOCK_LEAVES: u32 = 1 << BLOCK_SHIFT;
const BLOCK_MASK: u32 = BLOCK_LEAVES - 1;
const WORDS: usize = (BLOCK_LEAVES / 64) as usize;

/// Leaves kept for the next allocation, so that a guest that maps and unmaps one page does not allocate each time.
const SPARES: usize = 4;

/// Which of the two bitmaps of a leaf.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Marks {
    /// Where a run begins.
    Boundary,
    /// Where a run or a guest call begins.
    Cut,
}

/// 1024 leaves, and which of them have marks.
///
/// A leaf that is not there can have one mark: at its first entry, where a run of the leaf before ends.
#[derive(Clone, Debug)]
struct Block {
    leaves: [Option<Box<Leaf>>; BLOCK_LEAVES as usize],
    boundary: [u64; WORDS],
    cut: [u64; WORDS],
    /// Which leaves are there.
    present: [u64; WORDS],
}

#[expect(clippy::indexing_slicing, reason = "every index is masked to the length of the array")]
impl Block {
    fn new() -> Box<Self> {
        Box::new(Self {
            leaves: [const { None }; BLOCK_LEAVES as usize],
            boundary: [0; WORDS],
            cut: [0; WORDS],
            present: [0; WORDS],
        })
    }

    #[inline]
    fn leaf(&self, leaf: u32) -> Option<&Leaf> {
        self.leaves[(leaf & BLOCK_MASK) as usize].as_deref()
    }

    #[inline]
    fn slot(&mut self, leaf: u32) -> &mut Option<Box<Leaf>> {
        &mut self.leaves[(leaf & BLOCK_MASK) as usize]
    }

    /// Says whether a leaf is there.
    fn set_present(&mut self, leaf: u32, present: bool) {
        put_bit(&mut self.present[(leaf >> 6) as usize & (WORDS - 1)], leaf, present);
    }

    fn is_empty(&self) -> bool {
        self.present.iter().all(|word| *word == 0)
    }

    fn marks(&self, marks: Marks) -> &[u64; WORDS] {
        match marks {
            Marks::Boundary => &self.boundary,
            Marks::Cut => &self.cut,
        }
    }

    /// Whether a leaf has a boundary; an absent one has it at its first entry.
    fn marked(&self, leaf: u32) -> bool {
        self.boundary[(leaf >> 6) as usize & (WORDS - 1)] >> (leaf & 63) & 1 != 0
    }

    fn mark(&mut self, leaf: u32, boundary: bool, cut: bool) {
        let at = (leaf >> 6) as usize & (WORDS - 1);
        put_bit(&mut self.boundary[at], leaf, boundary);
        put_bit(&mut self.cut[at], leaf, cut);
    }
}

fn put_bit(word: &mut u64, at: u32, bit: bool) {
    let mask = 1u64 << (at & 63);
    *word = if bit { *word | mask } else { *word & !mask };
}

/// A two-level tree of leaves with a summary bit per leaf and per block; all of it appears on first use.
#[derive(Clone, Debug)]
pub(super) struct Directory {
    /// How many blocks there could be.
    reach: usize,
    /// Empty until the first leaf appears.
    blocks: Vec<Option<Box<Block>>>,
    /// A bit per block: it has a leaf with a boundary (or a boundary at the first entry of an absent leaf).
    boundary: Vec<u64>,
    /// The same for cuts.
    cut: Vec<u64>,
    spares: Vec<Box<Leaf>>,
    leaves: u32,
    blocks_present: u32,
}

impl Directory {
    /// A directory for `entries` entries, with nothing in it.
    pub(super) fn new(entries: u32) -> Self {
        Self::reaching(entries.div_ceil(1 << (LEAF_SHIFT + BLOCK_SHIFT)) as usize)
    }

    fn reaching(reach: usize) -> Self {
        Self {
            reach,
            blocks: Vec::new(),
            boundary: Vec::new(),
            cut: Vec::new(),
            spares: Vec::new(),
            leaves: 0,
            blocks_present: 0,
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::reaching(self.reach);
    }

    /// The block that a leaf is or could be in, made if it is not there; `None` beyond the end.
    fn block_or_new(&mut self, leaf: u32) -> Option<&mut Block> {
        if self.blocks.is_empty() {
            self.blocks.resize_with(self.reach, || None);
            let words = self.reach.div_ceil(64);
            self.boundary.resize(words, 0);
            self.cut.resize(words, 0);
        }
        let slot = self.blocks.get_mut((leaf >> BLOCK_SHIFT) as usize)?;
        let block = slot.get_or_insert_with(|| {
            self.blocks_present += 1;
            Block::new()
        });
        Some(block)
    }

    #[inline]
    fn block(&self, leaf: u32) -> Option<&Block> {
        self.blocks.get((leaf >> BLOCK_SHIFT) as usize)?.as_deref()
    }

    #[inline]
    pub(super) fn leaf(&self, leaf: u32) -> Option<&Leaf> {
        self.block(leaf)?.leaf(leaf)
    }

    #[inline]
    pub(super) fn leaf_mut(&mut self, leaf: u32) -> Option<&mut Leaf> {
        self.blocks.get_mut((leaf >> BLOCK_SHIFT) as usize)?.as_mut()?.slot(leaf).as_deref_mut()
    }

    /// The raw value of one entry.
    #[inline]
    pub(super) fn get(&self, index: u32) -> u64 {
        self.leaf(index >> LEAF_SHIFT).map_or(0, |leaf| leaf.get(index & LEAF_MASK))
    }

    /// A leaf to write to, made if it is not there; `None` beyond the end.
    ///
    /// A new leaf takes over the mark that its first entry may have had while it was absent.
    pub(super) fn leaf_or_new(&mut self, leaf: u32) -> Option<&mut Leaf> {
        if self.leaf(leaf).is_none() {
            let mut fresh = self.spares.pop().unwrap_or_else(Leaf::new);
            let block = self.block_or_new(leaf)?;
            if block.marked(leaf) {
                fresh.set_marks(0, true, true);
            }
            block.set_present(leaf, true);
            *block.slot(leaf) = Some(fresh);
            self.leaves += 1;
        }
        self.leaf_mut(leaf)
    }

    /// Takes a leaf out; its summary bits are the caller's to set.
    pub(super) fn take(&mut self, leaf: u32) -> Option<Box<Leaf>> {
        let block = self.blocks.get_mut((leaf >> BLOCK_SHIFT) as usize)?.as_mut()?;
        let taken = block.slot(leaf).take()?;
        block.set_present(leaf, false);
        self.leaves -= 1;
        Some(taken)
    }

    /// Puts a leaf where there is none; its summary bits are the caller's to set.
    pub(super) fn insert(&mut self, leaf: u32, taken: Box<Leaf>) {
        let Some(block) = self.block_or_new(leaf) else { return };
        if block.slot(leaf).replace(taken).is_none() {
            block.set_present(leaf, true);
            self.leaves += 1;
        }
    }

    /// Keeps an empty leaf for the next allocation.
    pub(super) fn keep(&mut self, mut leaf: Box<Leaf>) {
        if self.spares.len() < SPARES && leaf.counts.stored() == 0 {
            leaf.recycle();
            self.spares.push(leaf);
        }
    }

    /// The summary bits of a leaf.
    pub(super) fn marks(&self, leaf: u32) -> (bool, bool) {
        let at = (leaf & BLOCK_MASK) as usize;
        let bit = |words: &[u64; WORDS]| words.get(at >> 6).is_some_and(|word| word >> (at & 63) & 1 != 0);
        self.block(leaf).map_or((false, false), |block| (bit(&block.boundary), bit(&block.cut)))
    }

    /// Sets the summary bits of a leaf. An absent leaf gets its block if it needs one, and takes it along when not.
    pub(super) fn mark(&mut self, leaf: u32, (boundary, cut): (bool, bool)) {
        let number = leaf >> BLOCK_SHIFT;
        let Some(slot) = self.blocks.get_mut(number as usize) else { return };
        if slot.is_none() && !(boundary || cut) {
            return;
        }
        let block = slot.get_or_insert_with(|| {
            self.blocks_present += 1;
            Block::new()
        });
        block.mark(leaf, boundary, cut);
        let any_boundary = boundary || block.boundary.iter().any(|word| *word != 0);
        let any_cut = cut || block.cut.iter().any(|word| *word != 0);
        if block.is_empty() && !any_boundary && !any_cut {
            *slot = None;
            self.blocks_present -= 1;
        }
        if let Some(word) = self.boundary.get_mut((number >> 6) as usize) {
            put_bit(word, number, any_boundary);
        }
        if let Some(word) = self.cut.get_mut((number >> 6) as usize) {
            put_bit(word, number, any_cut);
        }
    }

    /// The first mark at or after entry `index`.
    pub(super) fn next(&self, marks: Marks, index: u32) -> Option<u32> {
        let leaf = index >> LEAF_SHIFT;
        if let Some(block) = self.block(leaf) {
            if let Some(found) = block.leaf(leaf) {
                if let Some(at) = found.next(marks, index & LEAF_MASK) {
                    return Some(leaf << LEAF_SHIFT | at);
                }
            } else if index & LEAF_MASK == 0 && block.marked(leaf) {
                return Some(index);
            }
        }
        let leaf = self.next_leaf(marks, leaf.checked_add(1)?)?;
        let at = match self.leaf(leaf) {
            None => 0,
            Some(found) => found.next(marks, 0)?,
        };
        Some(leaf << LEAF_SHIFT | at)
    }

    /// The first leaf with a mark at or after leaf `leaf`; it may be absent, and then has its mark at entry 0.
    pub(super) fn next_leaf(&self, marks: Marks, leaf: u32) -> Option<u32> {
        let mut number = leaf >> BLOCK_SHIFT;
        if let Some(block) = self.blocks.get(number as usize)?
            && let Some(at) = next_bit(block.marks(marks), leaf & BLOCK_MASK)
        {
            return Some(number << BLOCK_SHIFT | at);
        }
        let summary = match marks {
            Marks::Boundary => &self.boundary,
            Marks::Cut => &self.cut,
        };
        number = next_bit(summary, number + 1)?;
        let block = self.blocks.get(number as usize)?.as_deref()?;
        Some(number << BLOCK_SHIFT | next_bit(block.marks(marks), 0)?)
    }

    /// The first leaf that exists at or after leaf `leaf`.
    pub(super) fn next_present(&self, leaf: u32) -> Option<u32> {
        let mut from = leaf & BLOCK_MASK;
        let number = leaf >> BLOCK_SHIFT;
        for (block, number) in self.blocks.get(number as usize..)?.iter().zip(number..) {
            if let Some(at) = block.as_ref().and_then(|block| next_bit(&block.present, from)) {
                return Some(number << BLOCK_SHIFT | at);
            }
            from = 0;
        }
        None
    }

    /// All leaves that exist, in order, with their numbers.
    pub(super) fn numbered(&self) -> impl Iterator<Item = (u32, &Leaf)> {
        let blocks = (0u32..).zip(&self.blocks).filter_map(|(number, block)| Some((number, block.as_deref()?)));
        blocks.flat_map(|(number, block)| {
            bits(&block.present).filter_map(move |at| Some((number << BLOCK_SHIFT | at, block.leaf(at)?)))
        })
    }

    /// All leaves that exist, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Leaf> {
        self.numbered().map(|(_, leaf)| leaf)
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let leaves = self.leaves as usize + self.spares.len();
        leaves * size_of::<Leaf>()
            + self.blocks_present as usize * size_of::<Block>()
            + self.blocks.capacity() * size_of::<Option<Box<Block>>>()
            + (self.boundary.capacity() + self.cut.capacity()) * size_of::<u64>()
            + self.spares.capacity() * size_of::<Box<Leaf>>()
    }
}
