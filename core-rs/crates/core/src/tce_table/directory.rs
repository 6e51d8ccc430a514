//! Finds leaves, and the next place where a run begins or ends, in a table that is mostly not there.

use super::bitmap::{bits, next_bit, put_bit};
use super::block::{BLOCK_LEAVES, BLOCK_MASK, BLOCK_SHIFT, Block, LeafRef};
use super::counts::Counts;
use super::leaf::{LEAF_SHIFT, Leaf, LeafMarks, LeafMut};
use super::marks::{MarkWord, Marks};

/// Blocks in a region; a table of 2^32 entries then has 8192 regions.
const REGION_BLOCKS: u32 = 32;
/// Leaves in a block, as a power of two.
const LEAVES_SHIFT: u32 = BLOCK_LEAVES.trailing_zeros();
/// Blocks in a region, as a power of two.
const BLOCKS_SHIFT: u32 = REGION_BLOCKS.trailing_zeros();

/// Leaves kept for the next allocation, so that a guest that maps and unmaps one page does not allocate each time.
const SPARES: usize = 4;

/// 32 blocks, and which of them have marks.
#[derive(Clone, Debug)]
struct Region {
    blocks: [Option<Box<Block>>; REGION_BLOCKS as usize],
    boundary: u32,
    any: u32,
    present: u32,
}

#[inline]
fn block_in_region(block: u32) -> usize {
    (block & (REGION_BLOCKS - 1)) as usize
}

#[expect(clippy::indexing_slicing, reason = "every index is masked to the length of the array")]
impl Region {
    fn new() -> Box<Self> {
        Box::new(Self { blocks: [const { None }; REGION_BLOCKS as usize], boundary: 0, any: 0, present: 0 })
    }

    #[inline]
    fn block(&self, block: u32) -> Option<&Block> {
        self.blocks[block_in_region(block)].as_deref()
    }

    #[inline]
    fn slot(&mut self, block: u32) -> &mut Option<Box<Block>> {
        &mut self.blocks[block_in_region(block)]
    }

    fn marked(&self, marks: Marks) -> u32 {
        match marks {
            Marks::Boundary => self.boundary,
            Marks::Cut => self.any,
        }
    }

    /// Says anew whether a block is there and has marks.
    fn settle(&mut self, block: u32) {
        let bit = 1 << block_in_region(block);
        let (mut boundary, mut any, mut present) = (0, 0, 0);
        if let Some(found) = self.block(block) {
            present = bit;
            boundary = if found.has(Marks::Boundary) { bit } else { 0 };
            any = if found.has(Marks::Cut) { bit } else { 0 };
        }
        self.boundary = self.boundary & !bit | boundary;
        self.any = self.any & !bit | any;
        self.present = self.present & !bit | present;
    }
}

/// A tree of leaves, with bits that say where there are marks; all of it appears on first use.
///
/// Blocks and leaves are counted from the table's first.
#[derive(Clone, Debug)]
pub(super) struct Directory {
    /// How many regions there could be.
    reach: usize,
    /// Empty until the first leaf appears.
    regions: Vec<Option<Box<Region>>>,
    /// A bit per region: it has a boundary.
    boundary: Vec<u64>,
    /// The same for marks.
    any: Vec<u64>,
    spares: Vec<Box<Leaf>>,
    leaves: u32,
    blocks: u32,
    regions_present: u32,
}

impl Directory {
    /// A directory for `entries` entries, with nothing in it.
    pub(super) fn new(entries: u32) -> Self {
        Self::reaching(entries.div_ceil(1 << (BLOCK_SHIFT + BLOCKS_SHIFT)) as usize)
    }

    fn reaching(reach: usize) -> Self {
        Self {
            reach,
            regions: Vec::new(),
            boundary: Vec::new(),
            any: Vec::new(),
            spares: Vec::new(),
            leaves: 0,
            blocks: 0,
            regions_present: 0,
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::reaching(self.reach);
    }

    #[inline]
    fn region(&self, block: u32) -> Option<&Region> {
        self.regions.get((block >> BLOCKS_SHIFT) as usize)?.as_deref()
    }

    #[inline]
    fn region_mut(&mut self, block: u32) -> Option<&mut Region> {
        self.regions.get_mut((block >> BLOCKS_SHIFT) as usize)?.as_deref_mut()
    }

    /// The region that a block is or could be in, made if it is not there; `None` beyond the end.
    fn region_or_new(&mut self, block: u32) -> Option<&mut Region> {
        if self.regions.is_empty() {
            self.regions.resize_with(self.reach, || None);
            let words = self.reach.div_ceil(64);
            self.boundary.resize(words, 0);
            self.any.resize(words, 0);
        }
        let region = self.regions.get_mut((block >> BLOCKS_SHIFT) as usize)?;
        Some(region.get_or_insert_with(|| {
            self.regions_present += 1;
            Region::new()
        }))
    }

    /// A block by its number.
    #[inline]
    pub(super) fn block(&self, block: u32) -> Option<&Block> {
        self.region(block)?.block(block)
    }

    /// The block of a leaf, to change it.
    #[inline]
    pub(super) fn block_mut(&mut self, leaf: u32) -> Option<&mut Block> {
        let block = leaf >> LEAVES_SHIFT;
        self.region_mut(block)?.slot(block).as_deref_mut()
    }

    /// The block that a leaf is or could be in, made if it is not there; `None` beyond the end. Whoever asks puts something
    /// in, and has it settled.
    fn block_or_new(&mut self, leaf: u32) -> Option<&mut Block> {
        let number = leaf >> LEAVES_SHIFT;
        if self.block(number).is_none() {
            *self.region_or_new(number)?.slot(number) = Some(Block::new());
            self.blocks += 1;
        }
        self.block_mut(leaf)
    }

    #[inline]
    pub(super) fn leaf(&self, leaf: u32) -> Option<LeafRef<'_>> {
        self.block(leaf >> LEAVES_SHIFT)?.leaf(leaf)
    }

