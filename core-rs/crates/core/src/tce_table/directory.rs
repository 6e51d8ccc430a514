//! Finds leaves, and the next place where a run begins or ends, in a table that is mostly not there.

use super::bitmap::{next_bit, put_bit};
use super::block::{BLOCK_LEAVES, BLOCK_MASK, BLOCK_SHIFT, Block, LeafRef};
use super::blocks::Blocks;
use super::counts::Counts;
use super::leaf::{LEAF_SHIFT, Leaf, LeafMarks, LeafMut};
use super::marks::Marks;

/// Leaves in a block, as a power of two.
const LEAVES_SHIFT: u32 = BLOCK_LEAVES.trailing_zeros();

/// Leaves kept for the next allocation, so that a guest that maps and unmaps one page does not allocate each time.
const SPARES: usize = 4;

/// The leaves of a table, with bits that say where there are marks; all of it appears on first use.
///
/// Blocks and leaves are counted from the table's first.
#[derive(Clone, Debug)]
pub(super) struct Directory {
    blocks: Blocks,
    /// A bit per block, up to the last one that there ever was: it has a boundary.
    boundary: Vec<u64>,
    /// The same for marks.
    any: Vec<u64>,
    spares: Vec<Box<Leaf>>,
    leaves: u32,
}

impl Directory {
    /// A directory for `entries` entries, with nothing in it.
    pub(super) fn new(entries: u32) -> Self {
        let blocks = Blocks::new(entries.div_ceil(1 << BLOCK_SHIFT));
        Self { blocks, boundary: Vec::new(), any: Vec::new(), spares: Vec::new(), leaves: 0 }
    }

    pub(super) fn clear(&mut self) {
        self.blocks.clear();
        (self.boundary, self.any, self.spares, self.leaves) = Default::default();
    }

    /// A block by its number.
    #[inline]
    pub(super) fn block(&self, number: u32) -> Option<&Block> {
        self.blocks.get(number)
    }

    /// The block of a leaf, to change it.
    #[inline]
    fn block_mut(&mut self, leaf: u32) -> Option<&mut Block> {
        self.blocks.get_mut(leaf >> LEAVES_SHIFT)
    }

    /// The block that a leaf is or could be in, made if it is not there; `None` beyond the end. Whoever asks puts something
    /// in, and has it settled.
    fn block_or_new(&mut self, leaf: u32) -> Option<&mut Block> {
        self.blocks.get_or_new(leaf >> LEAVES_SHIFT)
    }

