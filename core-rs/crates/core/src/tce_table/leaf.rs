//! One leaf of a table: 512 entries, and where their runs begin.

use super::counts::Counts;
use super::directory::Marks;

/// Entries in a leaf, as a power of two: 512 entries of 8 bytes are 4 KiB.
pub(super) const LEAF_SHIFT: u32 = 9;
/// Entries in a leaf.
pub(super) const LEAF_ENTRIES: u32 = 1 << LEAF_SHIFT;
/// The position of an entry in its leaf.
pub(super) const LEAF_MASK: u32 = LEAF_ENTRIES - 1;

const WORDS: usize = (LEAF_ENTRIES / 64) as usize;

/// The marks of 64 entries, side by side, so that a store touches one cache line of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct MarkWord {
    /// Bit i: entry i does not continue entry i - 1 (other permission, or a target that does not adjoin).
    pub(super) boundary: u64,
    /// Bit i: a boundary, or a mapped entry that another guest call stored than entry i - 1.
    ///
    /// Boundaries and call starts need no separate bits: whoever makes or removes a boundary at i writes
    /// entry i or i - 1, and both say anew whether a call starts at i.
    pub(super) cut: u64,
}

impl MarkWord {
    pub(super) const NONE: Self = Self { boundary: 0, cut: 0 };

    pub(super) fn of(self, marks: Marks) -> u64 {
        match marks {
            Marks::Boundary => self.boundary,
            Marks::Cut => self.cut,
        }
    }
}

/// 512 consecutive entries; one exists only where an entry is not zero.
///
/// 4232 bytes: 8.27 per entry. Marks look one entry back, into the leaf before for entry 0.
#[derive(Clone, Debug)]
pub(super) struct Leaf {
    entries: [u64; LEAF_ENTRIES as usize],
    marks: [MarkWord; WORDS],
    pub(super) counts: Counts,
}

#[expect(clippy::indexing_slicing, reason = "every index is masked to the length of the array")]
impl Leaf {
    pub(super) fn new() -> Box<Self> {
        Box::new(Self {
            entries: [0; LEAF_ENTRIES as usize],
            marks: [MarkWord::NONE; WORDS],
            counts: Counts::default(),
        })
    }

    #[inline]
    pub(super) fn get(&self, at: u32) -> u64 {
        self.entries[(at & LEAF_MASK) as usize]
    }

    #[inline]
    pub(super) fn entry_mut(&mut self, at: u32) -> &mut u64 {
        &mut self.entries[(at & LEAF_MASK) as usize]
    }

    /// The word with the marks of entry `at`.
    #[inline]
    pub(super) fn marks(&self, at: u32) -> MarkWord {
        self.marks[(at >> 6) as usize & (WORDS - 1)]
    }

    #[inline]
    pub(super) fn marks_mut(&mut self, at: u32) -> &mut MarkWord {
        &mut self.marks[(at >> 6) as usize & (WORDS - 1)]
    }
}

impl Leaf {
    /// Entries `lo` to `hi`.
    pub(super) fn part(&self, lo: u32, hi: u32) -> &[u64] {
        self.entries.get(lo as usize..=hi as usize).unwrap_or(&[])
    }

    /// Entries `lo` to `hi`.
    pub(super) fn part_mut(&mut self, lo: u32, hi: u32) -> &mut [u64] {
        self.entries.get_mut(lo as usize..=hi as usize).unwrap_or(&mut [])
    }

    /// Makes all entries `value`, and all marks what they say; counts are the caller's.
    pub(super) fn fill(&mut self, value: u64, marks: MarkWord) {
        self.entries.fill(value);
        self.marks.fill(marks);
    }

    /// Forgets the marks of a leaf whose entries are all zero, so that it is as new.
    pub(super) fn recycle(&mut self) {
        self.marks.fill(MarkWord::NONE);
        self.counts = Counts::default();
    }

    /// Says whether entry `at` begins a run, and a run or a call; returns whether it began either.
    #[inline]
    pub(super) fn set_marks(&mut self, at: u32, boundary: bool, cut: bool) -> bool {
        let shift = at & 63;
        let had = self.replace_marks(at, 1 << shift, u64::from(boundary) << shift, u64::from(cut) << shift);
        had.cut >> shift & 1 != 0
    }

    /// The same for an entry and the one after it: bit 0 of each word is the entry's, bit 1 that of the next. Returns the
    /// cuts as they were, and whether the leaf may have got its first mark, or lost its last.
    #[inline]
    pub(super) fn swap_two(&mut self, at: u32, marks: MarkWord) -> (u64, bool) {
        let shift = at & 63;
        if shift == 63 {
            return self.swap_apart(at, marks);
        }
        let word = self.marks_mut(at);
        let had = *word;
        let mask = !(3 << shift);
        let has = MarkWord {
            boundary: had.boundary & mask | marks.boundary << shift,
            cut: had.cut & mask | marks.cut << shift,
        };
        *word = has;
        // Every boundary is a cut: where there is one before and after, nothing came or went.
        (had.cut >> shift & 3, (had.boundary == 0) | (has.boundary == 0))
    }

