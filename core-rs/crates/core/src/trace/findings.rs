//! What a machine finds while it reads a log.

/// How often the log and the rebuilt tables said the same of an entry.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[non_exhaustive]
pub struct Agreement {
    /// Both said the same.
    pub agreed: u64,
    /// They did not.
    pub disagreed: u64,
    /// The entry was unknown: the log's answer made it known.
    pub learned: u64,
}

/// What an entry says: where it points to and what a device may do.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub struct Answer {
    /// The page, or the whole entry where a guest read it.
    pub target: u64,
    /// Bit 0 read, bit 1 write.
    pub perm: u8,
    /// The page size as the log gives it: the mask of the page, cut to 32 bits. All ones where there is no entry.
    pub mask: u32,
}

/// A line that contradicts a rebuilt table.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub struct Disagreement {
    /// The line.
    pub line: u64,
    /// The table.
    pub liobn: u32,
    /// The bus address.
    pub address: u64,
    /// Whether a guest read the entry; otherwise QEMU translated.
    pub read: bool,
    /// What the rebuilt table says.
    pub ours: Answer,
    /// What the line says.
    pub theirs: Answer,
}

/// Why a line could not be taken as it stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
#[non_exhaustive]
pub enum Trouble {
    /// A call succeeded outside its table: the window is not where it is thought to be.
    OutsideWindow,
    /// A call succeeded on a table that is not there.
    NoTable,
    /// The line says another geometry than the caller or an earlier line did.
    OtherGeometry,
    /// The line says a geometry that no table can have.
    BadGeometry,
    /// More is stored, or known of, than memory is given for: some of it was given up and is unknown.
    TooMuch,
}

impl Trouble {
    /// All kinds, in the order of their numbers.
    pub const ALL: [Self; 5] =
        [Self::OutsideWindow, Self::NoTable, Self::OtherGeometry, Self::BadGeometry, Self::TooMuch];
}

/// A line that could not be taken as it stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub struct Problem {
    /// Why.
    pub trouble: Trouble,
    /// The line.
    pub line: u64,
    /// The LIOBN, as the line says it: guests may use any 64 bits.
    pub liobn: u64,
    /// The bus address that the line is about.
    pub address: u64,
}

/// The first of many, and how many there were.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct First<T> {
    shown: Vec<T>,
    count: u64,
}

impl<T> Default for First<T> {
    fn default() -> Self {
        Self { shown: Vec::new(), count: 0 }
    }
}

impl<T> First<T> {
    /// How many are kept.
    pub const SHOWN: usize = 10;

    pub(crate) fn push(&mut self, value: T) {
        self.count += 1;
        if self.shown.len() < Self::SHOWN {
            self.shown.push(value);
        }
    }

    /// The first ten.
    #[must_use]
    pub fn shown(&self) -> &[T] {
        &self.shown
    }

    /// How many there were in all.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }
}
