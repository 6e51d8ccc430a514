//! One leaf of a table: 512 entries, and their marks.

use super::counts::Counts;
use super::marks::MarkWord;

/// Entries in a leaf, as a power of two: 512 entries of 8 bytes are 4 KiB.
pub(super) const LEAF_SHIFT: u32 = 9;
/// Entries in a leaf.
pub(super) const LEAF_ENTRIES: u32 = 1 << LEAF_SHIFT;
/// The position of an entry in its leaf.
pub(super) const LEAF_MASK: u32 = LEAF_ENTRIES - 1;

/// The words that hold the marks of a leaf.
pub(super) const LEAF_WORDS: usize = (LEAF_ENTRIES / 64) as usize;

/// The marks of a leaf. Those of the first entry look one entry back, into the leaf before.
pub(super) type LeafMarks = [MarkWord; LEAF_WORDS];

/// The values of 512 consecutive entries; they exist only where one is not zero.
#[derive(Clone, Debug)]
pub(super) struct Leaf([u64; LEAF_ENTRIES as usize]);

impl Leaf {
    pub(super) fn new() -> Box<Self> {
        Box::new(Self([0; LEAF_ENTRIES as usize]))
    }

    #[inline]
    #[expect(clippy::indexing_slicing, reason = "the index is masked to the length of the array")]
    pub(super) fn get(&self, at: u32) -> u64 {
        self.0[(at & LEAF_MASK) as usize]
    }

    #[inline]
    #[expect(clippy::indexing_slicing, reason = "the index is masked to the length of the array")]
    pub(super) fn entry_mut(&mut self, at: u32) -> &mut u64 {
        &mut self.0[(at & LEAF_MASK) as usize]
    }

    /// The entry before one, the entry, and the one after it, if all are in the leaf.
    #[inline]
    pub(super) fn around(&mut self, at: u32) -> Option<&mut [u64; 3]> {
        self.0.get_mut(at.wrapping_sub(1) as usize..)?.first_chunk_mut()
    }

    /// Reads the memory of 64 entries from `at` on, one of each cache line.
    #[inline]
    pub(super) fn touch(&self, at: u32) -> u64 {
        let (lines, _) = self.part(at, at + 63).as_chunks::<8>();
        lines.iter().fold(0, |all, [first, ..]| all ^ first)
    }

    /// Entries `lo` to `hi`.
    #[inline]
    pub(super) fn part(&self, lo: u32, hi: u32) -> &[u64] {
        self.0.get(lo as usize..=hi as usize).unwrap_or(&[])
    }

    /// Entries `lo` to `hi`.
    pub(super) fn part_mut(&mut self, lo: u32, hi: u32) -> &mut [u64] {
        self.0.get_mut(lo as usize..=hi as usize).unwrap_or(&mut [])
    }

    pub(super) fn fill(&mut self, value: u64) {
        self.0.fill(value);
    }

    /// Whether no entry differs. Whole words, and no early end: a slice's own comparison goes byte by byte in WebAssembly.
    pub(super) fn equals(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
    }
}

/// A leaf that is there, with what its block knows of it, to be changed. Whoever changes marks has the block take note
/// of it.
#[derive(Debug)]
pub(super) struct LeafMut<'a> {
    pub(super) entries: &'a mut Leaf,
    pub(super) marks: &'a mut LeafMarks,
    pub(super) counts: &'a mut Counts,
}

impl LeafMut<'_> {
    /// The word with the marks of entry `at`.
    #[inline]
    #[expect(clippy::indexing_slicing, reason = "the index is masked to the length of the array")]
    pub(super) fn marks_mut(&mut self, at: u32) -> &mut MarkWord {
        &mut self.marks[(at >> 6) as usize & (LEAF_WORDS - 1)]
    }

    /// Says whether entry `at` is a boundary, and its note; returns its note as it was.
    #[inline]
    pub(super) fn set_mark(&mut self, at: u32, boundary: bool, note: bool) -> bool {
        let shift = at & 63;
        let had = self.replace_marks(at, 1 << shift, u64::from(boundary) << shift, u64::from(note) << shift);
        had.note >> shift & 1 != 0
    }

    /// The same for an entry and the one after it: bit 0 of each word is the entry's, bit 1 that of the next. Returns the
    /// notes as they were, at their places among 64, and whether a word got its first mark or lost its last.
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
            note: had.note & mask | marks.note << shift,
        };
        *word = has;
        (had.note, had.flips(has))
    }

    /// The same where the two are in different words.
    #[cold]
    fn swap_apart(&mut self, at: u32, marks: MarkWord) -> (u64, bool) {
        let one = self.replace_marks(at, 1 << 63, marks.boundary << 63, marks.note << 63);
        let next = self.replace_marks(at + 1, 1, marks.boundary >> 1, marks.note >> 1);
        (one.note & 1 << 63 | next.note & 1, true)
    }

    /// Replaces the marks that `mask` has in the word of entry `at`; returns the word as it was.
    #[inline]
    pub(super) fn replace_marks(&mut self, at: u32, mask: u64, boundary: u64, note: u64) -> MarkWord {
        let word = self.marks_mut(at);
        let had = *word;
        *word = MarkWord { boundary: had.boundary & !mask | boundary, note: had.note & !mask | note };
        had
    }
}
