//! A part of a table of which the same is known, or not.

use super::leaf::{Counts, Edit, LEAF_MASK, LEAF_SHIFT, Leaf, Word};

/// Entries in a block, as a power of two: those of a host bridge's default window. 2^32 entries are 16384 blocks.
pub(super) const BLOCK_SHIFT: u32 = 18;
/// The position of an entry in its block.
pub(super) const BLOCK_MASK: u32 = (1 << BLOCK_SHIFT) - 1;

const LEAVES: usize = 1 << (BLOCK_SHIFT - LEAF_SHIFT);

/// A part of a table.
#[derive(Clone, Debug)]
pub(super) enum Part<T> {
    /// The same is known of all entries.
    All(Whole),
    /// It must be looked at closer.
    Mixed(Box<T>),
}

/// What can be known of a whole part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Whole {
    /// Everything, and no call is remembered.
    Known,
    /// Nothing.
    Unknown,
}

impl Whole {
    #[inline]
    pub(super) fn word(self) -> &'static Word {
        match self {
            Self::Known => &Word::KNOWN,
            Self::Unknown => &Word::UNKNOWN,
        }
    }

    fn count(self, entries: u32) -> Counts {
        let unknown = if self == Self::Unknown { u64::from(entries) } else { 0 };
        Counts { unknown, in_use: 0 }
    }
}

/// What a map counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Tally {
    pub(super) counts: Counts,
    /// Leaves that are mixed.
    pub(super) leaves: u32,
}

impl Tally {
    fn replace(&mut self, old: Self, new: Self) {
        self.counts.replace(old.counts, new.counts);
        self.leaves = self.leaves + new.leaves - old.leaves;
    }
}

/// Something that has parts of its own, or words.
pub(super) trait Divided {
    /// How many entries it has.
    const ENTRIES: u32;

    /// All of its entries the same.
    fn of(whole: Whole) -> Box<Self>;

    fn tally(&self) -> Tally;

    /// See [`Part::edit`].
    fn edit(&mut self, lo: u32, hi: u32, whole: Option<Whole>, edit: &mut Edit<'_>, tally: &mut Tally);
}

impl<T: Divided> Part<T> {
    fn tally(&self) -> Tally {
        match self {
            Self::All(whole) => Tally { counts: whole.count(T::ENTRIES), leaves: 0 },
            Self::Mixed(mixed) => mixed.tally(),
        }
    }

    /// Changes entries `lo` to `hi` of the part word by word; where it makes a part the same as a `whole`, no word is
    /// looked at. Says in `tally` what that does.
    pub(super) fn edit(&mut self, lo: u32, hi: u32, whole: Option<Whole>, edit: &mut Edit<'_>, tally: &mut Tally) {
        if let Some(whole) = whole {
            if matches!(self, Self::All(all) if *all == whole) {
                return;
            }
            if hi - lo == T::ENTRIES - 1 {
                let old = self.tally();
                *self = Self::All(whole);
                tally.replace(old, self.tally());
                return;
            }
        }
        if let Self::All(all) = *self {
            let old = self.tally();
            *self = Self::Mixed(T::of(all));
            tally.replace(old, self.tally());
        }
        if let Self::Mixed(mixed) = self {
            mixed.edit(lo, hi, whole, edit, tally);
        }
    }
}

impl Divided for Leaf {
    const ENTRIES: u32 = 1 << LEAF_SHIFT;

    fn of(whole: Whole) -> Box<Self> {
        Self::of(*whole.word())
    }

    fn tally(&self) -> Tally {
        Tally { counts: self.count(), leaves: 1 }
    }

    fn edit(&mut self, lo: u32, hi: u32, _: Option<Whole>, edit: &mut Edit<'_>, tally: &mut Tally) {
        self.edit(lo, hi, edit, &mut tally.counts);
    }
}

/// Consecutive leaves.
#[derive(Clone, Debug)]
pub(super) struct Block {
    leaves: [Part<Leaf>; LEAVES],
}

#[expect(clippy::indexing_slicing, reason = "every index is masked to the length of the array")]
impl Block {
    #[inline]
    pub(super) fn leaf(&self, index: u32) -> &Part<Leaf> {
        &self.leaves[(index >> LEAF_SHIFT) as usize & (LEAVES - 1)]
    }

    #[inline]
    pub(super) fn leaf_mut(&mut self, index: u32) -> &mut Part<Leaf> {
        &mut self.leaves[(index >> LEAF_SHIFT) as usize & (LEAVES - 1)]
    }
}

impl Block {
    pub(super) fn forget_calls(&mut self) {
        for leaf in &mut self.leaves {
            if let Part::Mixed(leaf) = leaf {
                leaf.forget_calls();
            }
        }
    }

    /// Gives leaves back of which everything is known; returns how many.
    pub(super) fn tidy(&mut self) -> u32 {
        let mut given = 0;
        for leaf in &mut self.leaves {
            if matches!(leaf, Part::Mixed(mixed) if mixed.is_known()) {
                *leaf = Part::All(Whole::Known);
                given += 1;
            }
        }
        given
    }
}

impl Divided for Block {
    const ENTRIES: u32 = 1 << BLOCK_SHIFT;

    fn of(whole: Whole) -> Box<Self> {
        Box::new(Self { leaves: core::array::from_fn(|_| Part::All(whole)) })
    }

    fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        for leaf in &self.leaves {
            tally.replace(Tally::default(), leaf.tally());
        }
        tally
    }

    fn edit(&mut self, lo: u32, hi: u32, whole: Option<Whole>, edit: &mut Edit<'_>, tally: &mut Tally) {
        let mut at = lo;
        while at <= hi {
            let last = hi.min(at | LEAF_MASK);
            self.leaf_mut(at).edit(at & LEAF_MASK, last & LEAF_MASK, whole, edit, tally);
            at = last + 1;
        }
    }
}
