//! What is known of 512 entries, a bit of each kind for each entry.

/// Entries in a leaf, as a power of two.
pub(super) const LEAF_SHIFT: u32 = 9;
/// The position of an entry in its leaf.
pub(super) const LEAF_MASK: u32 = (1 << LEAF_SHIFT) - 1;

const WORDS: usize = 1 << (LEAF_SHIFT - 6);

/// What is known of 64 entries. No bits at all: every one of them is known, and no call is remembered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Word {
    /// The content is not known.
    pub(super) unknown: u64,
    /// Not known, but in use all the same.
    pub(super) in_use: u64,
    /// Page and permission are known, and no more.
    pub(super) page_only: u64,
    /// A logged call stored it whose values the log does not show.
    pub(super) listed: u64,
    /// Such a call began at it.
    pub(super) begins: u64,
}

/// A change of some entries of a word; it gets a mask of them.
pub(super) type Edit<'a> = dyn FnMut(&mut Word, u64) + 'a;

impl Word {
    pub(super) const KNOWN: Self = Self { unknown: 0, in_use: 0, page_only: 0, listed: 0, begins: 0 };
    pub(super) const UNKNOWN: Self = Self { unknown: u64::MAX, ..Self::KNOWN };

    /// Whether anything is remembered of one of these entries.
    #[inline]
    pub(super) fn has(&self, mask: u64) -> bool {
        (self.unknown | self.page_only | self.listed) & mask != 0
    }

    /// All of these entries are known.
    #[inline]
    pub(super) fn know(&mut self, mask: u64) {
        self.unknown &= !mask;
        self.in_use &= !mask;
        self.page_only &= !mask;
        self.listed &= !mask;
        self.begins &= !mask;
    }

    /// Nothing of these entries is known.
    pub(super) fn forget(&mut self, mask: u64) {
        self.know(mask);
        self.unknown |= mask;
    }
}

/// 512 consecutive entries.
#[derive(Clone, Debug)]
pub(super) struct Leaf {
    words: [Word; WORDS],
}

#[expect(clippy::indexing_slicing, reason = "every index is masked to the length of the array")]
impl Leaf {
    /// A leaf, all entries of which are as those of a word.
    pub(super) fn of(word: Word) -> Box<Self> {
        Box::new(Self { words: [word; WORDS] })
    }

    /// The word of an entry.
    #[inline]
    pub(super) fn word(&self, index: u32) -> &Word {
        &self.words[(index >> 6) as usize & (WORDS - 1)]
    }

    #[inline]
    pub(super) fn word_mut(&mut self, index: u32) -> &mut Word {
        &mut self.words[(index >> 6) as usize & (WORDS - 1)]
    }
}

impl Leaf {
    /// Changes entries `lo` to `hi`, word by word. Says in `counts` what that does.
    pub(super) fn edit(&mut self, lo: u32, hi: u32, edit: &mut Edit<'_>, counts: &mut Counts) {
        let mut at = lo;
        while at <= hi {
            let last = hi.min(at | 63);
            let word = self.word_mut(at);
            let old = Counts::of(word);
            edit(word, u64::MAX << (at & 63) & u64::MAX >> (63 - (last & 63)));
            counts.replace(old, Counts::of(word));
            at = last + 1;
        }
    }

    /// Whether nothing is remembered of any entry.
    pub(super) fn is_known(&self) -> bool {
        !self.words.iter().any(|word| word.has(u64::MAX))
    }

    pub(super) fn count(&self) -> Counts {
        let mut counts = Counts::default();
        for word in &self.words {
            counts.replace(Counts::default(), Counts::of(word));
        }
        counts
    }

    /// Forgets which calls stored what.
    pub(super) fn forget_calls(&mut self) {
        for word in &mut self.words {
            word.listed = 0;
            word.begins = 0;
        }
    }
}

/// How many entries are unknown, and how many of these are in use.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Counts {
    pub(super) unknown: u64,
    pub(super) in_use: u64,
}

impl Counts {
    #[inline]
    pub(super) fn of(word: &Word) -> Self {
        Self { unknown: u64::from(word.unknown.count_ones()), in_use: u64::from(word.in_use.count_ones()) }
    }

    /// Counts `new` where `old` was counted.
    #[inline]
    pub(super) fn replace(&mut self, old: Self, new: Self) {
        self.unknown = self.unknown + new.unknown - old.unknown;
        self.in_use = self.in_use + new.in_use - old.in_use;
    }
}
