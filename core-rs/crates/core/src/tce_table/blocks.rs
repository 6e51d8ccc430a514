//! Blocks by their number, in a table that is mostly not there.

use super::block::{BLOCK_MASK, BLOCK_SHIFT, Block};

type Place = Option<Box<Block>>;

/// The first block that is not found in one step.
const FIRST_FAR: u32 = 1024;
/// Blocks in a piece of all others.
const PIECE: u32 = 1024;

type Piece = [Place; PIECE as usize];

/// The blocks of a table. Those of the first 2^25 entries, which nearly all guests stay within, are found in one step; the
/// others in pieces that exist only where there are some.
#[derive(Clone, Debug)]
pub(super) struct Blocks {
    /// How many there could be.
    reach: u32,
    /// Up to the last one of these that there ever was.
    near: Vec<Place>,
    /// The piece of block 1024 is the first.
    far: Vec<Option<Box<Piece>>>,
    present: usize,
}

impl Blocks {
    pub(super) fn new(reach: u32) -> Self {
        Self { reach, near: Vec::new(), far: Vec::new(), present: 0 }
    }

    /// Takes all of them out.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.reach);
    }

    #[inline]
    pub(super) fn get(&self, number: u32) -> Option<&Block> {
        match self.near.get(number as usize) {
            Some(block) => block.as_deref(),
            None => self.get_far(number),
        }
    }

    #[inline]
    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut Block> {
        self.place_of(number)?.as_deref_mut()
    }

    /// The same for what is found in one step; nothing for others.
    #[inline]
    pub(super) fn near_mut(&mut self, number: u32) -> Option<&mut Block> {
        self.near.get_mut(number as usize)?.as_deref_mut()
    }

    /// The raw value of one entry.
    #[inline]
    pub(super) fn entry(&self, index: u32) -> u64 {
        match self.near.get((index >> BLOCK_SHIFT) as usize) {
            Some(Some(block)) => block.get(index & BLOCK_MASK),
            Some(None) => 0,
            None => self.entry_far(index),
        }
    }

    #[cold]
    #[inline(never)]
    fn entry_far(&self, index: u32) -> u64 {
        self.get_far(index >> BLOCK_SHIFT).map_or(0, |block| block.get(index & BLOCK_MASK))
    }

    #[inline]
    fn place_of(&mut self, number: u32) -> Option<&mut Place> {
        // Asked twice, as the compiler does not see that the first answer is gone in the other case.
        if (number as usize) < self.near.len() { self.near.get_mut(number as usize) } else { self.place_far(number) }
    }

    #[cold]
    #[inline(never)]
    fn get_far(&self, number: u32) -> Option<&Block> {
        let far = number.checked_sub(FIRST_FAR)?;
        self.far.get((far / PIECE) as usize)?.as_ref()?.get((far % PIECE) as usize)?.as_deref()
    }

    #[cold]
    #[inline(never)]
    fn place_far(&mut self, number: u32) -> Option<&mut Place> {
        let far = number.checked_sub(FIRST_FAR)?;
        self.far.get_mut((far / PIECE) as usize)?.as_mut()?.get_mut((far % PIECE) as usize)
    }

    /// A block, made if it is not there; `None` beyond the end.
    pub(super) fn get_or_new(&mut self, number: u32) -> Option<&mut Block> {
        if self.get(number).is_none() {
            self.insert(number, Block::new());
        }
        self.get_mut(number)
    }

    /// Puts a block in, in place of what there is; beyond the end nothing.
    pub(super) fn insert(&mut self, number: u32, block: Box<Block>) {
        if number >= self.reach {
            return;
        }
        if let Some(far) = number.checked_sub(FIRST_FAR) {
            let piece = (far / PIECE) as usize;
            if piece >= self.far.len() {
                self.far.resize_with(piece + 1, || None);
            }
            if let Some(piece) = self.far.get_mut(piece) {
                piece.get_or_insert_with(|| Box::new([const { None }; PIECE as usize]));
            }
        } else if number as usize >= self.near.len() {
            self.near.resize_with(number as usize + 1, || None);
        }
        if let Some(place) = self.place_of(number)
            && place.replace(block).is_none()
        {
            self.present += 1;
        }
    }

    /// Takes a block out.
    pub(super) fn take(&mut self, number: u32) -> Option<Box<Block>> {
        let taken = self.place_of(number)?.take()?;
        self.present -= 1;
        Some(taken)
    }

    /// All blocks that exist from a number on, in order, with their numbers.
    pub(super) fn from(&self, number: u32) -> impl Iterator<Item = (u32, &Block)> {
        let near = (number..).zip(self.near.get(number as usize..).unwrap_or(&[]));
        let far = number.saturating_sub(FIRST_FAR);
        let (piece, within) = (far / PIECE, far % PIECE);
        let first = FIRST_FAR + piece * PIECE;
        let pieces = (first..).step_by(PIECE as usize).zip(self.far.get(piece as usize..).unwrap_or(&[]));
        let far = pieces.filter_map(|(at, piece)| Some((at, piece.as_ref()?))).flat_map(move |(at, piece)| {
            let skipped = if at == first { within } else { 0 };
            (at..).zip(piece.iter()).skip(skipped as usize)
        });
        near.chain(far).filter_map(|(number, place)| Some((number, place.as_deref()?)))
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let pieces = self.far.iter().flatten().count();
        self.present * size_of::<Block>()
            + (self.near.capacity() + pieces * PIECE as usize) * size_of::<Place>()
            + self.far.capacity() * size_of::<Option<Box<Piece>>>()
    }
}
