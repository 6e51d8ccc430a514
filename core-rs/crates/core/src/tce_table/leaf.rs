//! One leaf of a table: 512 entries, and where their runs begin.

/// Entries in a leaf, as a power of two.
///
/// 512 entries of 8 bytes fill one 4 KiB page; measured best of 64 to 4096.
pub(super) const LEAF_SHIFT: u32 = 9;
/// Entries in a leaf.
pub(super) const LEAF_ENTRIES: u32 = 1 << LEAF_SHIFT;
/// The same, as counts in a leaf are kept.
pub(super) const LEAF_FULL: u16 = 1 << LEAF_SHIFT;
/// The position of an entry in its leaf.
pub(super) const LEAF_MASK: u32 = LEAF_ENTRIES - 1;

const WORDS: usize = (LEAF_ENTRIES / 64) as usize;

/// One bit per entry of a leaf.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Bits([u64; WORDS]);

#[expect(clippy::indexing_slicing, reason = "every index is masked to the length of the array")]
impl Bits {
    pub(super) const EMPTY: Self = Self([0; WORDS]);

    /// The word that holds entry `at`.
    pub(super) fn word(&self, at: u32) -> u64 {
        self.0[(at >> 6) as usize & (WORDS - 1)]
    }

    pub(super) fn word_mut(&mut self, at: u32) -> &mut u64 {
        &mut self.0[(at >> 6) as usize & (WORDS - 1)]
    }

    pub(super) fn get(&self, at: u32) -> bool {
        self.word(at) >> (at & 63) & 1 != 0
    }

    /// Sets one bit; returns whether it was set before.
    pub(super) fn set(&mut self, at: u32, bit: bool) -> bool {
        let word = self.word_mut(at);
        let mask = 1u64 << (at & 63);
        let before = *word & mask != 0;
        *word = if bit { *word | mask } else { *word & !mask };
        before
    }

    /// The first set bit at or after `at`.
    pub(super) fn next(&self, at: u32) -> Option<u32> {
        next_bit(&self.0, at)
    }
}

/// The first set bit of `words` at or after `at`.
pub(super) fn next_bit(words: &[u64], at: u32) -> Option<u32> {
    let mut rest = words.iter().zip((0u32..).step_by(64)).skip((at >> 6) as usize);
    let (&word, base) = rest.next()?;
    let word = word & (u64::MAX << (at & 63));
    if word != 0 {
        return Some(base + word.trailing_zeros());
    }
    rest.find(|(word, _)| **word != 0).map(|(word, base)| base + word.trailing_zeros())
}

/// 512 consecutive entries; one exists only where an entry is not zero.
///
/// 4232 bytes: 8.27 per entry. Both bitmaps look one entry back, into the leaf before for entry 0.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Leaf {
    entries: [u64; LEAF_ENTRIES as usize],
    /// Bit i: entry i does not continue entry i - 1 (other permission, or a target that does not adjoin).
    pub(super) boundary: Bits,
    /// Bit i: a boundary, or a mapped entry that another guest call stored than entry i - 1.
    ///
    /// Boundaries and call starts need no separate bits: whoever makes or removes a boundary at i writes
    /// entry i or i - 1, and both say anew whether a call starts at i.
    pub(super) cut: Bits,
    /// Entries that are not zero.
    pub(super) stored: u16,
    /// Entries with a permission.
    pub(super) mapped: u16,
    /// Set bits of `boundary`.
    pub(super) boundaries: u16,
    /// Set bits of `cut`.
    pub(super) cuts: u16,
}

#[expect(clippy::indexing_slicing, reason = "every index is masked to the length of the array")]
impl Leaf {
    pub(super) fn new() -> Box<Self> {
        Box::new(Self {
            entries: [0; LEAF_ENTRIES as usize],
            boundary: Bits::EMPTY,
            cut: Bits::EMPTY,
            stored: 0,
            mapped: 0,
            boundaries: 0,
            cuts: 0,
        })
    }

    pub(super) fn get(&self, at: u32) -> u64 {
        self.entries[(at & LEAF_MASK) as usize]
    }

    pub(super) fn entry_mut(&mut self, at: u32) -> &mut u64 {
        &mut self.entries[(at & LEAF_MASK) as usize]
    }

    pub(super) fn entries(&self) -> &[u64] {
        &self.entries
    }

    /// Makes all entries `value`; bitmaps and counts are the caller's.
    pub(super) fn fill(&mut self, value: u64) {
        self.entries.fill(value);
    }

    /// Says whether entry `at` begins a run, and a run or a call; returns what was said before.
    pub(super) fn set_marks(&mut self, at: u32, boundary: bool, cut: bool) -> (bool, bool) {
        let began = self.boundary.set(at, boundary);
        self.boundaries = self.boundaries + u16::from(boundary) - u16::from(began);
        let was_cut = self.cut.set(at, cut);
        self.cuts = self.cuts + u16::from(cut) - u16::from(was_cut);
        (began, was_cut)
    }

    /// Mapped entries that begin a run.
    pub(super) fn runs(&self) -> u32 {
        if self.mapped == 0 {
            return 0;
        }
        if u32::from(self.mapped) == LEAF_ENTRIES {
            return u32::from(self.boundaries);
        }
        let mut runs = 0;
        let mut at = self.boundary.next(0);
        while let Some(begin) = at {
            runs += u32::from(self.get(begin) & 3 != 0);
            at = self.boundary.next(begin + 1);
        }
        runs
    }

    /// Forgets the bitmaps of a leaf whose entries are all zero, so that it is as new.
    pub(super) fn recycle(&mut self) {
        self.boundary = Bits::EMPTY;
        self.cut = Bits::EMPTY;
        (self.stored, self.mapped, self.boundaries, self.cuts) = (0, 0, 0, 0);
    }
}