    #[inline]
    pub(super) fn leaf(&self, leaf: u32) -> Option<LeafRef<'_>> {
        self.block(leaf >> LEAVES_SHIFT)?.leaf(leaf)
    }

    #[inline]
    pub(super) fn leaf_mut(&mut self, leaf: u32) -> Option<LeafMut<'_>> {
        self.block_mut(leaf)?.leaf_mut(leaf)
    }

    /// The same if it is found in few steps, as those of the first 2^25 entries are.
    #[inline]
    pub(super) fn near_leaf_mut(&mut self, leaf: u32) -> Option<LeafMut<'_>> {
        self.blocks.near_mut(leaf >> LEAVES_SHIFT)?.leaf_mut(leaf)
    }

    /// The raw value of one entry.
    #[inline]
    pub(super) fn get(&self, index: u32) -> u64 {
        self.blocks.entry(index)
    }

    /// A leaf to write to, made if it is not there; `None` beyond the end. It has the mark that its first entry may have had
    /// while it was absent.
    pub(super) fn leaf_or_new(&mut self, leaf: u32) -> Option<LeafMut<'_>> {
        if self.leaf(leaf).is_none() {
            let fresh = self.spares.pop().unwrap_or_else(Leaf::new);
            self.insert(leaf, fresh, Counts::NONE);
        }
        self.leaf_mut(leaf)
    }

    /// Takes a leaf out with its counts; its marks are the caller's to set.
    pub(super) fn take(&mut self, leaf: u32) -> Option<(Box<Leaf>, Counts)> {
        let taken = self.block_mut(leaf)?.take(leaf)?;
        self.leaves -= 1;
        Some(taken)
    }

    /// Puts a leaf where there is none; its marks are the caller's to set.
    pub(super) fn insert(&mut self, leaf: u32, entries: Box<Leaf>, counts: Counts) {
        let Some(block) = self.block_or_new(leaf) else { return };
        block.insert(leaf, entries, counts);
        self.leaves += 1;
        self.settle_block(leaf >> LEAVES_SHIFT);
    }

    /// Takes a whole block out.
    pub(super) fn take_block(&mut self, number: u32) -> Option<Box<Block>> {
        let taken = self.blocks.take(number)?;
        self.leaves -= taken.leaves();
        self.settle_block(number);
        Some(taken)
    }

    /// Puts a block in, in place of what there is.
    pub(super) fn insert_block(&mut self, number: u32, block: Box<Block>) {
        self.take_block(number);
        self.leaves += block.leaves();
        self.blocks.insert(number, block);
        self.settle_block(number);
    }

    /// Keeps a leaf, all entries of which are zero, for the next allocation.
    pub(super) fn keep(&mut self, zeros: Box<Leaf>) {
        if self.spares.len() < SPARES {
            self.spares.push(zeros);
        }
    }

    /// Sets the marks of a leaf that is there, all of them.
    pub(super) fn set_marks(&mut self, leaf: u32, marks: &LeafMarks) {
        if let Some(block) = self.block_mut(leaf) {
            *block.marks_mut(leaf) = *marks;
            self.settle(leaf);
        }
    }

    /// Sets the marks of a leaf that is not there: `ends` says whether what is before it maps. It gets its block if it needs
    /// one, and takes it along when not.
    pub(super) fn mark_absent(&mut self, leaf: u32, ends: bool) {
        let block = if ends { self.block_or_new(leaf) } else { self.block_mut(leaf) };
        let Some(block) = block else { return };
        if block.clear_marks(leaf, ends) {
            self.settle_block(leaf >> LEAVES_SHIFT);
        }
    }

    /// Says anew where there are marks, after those of a leaf were changed.
    pub(super) fn settle(&mut self, leaf: u32) {
        if let Some(block) = self.block_mut(leaf)
            && block.settle(leaf)
        {
            self.settle_block(leaf >> LEAVES_SHIFT);
        }
    }

    /// The same after the marks of entry `index` and of the one after it were changed, which is of the same block.
    pub(super) fn settle_two(&mut self, index: u32) {
        let Some(block) = self.block_mut(index >> LEAF_SHIFT) else { return };
        let first = block.settle_word((index & BLOCK_MASK) >> 6);
        let second = index & 63 == 63 && block.settle_word(((index & BLOCK_MASK) + 1) >> 6);
        if first | second {
            self.settle_block(index >> BLOCK_SHIFT);
        }
    }

    /// The same for a block; it goes if there is nothing in it.
    fn settle_block(&mut self, number: u32) {
        let (mut boundary, mut any) = (false, false);
        if let Some(block) = self.block(number) {
            (boundary, any) = (block.has(Marks::BOUNDARY), block.has(Marks::CUT));
            if block.leaves() == 0 && !any {
                self.blocks.take(number);
            }
        }
        let at = (number >> 6) as usize;
        for (words, bit) in [(&mut self.boundary, boundary), (&mut self.any, any)] {
            if bit && at >= words.len() {
                words.resize(at + 1, 0);
            }
            if let Some(word) = words.get_mut(at) {
                put_bit(word, number, bit);
            }
        }
    }

    /// The first mark at or after entry `index`.
    pub(super) fn next(&self, marks: Marks, index: u32) -> Option<u32> {
        let number = index >> BLOCK_SHIFT;
        if let Some(at) = self.block(number).and_then(|block| block.next(marks, index & BLOCK_MASK)) {
            return Some(number << BLOCK_SHIFT | at);
        }
        let (number, block) = self.next_block(marks, number + 1)?;
        Some(number << BLOCK_SHIFT | block.next(marks, 0)?)
    }

    /// The first block that has marks at or after entry `index`, or in which `index` is not the first.
    #[inline]
    pub(super) fn block_from(&self, marks: Marks, index: u32) -> Option<(u32, &Block)> {
        let number = index >> BLOCK_SHIFT;
        if index & BLOCK_MASK != 0
            && let Some(block) = self.block(number)
        {
            return Some((number, block));
        }
        self.next_block(marks, number)
    }

    /// The first block with marks at or after block `number`.
    #[inline]
    pub(super) fn next_block(&self, marks: Marks, number: u32) -> Option<(u32, &Block)> {
        let marked = if marks == Marks::BOUNDARY { &self.boundary } else { &self.any };
        let number = next_bit(marked, number)?;
        Some((number, self.block(number)?))
    }

    /// The first leaf that exists at or after leaf `leaf`.
    pub(super) fn next_present(&self, leaf: u32) -> Option<u32> {
        let number = leaf >> LEAVES_SHIFT;
        self.blocks.from(number).find_map(|(found, block)| {
            let from = if found == number { leaf & (BLOCK_LEAVES - 1) } else { 0 };
            Some(found << LEAVES_SHIFT | block.next_present(from)?)
        })
    }

    /// All blocks that exist, in order, with their numbers.
    pub(super) fn blocks(&self) -> impl Iterator<Item = (u32, &Block)> {
        self.blocks.from(0)
    }

    /// All leaves that exist, in order, with their numbers.
    pub(super) fn numbered(&self) -> impl Iterator<Item = (u32, LeafRef<'_>)> {
        self.blocks().flat_map(|(number, block)| {
            block.numbered().map(move |(leaf, found)| (number << LEAVES_SHIFT | leaf, found))
        })
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let leaves = self.leaves as usize + self.spares.len();
        leaves * size_of::<Leaf>()
            + self.blocks.memory_bytes()
            + (self.boundary.capacity() + self.any.capacity()) * size_of::<u64>()
            + self.spares.capacity() * size_of::<Box<Leaf>>()
    }
}