    /// The same where the two are in different words.
    #[cold]
    fn swap_apart(&mut self, at: u32, marks: MarkWord) -> (u64, bool) {
        let one = self.replace_marks(at, 1 << 63, marks.boundary << 63, marks.cut << 63);
        let next = self.replace_marks(at + 1, 1, marks.boundary >> 1, marks.cut >> 1);
        (one.cut >> 63 | (next.cut & 1) << 1, true)
    }

    /// Replaces the marks that `mask` has in the word of entry `at`; returns the word as it was.
    #[inline]
    pub(super) fn replace_marks(&mut self, at: u32, mask: u64, boundary: u64, cut: u64) -> MarkWord {
        let word = self.marks_mut(at);
        let had = *word;
        *word = MarkWord { boundary: had.boundary & !mask | boundary, cut: had.cut & !mask | cut };
        had
    }

    /// Whether any entry begins a run, and whether any begins a run or a call.
    pub(super) fn any_marks(&self) -> (bool, bool) {
        let all = self.marks.iter().fold(MarkWord::NONE, |all, word| MarkWord {
            boundary: all.boundary | word.boundary,
            cut: all.cut | word.cut,
        });
        (all.boundary != 0, all.cut != 0)
    }

    /// The marks of entries `lo` to `hi`, a bit each; none elsewhere.
    #[inline]
    pub(super) fn words(&self, marks: Marks, lo: u32, hi: u32) -> [u64; WORDS] {
        let mut words = self.marks.map(|word| word.of(marks));
        for (word, base) in words.iter_mut().zip((0u32..).step_by(64)) {
            let (from, to) = (lo.saturating_sub(base), hi.saturating_sub(base).min(63));
            if base > hi || from > 63 {
                *word = 0;
            } else {
                *word &= (u64::MAX << from) & (u64::MAX >> (63 - to));
            }
        }
        words
    }

    /// The first mark at or after entry `at`.
    pub(super) fn next(&self, marks: Marks, at: u32) -> Option<u32> {
        let mut mask = u64::MAX << (at & 63);
        for (word, base) in self.marks.iter().zip((0u32..).step_by(64)).skip((at >> 6) as usize) {
            let word = word.of(marks) & mask;
            if word != 0 {
                return Some(base + word.trailing_zeros());
            }
            mask = u64::MAX;
        }
        None
    }

    /// Calls `visit` for every run, mapped or not: first entry, number of entries, value of the first, and whether it does
    /// not go on with the run that the leaf before ends with.
    #[inline]
    pub(super) fn each_run(&self, mut visit: impl FnMut(u32, u32, u64, bool)) {
        let mut begins = self.marks(0).boundary & 1 != 0;
        let (mut first, mut tce) = (0, self.get(0));
        let mut mask = !1;
        for (word, base) in self.marks.iter().zip((0u32..).step_by(64)) {
            let mut bits = word.boundary & mask;
            mask = u64::MAX;
            while bits != 0 {
                let next = base + bits.trailing_zeros();
                bits &= bits - 1;
                visit(first, next - first, tce, begins);
                (first, tce, begins) = (next, self.get(next), true);
            }
        }
        visit(first, LEAF_ENTRIES - first, tce, begins);
    }

    /// Mapped entries that begin a run, and those that begin a run or a call.
    pub(super) fn count_runs(&self, marks: Marks) -> u32 {
        if self.counts.mapped() == 0 {
            return 0;
        }
        let all = self.counts.mapped() == LEAF_ENTRIES;
        let mut runs = 0;
        for (word, entries) in self.marks.iter().zip(self.entries.chunks(64)) {
            let mut word = word.of(marks);
            if all {
                runs += word.count_ones();
                continue;
            }
            while word != 0 {
                runs += u32::from(entries.get(word.trailing_zeros() as usize).is_some_and(|tce| tce & 3 != 0));
                word &= word - 1;
            }
        }
        runs
    }
}

/// Whole words, and no early end: a slice's own comparison goes byte by byte in WebAssembly.
impl PartialEq for Leaf {
    fn eq(&self, other: &Self) -> bool {
        let entries = self.entries.iter().zip(&other.entries).fold(0, |differ, (a, b)| differ | (a ^ b));
        entries == 0 && self.counts == other.counts && self.marks == other.marks
    }
}

/// The positions of bits that are set.
#[inline]
pub(super) fn bits(words: &[u64]) -> impl Iterator<Item = u32> {
    words.iter().zip((0..).step_by(64)).flat_map(|(word, base)| {
        let mut rest = *word;
        core::iter::from_fn(move || {
            let at = (rest != 0).then(|| base + rest.trailing_zeros())?;
            rest &= rest - 1;
            Some(at)
        })
    })
}

/// The first set bit of `words` at or after `at`.
pub(super) fn next_bit(words: &[u64], at: u32) -> Option<u32> {
    let mut mask = u64::MAX << (at & 63);
    for (word, base) in words.iter().zip((0u32..).step_by(64)).skip((at >> 6) as usize) {
        let word = word & mask;
        if word != 0 {
            return Some(base + word.trailing_zeros());
        }
        mask = u64::MAX;
    }
    None
}
