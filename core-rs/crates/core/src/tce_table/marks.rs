//! Where the runs of a table begin and end, two bits for each entry.

/// Which beginnings a walk stops at: those of runs, and the bits of calls that it takes for beginnings as well, none or all. A
/// mask, as a walk looks at each word with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Marks(u64);

impl Marks {
    /// Of runs.
    pub(super) const BOUNDARY: Self = Self(0);
    /// Of runs and of guest calls.
    pub(super) const CUT: Self = Self(u64::MAX);
}

/// The marks of 64 entries, side by side, so that a store touches one cache line of them.
///
/// | boundary | note | entry i |
/// | --- | --- | --- |
/// | 0 | 0 | continues entry i - 1, or neither maps |
/// | 0 | 1 | continues entry i - 1, and another guest call stored it |
/// | 1 | 0 | maps, and does not continue entry i - 1 (other permission, or a target that does not adjoin) |
/// | 1 | 1 | does not map, and entry i - 1 does |
///
/// So a walk knows the ends of runs without the entries that follow them. Boundaries need no bit for calls: whoever makes
/// or removes one writes entry i or i - 1, and both say anew whether a call begins at i.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct MarkWord {
    pub(super) boundary: u64,
    pub(super) note: u64,
}

impl MarkWord {
    pub(super) const NONE: Self = Self { boundary: 0, note: 0 };
    /// The first entry does not map, and the one before it does.
    pub(super) const ENDS: Self = Self { boundary: 1, note: 1 };

    /// Where what was mapped before ends, or another run or call begins.
    #[inline]
    pub(super) fn ends(self, marks: Marks) -> u64 {
        self.boundary | self.note & marks.0
    }

    /// Mapped entries at which a run, or a run or a call begins.
    #[inline]
    pub(super) fn begins(self, marks: Marks) -> u64 {
        (self.boundary ^ self.note) & (self.boundary | marks.0)
    }

    #[inline]
    pub(super) fn any(self) -> u64 {
        self.boundary | self.note
    }

    /// Whether the bits that say which words have marks change where this word becomes another one.
    #[inline]
    pub(super) fn flips(self, to: Self) -> bool {
        // Nearly always a boundary stays.
        self.boundary & to.boundary == 0
            && ((self.boundary == 0) != (to.boundary == 0)) | ((self.any() == 0) != (to.any() == 0))
    }
}

/// The note of an entry, by whether it is a boundary, maps, and would begin a call if it went on with a run.
#[inline]
pub(super) fn note(boundary: bool, mapped: bool, calls: bool) -> bool {
    if boundary { !mapped } else { mapped & calls }
}