    #[inline]
    pub(super) fn leaf_mut(&mut self, leaf: u32) -> Option<LeafMut<'_>> {
        self.block_mut(leaf)?.leaf_mut(leaf)
    }

    /// The raw value of one entry.
    #[inline]
    pub(super) fn get(&self, index: u32) -> u64 {
        self.block(index >> BLOCK_SHIFT).map_or(0, |block| block.get(index & BLOCK_MASK))
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
        let taken = self.region_mut(number)?.slot(number).take()?;
        self.blocks -= 1;
        self.leaves -= taken.leaves();
        self.settle_block(number);
        Some(taken)
    }

    /// Puts a block in, in place of what there is.
    pub(super) fn insert_block(&mut self, number: u32, block: Box<Block>) {
        self.take_block(number);
        let leaves = block.leaves();
        let Some(region) = self.region_or_new(number) else { return };
        *region.slot(number) = Some(block);
        self.blocks += 1;
        self.leaves += leaves;
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
        if let Some(block) = block {
            let first = if ends { MarkWord::ENDS } else { MarkWord::NONE };
            let marks = block.marks_mut(leaf);
            *marks = [MarkWord::NONE; _];
            marks[0] = first;
            self.settle(leaf);
        }
    }

    /// Says anew where there are marks, after those of a leaf were changed.
    pub(super) fn settle(&mut self, leaf: u32) {
        let Some(block) = self.block_mut(leaf) else { return };
        block.settle(leaf);
        self.settle_block(leaf >> LEAVES_SHIFT);
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
        let Some(region) = self.region_mut(number) else { return };
        let slot = region.slot(number);
        let gone = slot.as_ref().is_some_and(|block| block.leaves() == 0 && !block.has(Marks::Cut));
        if gone {
            *slot = None;
        }
        region.settle(number);
        let (boundary, any, present) = (region.boundary != 0, region.any != 0, region.present != 0);
        self.blocks -= u32::from(gone);
        let at = number >> BLOCKS_SHIFT;
        for (words, bit) in [(&mut self.boundary, boundary), (&mut self.any, any)] {
            if let Some(word) = words.get_mut((at >> 6) as usize) {
                put_bit(word, at, bit);
            }
        }
        if !present && let Some(region) = self.regions.get_mut(at as usize) {
            *region = None;
            self.regions_present -= 1;
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
    pub(super) fn next_block(&self, marks: Marks, number: u32) -> Option<(u32, &Block)> {
        let next = |region: &Region, from: u32| {
            let rest = region.marked(marks) & u32::MAX << from;
            (rest != 0).then(|| rest.trailing_zeros())
        };
        let mut at = number >> BLOCKS_SHIFT;
        let mut region = self.regions.get(at as usize)?.as_deref();
        let mut found = region.and_then(|region| next(region, number & (REGION_BLOCKS - 1)));
        if found.is_none() {
            let words = match marks {
                Marks::Boundary => &self.boundary,
                Marks::Cut => &self.any,
            };
            at = next_bit(words, at + 1)?;
            region = self.regions.get(at as usize)?.as_deref();
            found = region.and_then(|region| next(region, 0));
        }
        let number = at << BLOCKS_SHIFT | found?;
        Some((number, region?.block(number)?))
    }

    /// The first leaf that exists at or after leaf `leaf`.
    pub(super) fn next_present(&self, leaf: u32) -> Option<u32> {
        let mut from = leaf & (BLOCK_LEAVES - 1);
        let mut number = leaf >> LEAVES_SHIFT;
        loop {
            let region = self.regions.get((number >> BLOCKS_SHIFT) as usize)?;
            let Some(region) = region else {
                (number, from) = ((number | (REGION_BLOCKS - 1)) + 1, 0);
                continue;
            };
            if let Some(at) = region.block(number).and_then(|block| block.next_present(from)) {
                return Some(number << LEAVES_SHIFT | at);
            }
            (number, from) = (number + 1, 0);
        }
    }

    /// All blocks that exist, in order, with their numbers.
    pub(super) fn blocks(&self) -> impl Iterator<Item = (u32, &Block)> {
        let regions = (0u32..).zip(&self.regions).filter_map(|(number, region)| Some((number, region.as_deref()?)));
        regions.flat_map(|(number, region)| {
            bits(region.present).filter_map(move |at| Some((number << BLOCKS_SHIFT | at, region.block(at)?)))
        })
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
            + self.blocks as usize * size_of::<Block>()
            + self.regions_present as usize * size_of::<Region>()
            + self.regions.capacity() * size_of::<Option<Box<Region>>>()
            + (self.boundary.capacity() + self.any.capacity()) * size_of::<u64>()
            + self.spares.capacity() * size_of::<Box<Leaf>>()
    }
}
